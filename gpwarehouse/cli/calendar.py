"""The fab's calendar: its hours made anew after its settings changed."""

from __future__ import annotations

import typer

from gpwarehouse.cli.app import app, console, warehouse_named

calendar = typer.Typer(no_args_is_help=True, help="The fab's calendar: shifts, crews, holidays by the hour.")
app.add_typer(calendar, name="calendar")


@calendar.command()
def rebuild() -> None:
    """Make the hours anew that are not of the settings' time zone, shifts, crews and holidays."""
    with warehouse_named() as warehouse:
        months = warehouse.rebuild_calendar()
    console.print(f"made anew: {', '.join(months)}" if months else "all hours are of this calendar", soft_wrap=True)


@calendar.callback()
def _group() -> None:
    """The fab's calendar."""
