"""The rejects of a batch: the rows as they were given, and as CSV."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Float, select
from sqlalchemy.engine import Engine

from gpwarehouse.batches import ledger
from gpwarehouse.engine import RetryPolicy
from gpwarehouse.engine.server_errors import translate_errors
from gpwarehouse.intake.arrow_texts import text_of
from gpwarehouse.intake.load_options import check_name
from gpwarehouse.intake.python_values import array_of
from gpwarehouse.models import Base, EtlReject
from gpwarehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NUMBER", "csv_of_rejects", "look_up", "rejects_as_given", "require_batch"]

NUMBER = "row_number"


def look_up(engine: Engine, settings: WarehouseSettings, target: str, look: Callable[..., Any], *args: Any) -> Any:
    """Look something up on a connection of its own; repeat it if the connection is lost."""

    def once() -> Any:
        with engine.connect() as connection:
            return look(connection, *args)

    policy = RetryPolicy.once_met(settings, engine)
    return translate_errors(settings, target, "nothing was changed", lambda: policy.call("look for rejects", once))


def require_batch(engine: Engine, settings: WarehouseSettings, batch_id: str) -> str:
    """The table that a batch was loaded into. Of an id that no batch has, any other answer would be misleading.

    :raises InvalidInputError: there is no batch with the id, neither loaded nor failed nor deleted.
    """
    check_name("batch_id", batch_id)
    target = look_up(engine, settings, "etl_load_batch", ledger.target_of, batch_id)
    if target is None:
        raise ledger.no_such_batch(batch_id)
    return str(target)


def rejects_as_given(engine: Engine, settings: WarehouseSettings, batch_id: str) -> pd.DataFrame:
    """Read the rejects of a batch as a frame of the rows themselves: ``row_number`` and the columns as they were given.

    :raises LoadError: the server refused.
    :raises WarehouseConnectionError: the server cannot be reached.
    """
    import pandas as pd

    require_batch(engine, settings, batch_id)
    table = EtlReject.__table__
    query = select(table.c.row_number, table.c.raw).where(table.c.batch_id == batch_id).order_by(table.c.row_number)
    found = look_up(engine, settings, "etl_reject", lambda connection: connection.execute(query).all())
    rows = [{NUMBER: number} | (raw or {}) for number, raw in found]
    frame = pd.DataFrame(rows, dtype=object)  # integer columns with gaps would become floats and lose digits
    return frame if rows else pd.DataFrame({NUMBER: pd.Series(dtype="int64")})


def csv_of_rejects(rows: pd.DataFrame) -> str:
    """Write the frame of :func:`rejects_as_given` as CSV that a load reads as the same rows.

    NULL is an empty field and an empty text is in quotes, so they differ. A JSON object is written as its text. A number
    stands as it was given in a column of doubles (``-500.0``), elsewhere as the text that it would be in a text column.
    """
    doubles = _names_of_doubles()
    columns = [[_format_value(value, name in doubles) for value in rows[name]] for name in rows.columns]
    lines = [map(str, rows.columns), *zip(*columns, strict=True)]
    return "".join(",".join(map(_quote_field, line)) + "\n" for line in lines)


@cache
def _names_of_doubles() -> frozenset[str]:
    columns = [column for table in Base.metadata.tables.values() for column in table.columns]
    others = {column.name for column in columns if not isinstance(column.type, Float)}
    return frozenset(column.name for column in columns) - others


def _format_value(value: Any, is_double: bool) -> str | None:
    if isinstance(value, dict | list):
        return json.dumps(value)
    if is_double and isinstance(value, float) and isfinite(value):
        return repr(float(value))
    return cast("str | None", text_of(array_of([value], is_json=False))[0].as_py())


def _quote_field(text: str | None) -> str:
    if text is None:
        return ""
    return text if text and not re.search('[",\r\n]', text) else f'"{text.replace(chr(34), chr(34) * 2)}"'
