"""How the warehouse is, for people and for probes."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from gpwarehouse.cli.app import app, say, warehouse_named
from gpwarehouse.cli.wording import in_commands
from gpwarehouse.monitoring import render_metrics, take_sample

_EXIT = {"healthy": 0, "degraded": 1, "down": 2}


@app.command()
def metrics(
    timeout: Annotated[float, typer.Option(help="Seconds after which a server that does not answer is down.")] = 10.0,
) -> None:
    """Print health and state as metrics, for Prometheus's node exporter where no service runs; exit code as of health."""
    with warehouse_named() as warehouse:
        found = warehouse.health(timeout_s=timeout)
        sample = take_sample(warehouse) if found.status != "down" else None
        sys.stdout.write(render_metrics(warehouse.settings, found, sample))
    raise typer.Exit(_EXIT[found.status])


@app.command()
def health(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    disk: Annotated[bool, typer.Option("--disk", help="Ask for the segments' free space too (superuser).")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds after which a server that does not answer is down.")] = 10.0,
) -> None:
    """Server, segments, schema; exit code 0 healthy, 1 degraded, 2 down."""
    with warehouse_named() as warehouse:
        found = warehouse.health(timeout_s=timeout, disk=disk)
    if as_json:
        sys.stdout.write(json.dumps(found.as_dict(), indent=2) + "\n")
        raise typer.Exit(_EXIT[found.status])
    lines = [f"{found.status}"]
    lines += [f"  {reason}" for reason in found.reasons]
    if found.server is not None:
        lines.append(f"server    {found.server}, {found.latency_ms} ms a round trip, {found.connect_ms} ms to connect")
    if found.connections is not None:
        lines.append(f"sessions  {found.connections} of {found.max_connections}")
    if found.segments:
        up = sum(segment.status == "u" for segment in found.segments)
        lines.append(f"segments  {up} of {len(found.segments)} up, {found.segments_answering} answer")
    if found.server is not None:
        lines.append(f"schema    revision {found.revision or 'none'} (this package: {found.head})")
    lines += [f"disk      {where}: {free / 1e9:.1f} GB free" for where, free in (found.disk_free or {}).items()]
    for line in lines:
        say(in_commands(line))
    raise typer.Exit(_EXIT[found.status])
