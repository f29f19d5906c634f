"""Rows from the archive whose wafers were re-keyed meanwhile, and what their keys are now.

``wh.dimensions.rekey_wafers`` reaches what is in the tables, and keeps no list of what it moved. But a key is a hash and proves
itself: one that ``dim_wafer`` does not have, and that is the hash of a root lot which a lot once had and of the id of a wafer
under the root that the lot has now, was that wafer's. The roots a lot once had are those of its versions, its parents,
itself, and what its name says; the root it has now is what ``dim_lot`` says, and that of the wafers in it.

Several wafers may answer to one key, where a root was split among others: then the row's own lot decides, and where that
says nothing, the row is left as it is and told. So are rows whose key nobody answers to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, literal_column, text
from sqlalchemy.engine import Connection

from gpwarehouse.engine import dialect_of, qualified_name
from gpwarehouse.errors import PartitionError
from gpwarehouse.models import DimLot, DimWafer
from gpwarehouse.models.keys import NOT_APPLICABLE_KEY, UNKNOWN_KEY, durable_key_sql, root_lot
from gpwarehouse.partitions.partition_changes import columns_of
from gpwarehouse.transport import copy_rows

__all__ = ["KEYS", "Rekeyed", "can_be_rekeyed", "keys_now", "rekey", "rekey_in_place"]

KEYS = ("wafer_key", "lot_key")
_ORPHANS, _NAMES, _PAIRS, _MAP, _ROWS = (
    "gpw_archived_orphans", "gpw_archived_names", "gpw_archived_roots", "gpw_archived_keys", "gpw_archived_rows",
)  # fmt: skip
_CHUNK = 50_000
_RESERVED = f"({UNKNOWN_KEY}, {NOT_APPLICABLE_KEY})"


@dataclass(frozen=True)
class Rekeyed:
    """The findings about keys that ``dim_wafer`` does not have.

    :ivar moved: (wafer key, lot key) → the wafer's key now; ``left``: those whose wafer cannot be told.
    :ivar rows: (wafer key, lot key) → rows that have it.
    :ivar example: of what moved, in words.
    """

    moved: Mapping[tuple[int, int], int]
    left: tuple[tuple[int, int], ...]
    rows: Mapping[tuple[int, int], int]
    example: str = ""

    def lines(self, what: str) -> Iterator[str]:
        """Return the findings, a line each.

        :param what: table and month.
        """
        if self.moved:
            wafers, rows = len({key for key, _ in self.moved}), sum(self.rows[keys] for keys in self.moved)
            yield (
                f"{what}: {rows} rows of {wafers} wafers, whose root lot was corrected since they were archived, were given "
                f"their keys of now ({self.example})"
            )
        if self.left:
            strange, rows = sorted({key for key, _ in self.left}), sum(self.rows[keys] for keys in self.left)
            yield (
                f"{what}: {rows} rows have {len(strange)} values of wafer_key that dim_wafer does not have, and nothing tells "
                f"whose they are now ({', '.join(map(str, strange[:5]))}{', …' if len(strange) > 5 else ''}); inner joins lose "
                "them. If these wafers were re-keyed: correct the root lots in dim_lot (wh.merge), empty the month, restore "
                "it again"
            )


def can_be_rekeyed(columns: Mapping[str, str]) -> bool:
    """Whether a table's rows are of wafers."""
    return all(name in columns for name in KEYS)


def rekey(connection: Connection, table: Table, child: Table, pattern: str | None) -> Rekeyed:
    """Give the rows of a month their keys of now; deleted and inserted, as a distribution key is not updated.

    :param child: the month's own table.
    :param pattern: ``lot_root_pattern``.
    """
    found = keys_now(connection, child, pattern)
    if not found.moved:
        return found
    _write_map(connection, found)
    quote = connection.dialect.identifier_preparer.quote
    columns = columns_of(connection, child)
    names = ", ".join(map(quote, columns))
    values = ", ".join("m.new_key AS wafer_key" if name == "wafer_key" else f"f.{quote(name)}" for name in columns)
    home = qualified_name(connection, child)
    same = "f.wafer_key = m.wafer_key AND f.lot_key = m.lot_key"
    _temporary(connection, _ROWS, f"SELECT {values} FROM {home} f JOIN {_MAP} m ON {same}")
    gone = connection.execute(text(f"DELETE FROM {home} f USING {_MAP} m WHERE {same}")).rowcount
    into = f"INSERT INTO {qualified_name(connection, table)} ({names}) SELECT {names} FROM {_ROWS}"
    come = connection.execute(text(into)).rowcount
    if not gone == come == sum(found.rows[keys] for keys in found.moved):
        raise PartitionError(
            f"{table.name}: {gone} rows had to get other wafer keys, and {come} did; nothing was loaded"
        )
    return found


def rekey_in_place(connection: Connection, scratch: Table, pattern: str | None) -> Rekeyed:
    """The same for a table that is not distributed by the key."""
    found = keys_now(connection, scratch, pattern)
    if found.moved:
        _write_map(connection, found)
        name = qualified_name(connection, scratch)
        connection.execute(
            text(
                f"UPDATE {name} f SET wafer_key = m.new_key FROM {_MAP} m "
                "WHERE f.wafer_key = m.wafer_key AND f.lot_key = m.lot_key"
            )
        )
    return found


