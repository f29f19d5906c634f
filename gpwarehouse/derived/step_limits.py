"""``bridge_step_limits``: the limits of steps, unfolded once and not by every query."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import BigInteger, Table, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Connection

from gpwarehouse.engine.table_names import qualified_name
from gpwarehouse.models import BridgeStepLimits, DimProcessStep

__all__ = ["differing_step_limits", "refresh_step_limits"]

_LIMITS: Table = BridgeStepLimits.__table__
_STEPS: Table = DimProcessStep.__table__
_COLUMNS = ", ".join(column.name for column in _LIMITS.columns)


def _number(name: str) -> str:
    """A number of a limit's JSON; what is no number is no limit, or one bad entry would break every query."""
    return f"CASE WHEN jsonb_typeof(j.value -> '{name}') = 'number' THEN CAST(j.value ->> '{name}' AS double precision) END"


def _unfolded(steps: str, condition: str) -> str:
    texts = ", ".join(f"j.value ->> '{name}' AS {name}" for name in ("name", "unit", "limit_version"))
    numbers = ", ".join(f"{_number(name)} AS {name}" for name in ("lsl", "lcl", "target", "ucl", "usl"))
    return (
        f"SELECT s.process_step_key, j.key AS parameter, s.effective_date, s.expiry_date, {texts}, {numbers} "
        f"FROM {steps} s CROSS JOIN LATERAL jsonb_each(s.control_limits) AS j (key, value) "
        f"WHERE jsonb_typeof(j.value) = 'object' AND {condition}"
    )


def refresh_step_limits(connection: Connection, keys: Iterable[int] | None = None) -> int:
    """Write the limits of these steps anew, in the caller's transaction; rows written.

    :param keys: durable keys of the steps whose versions changed; None: all steps.
    """
    chosen = None if keys is None else sorted(set(keys))
    if chosen == []:
        return 0
    name = qualified_name(connection, _LIMITS)
    condition = "true" if chosen is None else "process_step_key = ANY (:keys)"
    values = {} if chosen is None else {"keys": chosen}

    def run(sql: str) -> int:
        statement = text(sql)
        if chosen is not None:
            statement = statement.bindparams(bindparam("keys", type_=ARRAY(BigInteger())))
        return connection.execute(statement, values).rowcount

    if connection.execute(
        text(f"SELECT EXISTS (SELECT 1 FROM {name})")
    ).scalar_one():  # a DELETE locks out readers' loads
        run(f"DELETE FROM {name} WHERE {condition}")
    unfolded = _unfolded(
        qualified_name(connection, _STEPS), condition.replace("process_step_key", "s.process_step_key")
    )
    return run(f"INSERT INTO {name} ({_COLUMNS}) {unfolded}")


def differing_step_limits(connection: Connection) -> tuple[int, str | None]:
    """Count limits that are not those of their step's version, in either direction; and a case of it."""
    name = qualified_name(connection, _LIMITS)
    unfolded = f"SELECT {_COLUMNS} FROM ({_unfolded(qualified_name(connection, _STEPS), 'true')}) u"
    stored = f"SELECT {_COLUMNS} FROM {name}"
    found = connection.execute(
        text(
            "SELECT count(*) AS n, min('process_step_key = ' || d.process_step_key || ', parameter = ' || d.parameter) AS sample "
            f"FROM (({unfolded} EXCEPT {stored}) UNION ALL ({stored} EXCEPT {unfolded})) d"
        )
    ).one()
    return int(found.n), found.sample
