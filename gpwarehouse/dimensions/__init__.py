"""Dimensions and bridges: merge versions in sets, change bridge rows by key, rewrite histories in bulk."""

from gpwarehouse.dimensions.bridges import BridgeResult, Bridges
from gpwarehouse.dimensions.merge import Merger, MergeResult
from gpwarehouse.dimensions.rekey import Rekeyer, RekeyResult
from gpwarehouse.dimensions.targets import bridge_named, dimension_target
from gpwarehouse.dimensions.versions import DELETED_HASH

__all__ = [
    "DELETED_HASH",
    "BridgeResult",
    "Bridges",
    "MergeResult",
    "Merger",
    "RekeyResult",
    "Rekeyer",
    "bridge_named",
    "dimension_target",
]
