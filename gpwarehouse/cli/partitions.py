"""Partitions: what is to be done to the months of the facts, and doing it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpwarehouse.cli.app import console, errors, group, say, warehouse_named
from gpwarehouse.cli.tables import make_table, print_frame
from gpwarehouse.cli.wording import in_commands
from gpwarehouse.engine.progress import counted

if TYPE_CHECKING:
    from gpwarehouse.partitions import Report, Step

partitions = group("partitions", "Months of the facts: made ahead, archived, restored.")

_Tables = Annotated[list[str] | None, typer.Option("--table", help="A fact; may be given again. All without.")]
_Months = Annotated[list[str] | None, typer.Option("--month", help="YYYY-MM; may be given again.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


_HoldDays = Annotated[int, typer.Option(min=0, help="For so long retention leaves the months of --month alone.")]
_Reason = Annotated[str, typer.Option(help="Why they are made, which is noted.")]


@partitions.command()
def plan(
    table: _Tables = None,
    month: _Months = None,
    hold_days: _HoldDays = 30,
    reason: _Reason = "made for late data",
    as_json: _Json = False,
) -> None:
    """Show what apply would do: months to make (--month: these too), gaps to fill, months that retention takes."""
    with warehouse_named() as warehouse:
        found = warehouse.partitions.plan(tables=table, months=month or (), hold_days=hold_days, reason=reason)
    if as_json:
        _print_json(found.to_dict())
        return
    _print_table(("action", "table", "partition", "from", "to", "why"), [(*_step(s), s.why) for s in found])
    _print_notes(found.notes, "nothing is to be done" if not len(found) else None)


@partitions.command()
def apply(
    table: _Tables = None,
    month: _Months = None,
    hold_days: _HoldDays = 30,
    reason: _Reason = "made for late data",
    wait: Annotated[float, typer.Option(min=0, help="Seconds that a step waits for those who use its table.")] = 900,
    as_json: _Json = False,
) -> None:
    """Do what plan shows; exit code 1 where a step failed. Safe to run from two places at once.

    Progress goes to stderr, a line when a step begins, ends or waits.
    """
    with warehouse_named() as warehouse:
        report = warehouse.partitions.apply(
            tables=table, months=month or (), hold_days=hold_days, reason=reason, wait_s=wait, progress=_tell
        )
    if as_json:
        _print_json(report.to_dict())
    else:
        _print_report(report)
    if report.failed:
        raise typer.Exit(1)


def _tell(line: str) -> None:
    say(line, to=errors)


@partitions.command()
def hold(
    table: Annotated[str, typer.Argument(help="The fact.")],
    month: Annotated[str, typer.Argument(help="YYYY-MM.")],
    reason: Annotated[str, typer.Option(help="Why, which is noted.")],
    days: Annotated[int, typer.Option(min=0, help="For so long retention leaves the month alone; 0 lets it go.")] = 30,
) -> None:
    """Keep a month from retention for a while."""
    with warehouse_named() as warehouse:
        until = warehouse.partitions.hold(table, month, days=days, reason=reason)
    said = f"is held until {until:%Y-%m-%d %H:%M} UTC" if until is not None else "is not held"
    say(f"{table}: {month} {said}")


@partitions.command(name="list")
def list_(table: _Tables = None, as_json: _Json = False) -> None:
    """List the months: bounds, state, storage, size, and what the archive holds of them."""
    with warehouse_named() as warehouse:
        _print_frame(warehouse.partitions.list(tables=table), as_json)


@partitions.command()
def restore(
    table: Annotated[str, typer.Argument(help="The fact.")],
    month: Annotated[str, typer.Argument(help="YYYY-MM.")],
    hold_days: Annotated[int, typer.Option(min=0, help="For so long retention leaves the month alone.")] = 30,
) -> None:
    """Bring an archived month back from its files, verified."""
    with warehouse_named() as warehouse:
        rows = warehouse.partitions.restore(table, month, hold_days=hold_days, progress=_tell)
    say(f"{table}: {counted(rows, 'row')} of {month} restored")


@partitions.command()
def adopt_archive(
    reason: Annotated[str, typer.Option(help="Why this database takes the other's place; it is recorded.")],
) -> None:
    """Take over the archive of the database whose place this one takes: restored from a backup, or moved."""
    with warehouse_named() as warehouse:
        before = warehouse.partitions.adopt_archive(reason=reason)
    for name in before:
        say(f"adopted from {name}, which is refused from now on")


@partitions.command()
def skew(table: _Tables = None, month: _Months = None, as_json: _Json = False) -> None:
    """Count rows and bytes of each month on each segment. Counting reads the months: name some of a large fact."""
    with warehouse_named() as warehouse:
        _print_frame(warehouse.partitions.skew(tables=table, months=month or ()), as_json)


def _step(step: Step) -> tuple[str, ...]:
    return (step.action, step.table, step.partition, f"{step.start:%Y-%m-%d}", f"{step.end:%Y-%m-%d}")


def _print_report(report: Report) -> None:
    rows = [
        (
            *_step(outcome.step),
            "failed" if outcome.error else "done" if outcome.done else "left out",
            "" if outcome.rows is None else str(outcome.rows),
            f"{outcome.seconds:.1f}",
        )
        for outcome in report.outcomes
    ]
    _print_table(("action", "table", "partition", "from", "to", "outcome", "rows", "seconds"), rows)
    _print_notes(report.notes, "nothing was to be done" if not rows else None)


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if not rows:
        return
    console.print(make_table(columns, rows))


def _print_notes(notes: tuple[str, ...], nothing: str | None) -> None:
    for note in (*notes, *([nothing] if nothing else [])):
        say(in_commands(note))


def _print_frame(frame: Any, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(frame.to_json(orient="records", date_format="iso") + "\n")
    else:
        print_frame(console, frame)


def _print_json(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said, indent=2) + "\n")
