"""The business key of a fact's rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, ColumnElement, Text, and_, case, cast, func
from sqlalchemy.sql.visitors import iterate

__all__ = ["columns_of_grain", "grain_of", "plain", "same_record"]


def grain_of(fact: str, columns: Any) -> tuple[list[ColumnElement[Any]], ColumnElement[bool] | None]:
    """The business key of a fact's rows, distribution key first; and a condition where only some rows have one.

    A tested unit is a die; where the die is not known, a part and site. The same insertion read twice has the same time, a
    retest has not. Defects without a number cannot be told apart.

    :param columns: those of the fact, or of a table with columns of the same names.
    """
    c = columns
    if fact == "fact_process_measurements":
        return [c.wafer_key, c.process_step_key, c.visit_no, c.chamber_key, c.site_no], None
    if fact == "fact_test_results":
        die = c.die_x.is_not(None) & c.die_y.is_not(None)
        part = case((die, None), else_=c.part_id).label("part")
        site = case((die, None), else_=c.site_no).label("site")
        unit = [c.wafer_key, c.lot_key, c.test_type, c.test_stage, c.die_x, c.die_y, part, site]
        known = die | c.part_id.is_not(None) | c.site_no.is_not(None)
        return [*unit, c.insertion_no, c.retest_no, c.event_ts], known
    if fact == "fact_defect_inspection":
        return [c.wafer_key, c.inspection_id, c.test_no, c.defect_id], c.defect_id.is_not(None) | ~c.is_defect
    return [c.equipment_key, c.event_ts], None


def columns_of_grain(key: Iterable[ColumnElement[Any]]) -> list[str]:
    """Names of the columns that a business key is made of, or a condition on it."""
    return sorted({part.name for expression in key for part in iterate(expression) if isinstance(part, Column)})


def plain(expression: ColumnElement[Any]) -> ColumnElement[Any]:
    """A part of a business key without the name it has in a select list."""
    return getattr(expression, "element", expression)


def same_record(fact: str, one: Any, other: Any) -> ColumnElement[bool]:
    """Whether two rows have one business key, and have one at all. NULL is a value, compared so that rows can be joined by
    hashing.
    """
    terms = [known for side in (one, other) if (known := grain_of(fact, side)[1]) is not None]
    for a, b in zip(grain_of(fact, one)[0], grain_of(fact, other)[0], strict=True):
        a, b = plain(a), plain(b)
        if getattr(a, "nullable", True) or getattr(b, "nullable", True):
            a, b = (func.coalesce(cast(side, Text), func.chr(31)) for side in (a, b))
        terms.append(a == b)
    return and_(*terms)
