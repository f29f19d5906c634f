"""Messages of the library in the words of HTTP."""

from __future__ import annotations

import pytest

from gpwarehouse.service.wording import in_requests


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("All: wh.batches.rejects('b 1')", "All: a query of etl_reject with batch_id = 'b 1'"),
        ("Load other data with wh.load(table, frame).", "Load other data with POST /loads with target."),
        ("give a=…, b=… to read(), or", "give a, b in params, or"),
        ("give on_conflict='append'", "give on_conflict=append"),
        ("give allow_incomplete=True (command line: --allow-incomplete).", "give allow_incomplete=true."),
        ("Give it by lot_id= (command line: --lot-id), or", "Give it by lot_id, or"),
        ("delimiter=';' was given; leave delimiter= out", "delimiter=';' was given; leave delimiter out"),
        ("those records: wh.facts.upsert('f', rows)", "those records: wh.facts.upsert('f', rows) in Python"),
        ("the result is too large, or allow more (max_bytes=)", "the result is too large"),
        ("the server refused the query: near target='x'", "the server refused the query: near target='x'"),
    ],
)
def test_a_message_names_the_endpoint_and_the_field(message: str, told: str) -> None:
    assert in_requests(message) == told
