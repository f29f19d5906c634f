"""Query parameters of ``POST /loads`` that say what a file does not say itself."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Query

from gpwarehouse.load import CsvOptions

__all__ = ["FileOptions"]


def _text(description: str, **more: Any) -> Any:
    return Query(description=description, min_length=1, max_length=200, pattern=r"\S", **more)


def _read_options(
    facility: Annotated[str | None, _text("Facility, where a test data file names none.")] = None,
    lot_id: Annotated[str | None, _text("Lot, where a test data file names none.")] = None,
    wafer_id: Annotated[str | None, _text("Wafer, where a test data file names none.")] = None,
    product_id: Annotated[str | None, _text("Product, where a test data file names none.")] = None,
    test_program: Annotated[str | None, _text("Test program, where a test data file names none.")] = None,
    equipment_id: Annotated[str | None, _text("Tester, where a test data file names none.")] = None,
    event_ts: Annotated[
        str | None, _text("Start, where a test data file has none.", examples=["2026-03-04T06:30+08:00"])
    ] = None,
    timezone: Annotated[str | None, _text("Zone of a test data file's times.", examples=["Asia/Taipei"])] = None,
    test_type: Annotated[str | None, Query(pattern="^(WAT|CP|FT)$", description="It counts before the file's.")] = None,
    allow_incomplete: Annotated[
        bool, Query(description="Load what there is of a test data file that is not whole, with warnings.")
    ] = False,
    delimiter: Annotated[str | None, Query(description="CSV: the character between fields.")] = None,
    encoding: Annotated[str | None, Query(description="CSV: the encoding; by default UTF-8.")] = None,
    decimal: Annotated[str | None, Query(description="CSV: `.` or `,` in numbers.")] = None,
    quote: Annotated[str | None, Query(description="CSV: the character around texts.")] = None,
    header_line: Annotated[int | None, Query(ge=1, le=1_000_000, description="CSV: line of the headings.")] = None,
    null_values: Annotated[list[str] | None, Query(description="CSV: texts that are NULL, too.")] = None,
) -> dict[str, Any]:
    """Return the options of :meth:`gpwarehouse.Warehouse.load_file` that were given.

    :raises InvalidInputError: an option of CSV is not allowed.
    """
    given = {
        "facility": facility, "lot_id": lot_id, "wafer_id": wafer_id, "product_id": product_id, "event_ts": event_ts,
        "test_program": test_program, "equipment_id": equipment_id, "timezone": timezone, "test_type": test_type,
        "allow_incomplete": allow_incomplete or None,
    }  # fmt: skip
    csv: dict[str, Any] = {
        "delimiter": delimiter, "encoding": encoding, "decimal": decimal, "quote": quote, "header_line": header_line,
        "null_values": null_values,
    }  # fmt: skip
    found = {name: value for name, value in given.items() if value is not None}
    written = {name: value for name, value in csv.items() if value is not None}
    return found | ({"csv": CsvOptions(**written)} if written else {})


FileOptions: TypeAlias = Annotated[dict[str, Any], Depends(_read_options)]