def keys_now(connection: Connection, rows: Table | str, pattern: str | None) -> Rekeyed:
    """What the keys of these rows are now, of those that ``dim_wafer`` does not have; nothing is changed.

    :param rows: a table, or the name of one, with a wafer key and a lot key.
    """
    source = rows if isinstance(rows, str) else qualified_name(connection, rows)
    wafer, lot = (qualified_name(connection, model.__table__) for model in (DimWafer, DimLot))
    _temporary(
        connection, _ORPHANS, f"SELECT f.wafer_key, f.lot_key, count(*) AS n FROM {source} f "
        f"WHERE NOT EXISTS (SELECT 1 FROM {wafer} w WHERE w.wafer_key = f.wafer_key) GROUP BY 1, 2",
    )  # fmt: skip
    query = (
        f"SELECT o.wafer_key, o.lot_key, o.n, l.root_lot_id AS root FROM {_ORPHANS} o "
        f"LEFT JOIN {lot} l ON l.lot_key = o.lot_key AND l.is_current"
    )
    orphans = connection.execute(text(query)).all()
    if not orphans:
        return Rekeyed({}, (), {})
    _pair_roots(connection, wafer, lot, pattern)
    answers: dict[int, dict[str, Any]] = defaultdict(dict)
    for row in connection.execute(text(_answers(connection, wafer))):
        answers[row.wafer_key][row.root] = row
    moved: dict[tuple[int, int], int] = {}
    example = ""
    for key, lot_key, _, root in orphans:
        found = answers[key].get(root) or (next(iter(answers[key].values())) if len(answers[key]) == 1 else None)
        if found is not None:
            moved[key, lot_key] = found.new_key
            example = example or f"e.g. wafer {found.wafer_id!r} of root {found.old!r} is of root {found.root!r} now"
    counts = {(key, lot_key): n for key, lot_key, n, _ in orphans}
    return Rekeyed(moved, tuple(keys for keys in counts if keys not in moved), counts, example)


def _answers(connection: Connection, wafer: str) -> str:
    """Wafers whose key was an orphan's, under a root that a lot of theirs once had."""
    parts = (literal_column("p.old", Text), literal_column("w.wafer_id", Text))
    key = durable_key_sql(*parts).compile(dialect=dialect_of(connection))
    return (
        f"SELECT DISTINCT o.wafer_key, w.wafer_key AS new_key, w.root_lot_id AS root, w.wafer_id, p.old FROM {_PAIRS} p "
        f"JOIN {wafer} w ON w.root_lot_id = p.root AND w.is_current JOIN {_ORPHANS} o ON o.wafer_key = {key}"
    )


def _pair_roots(connection: Connection, wafer: str, lot: str, pattern: str | None) -> None:
    """Every root that a lot may once have had, with one that it, or a wafer in it, has now."""
    _name_roots(connection, lot, pattern)
    real = f"lot_key NOT IN {_RESERVED}"
    once = (
        f"SELECT lot_key, named AS old FROM {_NAMES} UNION SELECT lot_key, lot_id FROM {lot} "
        f"UNION SELECT lot_key, root_lot_id FROM {lot} UNION SELECT lot_key, parent_lot_id FROM {lot}"
    )
    now = (
        f"SELECT lot_key, root_lot_id AS root FROM {lot} WHERE is_current "
        f"UNION SELECT lot_key, root_lot_id FROM {wafer} WHERE is_current"
    )
    _temporary(
        connection, _PAIRS, f"SELECT DISTINCT o.old, n.root FROM ({once}) o JOIN ({now}) n ON n.lot_key = o.lot_key "
        f"WHERE o.{real} AND o.old <> n.root", spread="RANDOMLY",
    )  # fmt: skip


def _name_roots(connection: Connection, lot: str, pattern: str | None) -> None:
    """The roots that lots' names show, which Python's regular expressions tell."""
    empty = "SELECT CAST(NULL AS bigint) AS lot_key, CAST(NULL AS text) AS named WHERE false"
    _temporary(connection, _NAMES, empty, spread="RANDOMLY")
    stage = Table(_NAMES, MetaData(), Column("lot_key", BigInteger), Column("named", Text))
    lots = text(f"SELECT lot_key, lot_id FROM {lot} WHERE is_current")
    streamed = {"stream_results": True, "yield_per": _CHUNK}
    for some in connection.execute(lots, execution_options=streamed).partitions():
        found = [(row.lot_key, root_lot(row.lot_id, pattern)) for row in some]
        _copy(connection, stage, found)


def _write_map(connection: Connection, found: Rekeyed) -> None:
    empty = "CAST(NULL AS bigint)"
    _temporary(
        connection, _MAP, f"SELECT {empty} AS wafer_key, {empty} AS lot_key, {empty} AS new_key WHERE false"
    )  # fmt: skip
    columns = [Column(name, BigInteger) for name in (*KEYS, "new_key")]
    _copy(connection, Table(_MAP, MetaData(), *columns), [(*keys, new) for keys, new in found.moved.items()])


def _copy(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    names = tuple(column.name for column in table.columns)
    arrays = [pa.array(values) for values in zip(*rows, strict=True)]
    copy_rows(connection, table, [pa.RecordBatch.from_arrays(arrays, list(names))], names)


def _temporary(connection: Connection, name: str, query: str, *, spread: str = "BY (wafer_key)") -> None:
    """Make a temporary table of a query's rows, in the place of the one there is."""
    capabilities = dialect_of(connection).capabilities
    assert capabilities is not None
    distributed = f" DISTRIBUTED {spread}" if capabilities.distribution else ""
    connection.execute(text(f"DROP TABLE IF EXISTS pg_temp.{name}"))
    connection.execute(text(f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS {query}{distributed}"))
