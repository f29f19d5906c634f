"""Generate a fab of any size with known answers, for tests, demos and benchmarks."""

from gpwarehouse.generate.fab import BATCH_ROWS, FACTS, Fab, FabSource, generate_fab
from gpwarehouse.generate.folder import FabFolder, write_fab
from gpwarehouse.generate.plan import Settings
from gpwarehouse.generate.process import Drift, Excursion
from gpwarehouse.generate.truth import Capability, Oee, ProductYield, Truth

__all__ = [
    "BATCH_ROWS",
    "FACTS",
    "Capability",
    "Drift",
    "Excursion",
    "Fab",
    "FabFolder",
    "FabSource",
    "Oee",
    "ProductYield",
    "Settings",
    "Truth",
    "generate_fab",
    "write_fab",
]
