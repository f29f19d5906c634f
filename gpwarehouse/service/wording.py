"""Messages of the library in the words of HTTP: endpoints and fields of requests in place of Python's methods and arguments."""

from __future__ import annotations

import re

__all__ = ["in_requests"]

_ENDPOINTS = {
    "load": "POST /loads with target",
    "read": "POST /query",
    "upgrade": "POST /migrations/migrate",
    "downgrade": "POST /migrations/rollback",
    "schema.plan": "POST /migrations/migrate with plan",
    "schema.plan_downgrade": "POST /migrations/rollback with plan",
    "schema.validate": "GET /schema/validate",
    "tables.list": "GET /tables",
    "batches.list": "a query of etl_load_batch",
    "batches.rejects": "a query of etl_reject with batch_id = {}",
}
"""Methods of ``Warehouse``, and what asks for the same by HTTP; ``{}`` is the first argument."""
_PHRASES = (
    (r"read them one by one, or use wh\.session\(\)", "send them one by one"),
    (r", or use wh\.session\(\) to write", ""),
    (r"use wh\.session\(\) for statements that change something", "only queries run here"),
    (r" \(max_bytes=\)", ""),
    (r"/\S*/uploads/[0-9a-f]{32}/", ""),  # where the service keeps the file is its own affair
    (r", or allow more(?=$|;)", ""),
    (r"give session=\{[^}]*\}", "give a longer timeout_s"),
    (r" ?\(command line: [^)]*\)", ""),
    (
        r"csv= describes files with tables; name their target= too",
        "a file with a table needs the parameter target: its fact",
    ),
)
_VALUES = re.compile(r"give ((?:\w+=…(?:, )?)+) to read\(\)")
_CALL = re.compile(r"\b(?:wh|Warehouse)\.((?:\w+\.)?\w+)(?:\(('[^']*'|\"[^\"]*\")?[^()]*\))?")
_FIELDS = (
    "target|batch_id|on_conflict|max_rejects|facility|lot_id|wafer_id|product_id|test_program|equipment_id|event_ts|timezone|"
    "test_type|allow_incomplete|delimiter|encoding|decimal|quote|header_line|null_values|exact_numeric|timeout_s|drop_data"
)
"""Fields of requests that are arguments in Python."""
_KEYWORD = re.compile(rf"\b({_FIELDS})=(?:(True|False)|'(\w+)'|(?=[\s;,:.)]|$))")
_OF_SERVER = "the server refused"
"""How a message begins that quotes the caller's own SQL."""


def in_requests(message: str) -> str:
    """A message as a caller of the service needs it. What has no endpoint says that it is Python's."""
    for pattern, words in _PHRASES:
        message = re.sub(pattern, words, message)
    if message.startswith(_OF_SERVER):
        return message
    message = _VALUES.sub(lambda found: f"give {found[1].replace('=…', '')} in params", message)
    return _KEYWORD.sub(_write_field, _CALL.sub(_name_endpoint, message))


def _name_endpoint(found: re.Match[str]) -> str:
    words = _ENDPOINTS.get(found[1])
    return f"{found[0]} in Python" if words is None else words.format(found[2] or "…")


def _write_field(found: re.Match[str]) -> str:
    value = (found[2] or "").lower() or found[3]
    return f"{found[1]}={value}" if value else found[1]
