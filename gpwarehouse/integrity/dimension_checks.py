"""The checks of dimensions and bridges. They read whole tables, which are small beside the facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.engine import Connection

from gpwarehouse.integrity.fact_checks import key_columns
from gpwarehouse.integrity.finding import Problem
from gpwarehouse.models import BEGINNING, BRIDGES, DIMENSIONS, BridgeWaferLot, Dimension, DimLot, DimWafer
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.months.hours import other_hours

__all__ = [
    "disordered_limits", "hours_of_other_calendars", "lost_links", "overlapping_stays", "unrooted_wafers", "versions",
]  # fmt: skip

_BY_HAND = "correct the intervals by hand, in one transaction, under LOCK TABLE … IN EXCLUSIVE MODE"
_KINDS = {
    "gap": "a version ends before the next begins, so events between have none",
    "overlap": "a version ends after the next begins, so joins double events between",
    "first": "the first version does not begin at 1900-01-01, so earlier events have none",
    "current": "not exactly one version is current, or it is not the last",
}


def versions(connection: Connection, name: str) -> Iterator[Problem]:
    """Members of a dimension whose versions are not a chain from 1900 on with one current version, the last."""
    model: type[Dimension] = DIMENSIONS[name]
    table = model.__table__  # type: ignore[attr-defined]
    key = table.c[model.durable_key]
    following = func.lead(table.c.effective_date).over(partition_by=key, order_by=table.c.effective_date)
    rows = select(
        key.label("key"), table.c.effective_date, table.c.expiry_date, table.c.is_current, following.label("following")
    ).subquery()
    c = rows.c
    wrong: dict[str, ColumnElement[bool]] = {
        "gap": func.bool_or(c.expiry_date < c.following),
        "overlap": func.bool_or(c.expiry_date > c.following),
        "first": func.min(c.effective_date) != BEGINNING,
        "current": or_(func.count(case((c.is_current, 1))) != 1, func.bool_or(c.is_current & c.following.is_not(None))),
    }
    flags = [condition.label(kind) for kind, condition in wrong.items()]
    members = select(c.key, *flags).group_by(c.key).having(or_(*wrong.values())).subquery()
    told: list[ColumnElement[Any]] = []
    for kind in wrong:
        told += [func.count(case((members.c[kind], 1))), func.min(case((members.c[kind], members.c.key)))]
    found = connection.execute(select(*told)).one()
    for number, kind in enumerate(wrong):
        count, sample = found[2 * number : 2 * number + 2]
        if count:
            yield Problem("versions", name, None, f"{kind}: {key.name} {sample}", count, f"{_KINDS[kind]}; {_BY_HAND}")


def lost_links(connection: Connection, name: str) -> Iterator[Problem]:
    """Keys that a dimension or bridge names and that have no row."""
    table = {**DIMENSIONS, **BRIDGES}[name].__table__
    links = key_columns(table)
    if name == "dim_time":
        return
    if name == "dim_equipment":
        links["parent_equipment_key"] = table.alias("parent").c.equipment_key
    for column, member in links.items():
        there = select(1).where(member == table.c[column]).correlate(table).exists()
        lost = and_(table.c[column].is_not(None), ~there)
        rows, least = connection.execute(select(func.count(), func.min(table.c[column])).where(lost)).one()
        if rows:
            yield Problem(
                "orphan key", name, None, f"{column} {least}", rows,
                f"{getattr(member.table, 'element', member.table).name} has no such row: load what names these members, or "
                "correct the column",
            )  # fmt: skip


def disordered_limits(connection: Connection, name: str) -> Iterator[Problem]:
    """Versions whose limits no merge or load would take today: stored before these were refused, or by hand."""
    model = DIMENSIONS[name]
    table = model.__table__
    for column in table.columns:
        domain = column.info.get("domain")
        if domain is None or not domain.ordered:
            continue
        query = select(table.c[model.durable_key], table.c.effective_date, column).where(column.is_not(None))
        rows = connection.execution_options(stream_results=True, max_row_buffer=100).execute(query)
        wrong = [(key, since, reason) for key, since, limits in rows if (reason := domain.disorder(limits)) is not None]
        if wrong:
            key, since, reason = min(wrong)
            yield Problem(
                "limits", name, None, f"{model.durable_key} {key} from {since:%Y-%m-%d %H:%M:%S}: {reason}", len(wrong),
                f"merge the step with correct {column.name} at the same moment (wh.merge); capabilities and verdicts "
                "reckon with these meanwhile",
            )  # fmt: skip


def hours_of_other_calendars(
    connection: Connection, calendar: ShiftCalendar, takes: Callable[[datetime], bool]
) -> Iterator[Problem]:
    """Months whose hours were made with another calendar than the settings have."""
    for other in other_hours(connection, calendar):
        if takes(other.start):
            yield Problem(
                "calendar", "dim_time", other.month, other.sample, other.hours,
                "wh.dimensions.rebuild_calendar(), or set time zone, shifts, crews and holidays as they were; facts of the month "
                "are shown in wrong shifts meanwhile",
            )  # fmt: skip


def unrooted_wafers(connection: Connection) -> Iterator[Problem]:
    """Wafers whose root lot no lot names as its root, or that has a root itself."""
    wafer, lot = DimWafer.__table__, DimLot.__table__.alias("lot")
    real = and_(wafer.c.is_current, wafer.c.wafer_key.not_in((-1, -2)))
    roots = select(lot.c.root_lot_id).where(lot.c.is_current, lot.c.root_lot_id.is_not(None)).distinct().subquery()
    known = wafer.join(roots, roots.c.root_lot_id == wafer.c.root_lot_id, isouter=True)
    query = select(func.count(), func.min(wafer.c.root_lot_id), func.min(wafer.c.wafer_key)).where(real)
    count, root, key = connection.execute(query.select_from(known).where(roots.c.root_lot_id.is_(None))).one()
    if count:
        yield Problem(
            "root lot", "dim_wafer", None, f"root_lot_id {root!r} (wafer_key {key})", count,
            "no lot has this root: load the lot, or the genealogy that names it, into dim_lot",
        )  # fmt: skip
    branch = wafer.join(lot, and_(lot.c.lot_id == wafer.c.root_lot_id, lot.c.is_current))
    count, root, key = connection.execute(query.select_from(branch).where(lot.c.root_lot_id != lot.c.lot_id)).one()
    if count:
        yield Problem(
            "root lot", "dim_wafer", None, f"root_lot_id {root!r} (wafer_key {key})", count,
            "this lot has a root itself, which became known late: wh.dimensions.rekey_wafers() moves the wafers to it",
        )  # fmt: skip


def overlapping_stays(connection: Connection) -> Iterator[Problem]:
    """Wafers that stay in two lots at a time."""
    stay = BridgeWaferLot.__table__
    following = func.lead(stay.c.from_ts).over(partition_by=stay.c.wafer_key, order_by=stay.c.from_ts)
    rows = select(stay.c.wafer_key, stay.c.from_ts, stay.c.to_ts, following.label("following")).subquery()
    query = select(func.count(), func.min(rows.c.wafer_key)).where(rows.c.to_ts > rows.c.following)
    count, key = connection.execute(query).one()
    if count:
        yield Problem(
            "stay", "bridge_wafer_lot", None, f"wafer_key {key}", count,
            "end the earlier stay (to_ts) where the later begins; traces show these wafers in both lots meanwhile",
        )  # fmt: skip
