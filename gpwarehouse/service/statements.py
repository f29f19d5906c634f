"""Statements that callers may run. This is a second line: what a caller may read is decided by the login's rights.

Callers of one role share a login, and PostgreSQL lets sessions of one login cancel each other and see each other's
statements. So functions that do this, and functions that run SQL given as a text, are refused by name.
"""

from __future__ import annotations

import re

from gpwarehouse.engine.sql_lexer import first_word, sql_tokens
from gpwarehouse.service.problems import Problem

__all__ = ["check_statement"]

_ALLOWED = ("SELECT", "WITH", "VALUES", "TABLE", "EXPLAIN", "SHOW")
_REFUSED = re.compile(
    r"""pg_(cancel|terminate|signal)\w* | pg_stat_(get_)?(backend_)?(activity|statements)\w* | pg_stat_get_backend\w*
    | pg_stat_(replication|reset)\w* | pg_(try_)?advisory\w* | pg_renice\w* | pg_resgroup\w* | pg_replication_\w+
    | pg_export_snapshot | pg_isolation_test\w* | pg_log\w+ | pg_notify | pg_(read|ls|file)_\w+ | pg_reload_conf
    | pg_rotate\w* | pg_promote | pg_(create|drop|switch|start|stop|backup)_\w+ | pg_wal_\w+ | pg_dist_\w+
    | gp_(?!segment_id$)\w+ | session_level_memory\w*
    | (query|cursor|table|schema|database)_to_xml\w* | ts_stat | ts_rewrite | dblink\w* | crosstab\w* | connectby\w*
    | xpath_table | lo_(open|creat|create|unlink|import|export|put|get|from_bytes|close)
    | lo_(lseek|tell|truncate)(64)? | loread | lowrite | set_config""",
    re.VERBOSE | re.IGNORECASE,
)
"""Functions and views that reach other sessions or the whole server, or that run SQL given as a text."""


def check_statement(sql: str) -> None:
    """Refuse a statement that is no query, or uses what would reach other callers.

    :raises Problem: 400, no query; 403, a name is refused.
    """
    if "\0" in sql:
        raise Problem(400, "bad-statement", "the statement holds the character NUL; remove it")
    if first_word(sql) not in _ALLOWED:
        raise Problem(400, "no-query", f"only queries run here: {', '.join(_ALLOWED)}")
    for token in sql_tokens(sql):
        if token.kind == "name" and not token.text.startswith('"'):
            raise Problem(403, "refused-name", 'names are written plainly here, not as U&"…"')
        name = token.text.strip('"') if token.kind in ("word", "name") else ""
        if name and _REFUSED.fullmatch(name):
            raise Problem(
                403,
                "refused-name",
                f"{name} is refused: it would reach the sessions of other callers, or run other SQL",
            )
