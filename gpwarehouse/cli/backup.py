"""Backups: make, list, verify, restore, prune."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from gpwarehouse.cli.app import console, errors, group, say, warehouse_named, warn
from gpwarehouse.cli.tables import AsJson, make_table
from gpwarehouse.engine.progress import counted
from gpwarehouse.warehouse import rooms

backup = group("backup", "Backups: made, verified, restored onto any server.")

_To = Annotated[
    str | None,
    typer.Option("--to", help="Place: a folder, file://, s3://, gs:// or abfss://. Without it GPWAREHOUSE_BACKUP_URL."),
]
_From = Annotated[str | None, typer.Option("--from", help="Place of the backups. Without it GPWAREHOUSE_BACKUP_URL.")]
_Parallel = Annotated[
    int | None, typer.Option(min=1, max=64, help="Connections used at once. Without it GPWAREHOUSE_BACKUP_PARALLEL.")
]
_Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="Which backup. Without it the newest whole one.")]


@backup.command()
def create(
    to: _To = None,
    full: Annotated[bool, typer.Option("--full", help="Write all rows, whatever earlier backups hold.")] = False,
    parallel: _Parallel = None,
    as_json: AsJson = False,
) -> None:
    """Back up all tables at one moment. Months that did not change are not written again.

    If it is killed, run it again: it takes up what was written. Progress goes to stderr.
    """
    with warehouse_named() as warehouse:
        made = warehouse.backup(to).create(full=full, parallel=parallel, progress=_tell)
    if as_json:
        _print_json(asdict(made))
        return
    info = made.backup
    rows, tables = counted(info.rows, "row"), counted(info.tables, "table")
    say(f"backup {info.id}: {rows} of {tables}, {counted(info.bytes, 'byte')}, of them {info.new_bytes} new")
    say(f"tables and months: {len(made.written)} written, {len(made.unchanged)} unchanged, {made.seconds:.1f} s")


@backup.command(name="list")
def list_(place: _From = None, as_json: AsJson = False) -> None:
    """List the backups, the newest first: whole, damaged, unfinished."""
    with warehouse_named() as warehouse:
        found = warehouse.backup(place).list()
    if as_json:
        _print_json([asdict(info) for info in found])
        return
    names = ("backup", "state", "taken at", "age", "rows", "bytes", "new bytes", "schema", "revision", "server")
    rows = (
        (
            info.id, info.state, f"{info.taken_at:%Y-%m-%d %H:%M:%S}", str(info.age()).partition(".")[0], str(info.rows),
            str(info.bytes), str(info.new_bytes), info.schema or "", info.revision or "", info.server or "",
        )
        for info in found
    )  # fmt: skip
    console.print(make_table(names, rows))
    warn(info.error for info in found if info.error is not None)


@backup.command()
def verify(
    backup_id: _Id = None,
    place: _From = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only compare sizes, by a listing.")] = False,
    against_warehouse: Annotated[
        bool,
        typer.Option(
            "--against-warehouse",
            help="Also compare all rows with those of the warehouse, and run schema validate and data check there.",
        ),
    ] = False,
    parallel: _Parallel = None,
    as_json: AsJson = False,
) -> None:
    """Read a backup: sizes, SHA-256, checksums of rows. Exit code 1 if anything is wrong or not equal.

    With --against-warehouse it is the check of a cut-over: run it on the old warehouse and on the new one.
    """
    with warehouse_named() as warehouse:
        backups = warehouse.backup(place)
        found = backups.verify(backup_id, quick=quick, parallel=parallel, progress=_tell)
        compared = backups.compare(found.backup_id, parallel=parallel, progress=_tell) if against_warehouse else ()
        findings = [str(finding) for finding in warehouse.schema.validate()] if against_warehouse else []
        checked = warehouse.data.check().to_dict("records") if against_warehouse else []
    unequal = [each for each in compared if not each.equal]
    if as_json:
        said: dict[str, Any] = asdict(found)
        if against_warehouse:
            said |= {"compared": [{**asdict(each), "equal": each.equal} for each in compared]}
            said |= {"schema_findings": findings, "data_findings": checked}
        _print_json(said)
    else:
        objects, size = counted(found.objects, "object"), counted(found.bytes, "byte")
        say(f"backup {found.backup_id}: {objects}, {counted(found.rows, 'row')}, {size} read" if not quick
            else f"backup {found.backup_id}: {objects} listed, {size}")  # fmt: skip
        _print_lines("problem", found.problems)
        if against_warehouse:
            rows = sum(each.rows_here for each in compared)
            told = f"{len(compared)} compared, {len(unequal)} not equal"
            say(f"tables and months: {told}; {counted(rows, 'row')} in the warehouse")
            _print_unequal(unequal)
            told = f"schema validate: {counted(len(findings), 'finding')}"
            say(f"{told}; data check: {counted(len(checked), 'finding')}")
            _print_lines("schema", findings)
            _print_lines("data", (" ".join(map(str, row.values())) for row in checked))
    warn(found.warnings)
    if found.problems or unequal or findings or checked:
        raise typer.Exit(1)


@backup.command()
def restore(
    backup_id: _Id = None,
    place: _From = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this table; may be given again.")] = None,
    month: Annotated[
        list[str] | None, typer.Option(help="Only this month of facts, YYYY-MM; may be given again.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Replace what is there, where it is not equal.")] = False,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Upgrade to the backup's revision before, and to the newest afterwards.")
    ] = False,
    parallel: _Parallel = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup, verified row for row, into an empty warehouse; with --update into one that holds an earlier state.

    If it is killed, run it again: it goes on. Until it has ended, the warehouse refuses loads. Progress goes to stderr.
    """
    with warehouse_named() as warehouse:
        done = warehouse.backup(place).restore(
            backup_id, tables=table, months=month, update=update, to_head=upgrade, parallel=parallel, progress=_tell
        )
    if as_json:
        _print_json(asdict(done))
        return
    say(
        f"backup {done.backup_id}: {counted(done.rows, 'row')} restored; tables and months: {len(done.restored)} restored, "
        f"{len(done.same)} that held their rows already, {len(done.emptied)} emptied, {done.seconds:.1f} s"
    )
    warn(done.warnings)


