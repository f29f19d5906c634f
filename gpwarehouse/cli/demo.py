"""``gpwarehouse demo``: a made-up lot through a real warehouse, on a PostgreSQL that is started for it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from gpwarehouse.cli.app import app, console
from gpwarehouse.cli.progress_bar import load_bar
from gpwarehouse.cli.tables import print_frame
from gpwarehouse.sources.stdf import StdfSource
from gpwarehouse.sources.synthetic import DemoLot, write_demo_lot
from gpwarehouse.warehouse import Warehouse

__all__ = ["demo", "run_demo", "wafer_map"]

_YIELDS = """
    SELECT wafer_id, basis, tested, good, die_yield_pct, functional_yield_pct, parametric_yield_pct
    FROM {schema}.v_wafer_yield WHERE lot_id = :lot ORDER BY wafer_id, basis"""

_DIE = """
    SELECT f.die_x, f.die_y, bool_or(f.is_pass AND f.is_first_pass) AS first_pass,
        bool_or(f.is_pass AND f.is_final_result) AS last_pass
    FROM {schema}.fact_test_results AS f
    JOIN {schema}.dim_wafer AS w ON w.wafer_key = f.wafer_key AND w.is_current
    WHERE w.root_lot_id = :lot AND w.wafer_id = :wafer
    GROUP BY f.die_x, f.die_y"""


@app.command()
def demo(
    wafers: Annotated[int, typer.Option(min=1, max=25, help="Wafers of the made-up lot.")] = 5,
    keep: Annotated[Path | None, typer.Option(help="Keep the server's data in this folder.")] = None,
) -> None:
    """Bring a made-up lot through a warehouse of its own: DDL, load, yields, wafer map."""
    run_demo(console, wafers=wafers, keep=keep)


def run_demo(console: Console, *, wafers: int = 5, keep: Path | None = None) -> DemoLot:
    """Start, upgrade, write a lot, load it, and show what came of it.

    :param wafers: how many wafers the lot has.
    :param keep: folder for the server's data, kept for a later look; without one all is gone afterwards.
    """
    with tempfile.TemporaryDirectory() as folder, Warehouse.embedded(keep) as warehouse:
        warehouse.upgrade()
        status = warehouse.status()
        console.print(
            f"Warehouse: {status.server}, schema [bold]{status.schema}[/bold] at revision {status.revision}",
            soft_wrap=True,
        )
        lot = write_demo_lot(Path(folder) / "demo-lot.stdf.gz", wafers=wafers)
        with load_bar(console, lot.path.name) as bar:
            result = warehouse.load_file(lot.path, progress=bar)
        console.print(str(result), soft_wrap=True)
        schema = warehouse.settings.schema_name
        yields = warehouse.read(_YIELDS.format(schema=schema), lot=lot.lot_id)
        print_frame(console, yields, title=f"Yield of lot {lot.lot_id}")
        number, name, seconds = StdfSource(lot.path).test_times()[0]
        console.print(f"Slowest test: {number} {name}, {seconds * 1000:.0f} ms on average (STDF TSR)", soft_wrap=True)
        worst = yields[yields.basis == "LAST"].sort_values("die_yield_pct").iloc[0].wafer_id
        die = warehouse.read(_DIE.format(schema=schema), lot=lot.lot_id, wafer=worst)
        console.print(f"\nWafer {worst}, the one with the lowest yield:")
        console.print(wafer_map(die))
        if keep is not None:
            console.print(f"The data stays in {keep}: gpwarehouse --embedded {keep} status", soft_wrap=True)
    return lot


def wafer_map(die: Any) -> Text:
    """Die by position, notch down: ``#`` good at once, ``+`` good after a retest, ``x`` bad."""
    marks = {
        (int(row.die_x), int(row.die_y)): ("#", "green")
        if row.first_pass
        else ("+", "yellow")
        if row.last_pass
        else ("x", "red")
        for row in die.itertuples(index=False)
    }
    columns = [x for x, _ in marks]
    rows = [y for _, y in marks]
    drawing = Text()
    for y in range(min(rows), max(rows) + 1):
        for x in range(min(columns), max(columns) + 1):
            mark, colour = marks.get((x, y), (" ", ""))
            drawing.append(f"{mark} ", colour)
        drawing.append("\n")
    drawing.append("# good at once  + good after retest  x bad")
    return drawing
