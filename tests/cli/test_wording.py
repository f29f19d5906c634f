from __future__ import annotations

import pytest

import gpwarehouse.cli  # noqa: F401  (it registers the commands)
from gpwarehouse.cli.wording import in_commands


@pytest.mark.parametrize(
    ("message", "argv", "told"),
    [
        ("All: wh.batches.rejects('b 1')", ["load"], "All: gpwarehouse batches rejects 'b 1'"),
        ("see wh.facts.columns() for them", ["load"], "see gpwarehouse facts columns for them"),
        ("use Warehouse.load(table, frame).", ["load"], "use gpwarehouse load FILE --target TABLE."),
        ("run wh.facts.upsert('fact_x', frame)", [], "run gpwarehouse facts upsert fact_x FILE"),
        ("take them out (wh.batches.delete)", [], "take them out (gpwarehouse batches delete)"),
        ("wh.downgrade(…, drop_data=True), then", [], "gpwarehouse downgrade … --yes-drop-data, then"),
        ("wh.partitions.restore('f', '2026-01')", [], "gpwarehouse partitions restore f 2026-01"),
        ("on_conflict='replace': leave it out", ["load", "f"], "--on-conflict replace: leave it out"),
        ("load it with atomic=False", ["load", "f"], "load it with --no-atomic"),
        ("or give overwrite=True", ["export", "q"], "or give --overwrite"),
        ("give partition_by= for a folder", ["export", "q"], "give --partition-by for a folder"),
        ("use wh.session() to write", ["query"], "use wh.session() in Python to write"),
    ],
)
def test_a_message_names_the_command_and_the_option(message: str, argv: list[str], told: str) -> None:
    assert in_commands(message, argv) == told


def test_what_is_no_option_of_the_command_stays_as_it_is() -> None:
    refused = "syntax error in WHERE target='fact' AND month=3"
    assert in_commands(refused, ["query", refused]) == refused
