"""Run a caller's query: as rows in JSON, or as a file. Both bound, both cancelled with their client."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from gpwarehouse.engine.statement_log import without_literals
from gpwarehouse.errors import ResultTooLargeError
from gpwarehouse.read import json_rows
from gpwarehouse.service.observing import note
from gpwarehouse.service.spool import Spooled
from gpwarehouse.service.statements import check_statement
from gpwarehouse.warehouse import Warehouse

__all__ = ["QueryRequest", "Rows", "RowsRequest", "admit_statement", "fingerprint", "read_rows", "spool_query"]

_JSON_BYTES = 64 << 20
"""Bytes of rows in memory above which an answer in JSON is refused; a file has another limit."""
_CHUNK_ROWS = 1_000
_LONG = 500
"""Characters of a statement that are looked through in about a millisecond."""

Scalar = StrictBool | StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)] | StrictStr | None
_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
Params = dict[Annotated[str, Field(pattern=_NAME)], Scalar | list[Scalar]]


class QueryRequest(BaseModel):
    """A query."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "example": {
                "sql": "SELECT wafer_id, die_yield_pct FROM dw.v_wafer_yield WHERE lot_id = :lot AND basis = 'LAST'",
                "params": {"lot": "DEMO-0001"},
            }
        },
    )

    sql: str = Field(
        min_length=1, max_length=100_000, description="One query, with `:name` for each parameter. It runs read-only."
    )
    params: Params = Field(
        default_factory=dict,
        description="Values of the parameters; a list for `= ANY(:name)`. Give times as text, and CAST.",
        json_schema_extra={
            "propertyNames": {"pattern": _NAME}
        },  # pydantic names the pattern, but allows others beside it
    )
    timeout_s: float | None = Field(
        None, ge=0.1, le=86_400, description="Longest time, in seconds; at most the service's."
    )
    exact_numeric: bool = Field(
        False, description="Keep NUMERIC exact, as text in JSON; otherwise it is the nearest double."
    )


class RowsRequest(QueryRequest):
    """A query that is answered in JSON."""

    max_rows: int = Field(1000, ge=1, description="Rows to return; `truncated` says whether there are more.")


class ColumnInfo(BaseModel):
    """A column of a result."""

    name: str
    type: str = Field(description="The server's type.")


class Rows(BaseModel):
    """A result in JSON."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "query_id": "6f0c1d5be0a94a3f8c7d2f4d1a2b3c4d",
                "columns": [{"name": "wafer_id", "type": "text"}, {"name": "die_yield_pct", "type": "numeric"}],
                "rows": [["01", 86.8035], ["02", 88.2698]],
                "truncated": False,
                "elapsed_ms": 12.5,
            }
        }
    )

    query_id: str
    columns: list[ColumnInfo]
    rows: list[list[Any]] = Field(
        description="A row is an array. NaN and infinity are the texts `nan`, `inf`, `-inf`. Integers beyond ±(2^53 − 1), exact "
        "NUMERIC, times (ISO 8601) and bytea (`\\x…`) are texts."
    )
    truncated: bool = Field(description="Whether there are more rows than these.")
    elapsed_ms: float


async def admit_statement(request: Request, query: QueryRequest) -> None:
    """Put the statement, without its values, into the audit line, and refuse one that may not run here.

    A long statement takes a while to look through, so that is done in a thread; a short one takes less than the way there.

    :raises Problem: 400 or 403.
    """

    def look_through() -> None:
        shown = without_literals(query.sql)
        note(request, statement=shown, fingerprint=_digest(shown))
        check_statement(query.sql)

    if len(query.sql) > _LONG:
        await run_in_threadpool(look_through)
    else:
        look_through()


def fingerprint(sql: str) -> str:
    """A text that is the same for statements that differ in literals, spaces and comments only."""
    return _digest(without_literals(sql))


def _digest(shown: str) -> str:
    return hashlib.sha256(shown.lower().encode("utf-8", "replace")).hexdigest()[:16]


def session_of(query_id: str, timeout_s: float) -> dict[str, Any]:
    """Options of the query's transaction. A DBA finds the caller by ``application_name``; the audit has the query id."""
    # A database may have backslashes escape in texts. Then the checks of statements would read another statement than the server.
    return {
        "application_name": f"gpw {query_id}",
        "statement_timeout_s": math.ceil(timeout_s) + 1,
        "standard_conforming_strings": "on",
    }


def read_rows(warehouse: Warehouse, query: RowsRequest, query_id: str, timeout_s: float) -> tuple[bytes, int]:
    """Read a query's rows and write them as the members of a JSON object: ``columns``, ``rows``, ``truncated``.

    :return: the text, and the number of rows in it.
    :raises ReadError: the server refused the query.
    :raises ResultTooLargeError: the rows do not fit into an answer.
    """
    options: dict[str, Any] = {"exact_numeric": query.exact_numeric, "session": session_of(query_id, timeout_s)}
    options |= {"arrow": True, "chunks": min(query.max_rows + 1, _CHUNK_ROWS), "transport": "cursor"}
    with warehouse.read(query.sql, dict(query.params), **options) as chunks:
        tables: list[pa.Table] = []
        rows = nbytes = 0
        for table in chunks:
            tables.append(table)
            rows, nbytes = rows + table.num_rows, nbytes + table.nbytes
            if nbytes > _JSON_BYTES:
                raise ResultTooLargeError(
                    f"the rows have more than {_JSON_BYTES} bytes; ask for fewer, or for a file: POST /analytics/query"
                )
            if rows > query.max_rows:
                break
        columns = [{"name": column.name, "type": column.type_name} for column in chunks.columns]
        found = pa.concat_tables([chunks.schema.empty_table(), *tables]).slice(0, query.max_rows)
        texts = json_rows(found, json_positions={n for n, column in enumerate(chunks.columns) if column.is_json})
    told = json.dumps(columns, ensure_ascii=False)
    truncated = json.dumps(rows > query.max_rows)
    return f'"columns": {told}, "rows": [{",".join(texts)}], "truncated": {truncated}'.encode(), len(texts)


def spool_query(
    warehouse: Warehouse,
    query: QueryRequest,
    query_id: str,
    timeout_s: float,
    target: Path,
    most: int,
) -> Spooled:
    """Write a query's rows to a file.

    :param target: the file; its ending names the form.
    :param most: bytes that the file may have.
    :raises ReadError: the server refused the query.
    :raises ResultTooLargeError: the file would have more bytes; there is none.
    """
    options: dict[str, Any] = {"exact_numeric": query.exact_numeric, "session": session_of(query_id, timeout_s)}
    done = warehouse.export(query.sql, target, dict(query.params), max_bytes=most, **options)
    return Spooled.of(target, target.suffix[1:], done.rows)