@backup.command()
def prune(
    place: _From = None,
    keep: Annotated[
        str | None, typer.Option(help='What stays: "last 7, days 14, months 12". Without it GPWAREHOUSE_BACKUP_KEEP.')
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove backups that are not to be kept, and objects that no kept one refers to."""
    with warehouse_named() as warehouse:
        done = warehouse.backup(place).prune(keep, plan=plan)
    if as_json:
        _print_json(asdict(done))
        return
    verb = "would be removed" if plan else "removed"
    say(
        f"{counted(len(done.kept), 'backup')} {'stays' if len(done.kept) == 1 else 'stay'}, {len(done.removed)} {verb}, with "
        f"{counted(len(done.objects), 'object')} of {counted(done.bytes, 'byte')}"
    )
    _print_lines(verb, done.removed)
    _print_lines("abandoned", done.abandoned)
    if done.running:
        say(f"no object was removed, as a backup runs: {', '.join(done.running)}")


def _tell(line: str) -> None:
    say(line, to=errors)


def _print_lines(what: str, lines: Iterable[str]) -> None:
    for line in lines:
        say(f"{what}: {line}")


def _print_unequal(unequal: Iterable[Any]) -> None:
    names = ("table", "partition", "rows in backup", "rows in warehouse", "checksum in backup", "checksum in warehouse")
    rows = [
        (each.table, each.partition or "", str(each.rows), str(each.rows_here), each.checksum, each.checksum_here)
        for each in unequal
    ]
    if rows:
        console.print(make_table(names, rows))


def _print_json(said: Any) -> None:
    sys.stdout.write(json.dumps(said, indent=2, default=str) + "\n")


@backup.command(name="gpbackup")
def run_gpbackup(
    to: Annotated[
        str | None, typer.Option("--to", help="gpbackup's --backup-dir. Without it the segments' data folders.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Connections used at once.")] = 1,
    options: Annotated[list[str] | None, typer.Argument(help="More options of gpbackup, after --.")] = None,
) -> None:
    """Run gpbackup, Greenplum's own tool, for the warehouse's schema. Run it on the coordinator's host."""
    with warehouse_named() as warehouse:
        done = rooms.backup.run_gpbackup(warehouse.settings, folder=to, jobs=jobs, options=options or ())
    say(f"gpbackup {done.timestamp}" + ("" if done.report is None else f": {done.report}"))


@backup.command(name="gpbackup-history")
def gpbackup_history(
    file: Annotated[str, typer.Argument(help="gpbackup_history.db in the coordinator's data folder.")],
    as_json: AsJson = False,
) -> None:
    """List what gpbackup has backed up, the newest first."""
    found = rooms.backup.read_gpbackup_history(file)
    if as_json:
        _print_json([asdict(each) for each in found])
        return
    names = ("timestamp", "database", "status", "ended at", "deleted", "folder")
    rows = (
        (each.timestamp, each.database, each.status, str(each.ended_at or ""), each.deleted, each.folder or "")
        for each in found
    )
    console.print(make_table(names, rows))
