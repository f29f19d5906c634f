"""Questions and their answers: on the terminal, or in a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpwarehouse.cli.app import app, console, say, warehouse_named
from gpwarehouse.cli.tables import DIGITS, AsCsv, AsJson, print_frame
from gpwarehouse.engine.progress import counted
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.settings import settings_table
from gpwarehouse.warehouse import rooms

if TYPE_CHECKING:
    from gpwarehouse.warehouse import Warehouse

_ROWS = 65_536
"""Rows in memory at a time, where they go on as text."""

_Sql = Annotated[str, typer.Argument(help="A SELECT; :name stands for a parameter.")]
_Param = Annotated[list[str] | None, typer.Option("--param", "-p", help="name=value, bound as text.")]
_Exact = Annotated[
    bool, typer.Option("--exact-numeric", help="NUMERIC with all its digits, not as the nearest double.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@app.command()
def query(
    sql: _Sql,
    param: _Param = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(help="Write a file that ends in .csv, .json or .parquet.")] = None,
    overwrite: _Overwrite = False,
    vertical: Annotated[bool, typer.Option("--vertical", help="Print a line a value, a record a row.")] = False,
    digits: Annotated[int, typer.Option(min=1, max=17, help="Significant digits of numbers in a table.")] = DIGITS,
    exact_numeric: _Exact = False,
) -> None:
    """Run a query and print its result: a table, or a record a row where that is wider than the terminal.

    A table shows numbers with --digits significant digits; --csv, --json and --out round nothing.
    """
    if sum((as_csv, as_json, out is not None)) > 1:
        raise InvalidInputError("give one of --csv, --json and --out: the result goes to one place")
    if overwrite and out is None:
        raise InvalidInputError("--overwrite is for --out, which names the file")
    values = _read_params(param)
    with warehouse_named() as warehouse:
        if out is not None:
            _export(warehouse, sql, out, values, exact_numeric=exact_numeric, overwrite=overwrite)
        elif as_csv or as_json:
            _stream(warehouse, sql, values, as_json=as_json, exact_numeric=exact_numeric)
        else:
            frame = warehouse.read(sql, values, exact_numeric=exact_numeric)
            print_frame(console, frame, digits=digits, vertical=vertical)


@app.command()
def export(
    sql: _Sql,
    target: Annotated[
        Path, typer.Argument(help="A file .parquet, .arrow, .csv or .json; with --partition-by a folder.")
    ],
    param: _Param = None,
    partition_by: Annotated[
        list[str] | None, typer.Option("--partition-by", help="A column that becomes folders; may be given again.")
    ] = None,
    overwrite: _Overwrite = False,
    compression: Annotated[str, typer.Option(help="Codec of Parquet.")] = "zstd",
    parallel: Annotated[int, typer.Option(min=1, max=16, help="Connections that read a whole table at once.")] = 1,
    exact_numeric: _Exact = False,
) -> None:
    """Write the result of a query to a file, in constant memory; a failed export leaves nothing behind."""
    options = {"partition_by": partition_by or (), "compression": compression, "parallel": parallel}
    with warehouse_named() as warehouse:
        _export(
            warehouse, sql, target, _read_params(param), exact_numeric=exact_numeric, overwrite=overwrite, **options
        )


def _export(warehouse: Warehouse, sql: str, target: Path, values: dict[str, str], **options: Any) -> None:
    done = warehouse.export(sql, target, values, **options)
    files = f" in {counted(done.files, 'file')}" if done.files != 1 else ""
    say(f"{done.path}: {counted(done.rows, 'row')}, {done.bytes / 1e6:.1f} MB{files}, {done.seconds:.1f} s")


def _stream(warehouse: Warehouse, sql: str, values: dict[str, str], *, as_json: bool, exact_numeric: bool) -> None:
    with warehouse.read(sql, values, arrow=True, chunks=_ROWS, exact_numeric=exact_numeric) as chunks:
        if as_json:
            rooms.read.write_json(chunks.schema, chunks, sys.stdout, json_columns=chunks.json_columns)
        else:
            rooms.read.write_csv(chunks.schema, chunks, sys.stdout)


def _read_params(params: list[str] | None) -> dict[str, str]:
    """Values by name, of ``name=value``.

    :raises InvalidInputError: one is written otherwise, or a name comes twice.
    """
    values: dict[str, str] = {}
    for item in params or []:
        name, equals, value = item.partition("=")
        if not name or not equals:
            raise InvalidInputError(f"--param {item}: write name=value, for :name in the query")
        if name in values:
            raise InvalidInputError(f"--param {item}: {name} is given twice; give one value")
        values[name] = value
    return values


@app.command()
def settings() -> None:
    """Print all settings as a Markdown table."""
    sys.stdout.write(settings_table())
