"""The options of all commands that take CSV files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from gpwarehouse.load import CsvOptions

__all__ = ["with_csv"]

_SPELLED = {"tab": "\t", r"\t": "\t"}


def with_csv(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of CSV files; it gets them as its parameter ``csv``, None where none is given."""
    own = inspect.signature(command, eval_str=True)
    of_csv = inspect.signature(_options, eval_str=True).parameters

    @wraps(command)
    def commanded(**given: Any) -> None:
        command(csv=_options(**{name: given.pop(name) for name in of_csv}), **given)

    parameters = [parameter for name, parameter in own.parameters.items() if name != "csv"]
    parameters += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in of_csv.values()]
    commanded.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    commanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del commanded.__wrapped__  # it has not these options
    return commanded


def _options(
    csv_delimiter: Annotated[
        str | None, typer.Option(help="CSV: the character between fields, or tab; else the headings tell.")
    ] = None,
    csv_encoding: Annotated[str | None, typer.Option(help="CSV: cp1252, utf-16 …; UTF-8 without it.")] = None,
    csv_decimal: Annotated[str, typer.Option(help="CSV: the decimal mark, . or , in columns of numbers.")] = ".",
    csv_quote: Annotated[str, typer.Option(help="CSV: the character around texts, or none.")] = '"',
    csv_header_line: Annotated[
        int | None, typer.Option(help="CSV: number of the line with the headings, from 1.")
    ] = None,
    csv_null: Annotated[
        list[str] | None, typer.Option(help="CSV: a text that is NULL without quotes, as NA; may be given again.")
    ] = None,
) -> Any:
    said = CsvOptions(
        delimiter=_SPELLED.get(csv_delimiter, csv_delimiter) if csv_delimiter is not None else None,
        encoding=csv_encoding,
        decimal=csv_decimal,
        quote=None if csv_quote in ("", "none") else csv_quote,
        header_line=csv_header_line,
        null_values=tuple(csv_null or ()),
    )
    return said if said != CsvOptions() else None
