"""API keys of the service: made, listed, revoked. A service that runs takes the change from its next request on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpwarehouse.cli.app import console, errors, group, say
from gpwarehouse.cli.tables import AsJson, make_table
from gpwarehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    from gpwarehouse.service.keys import ApiKeys

keys = group("keys", "API keys of the service, in GPWAREHOUSE_SERVICE_STATE_DIR.")


@contextmanager
def _stored_keys() -> Iterator[ApiKeys]:
    from gpwarehouse.service.keys import ApiKeys
    from gpwarehouse.service.store import Store

    with closing(Store(WarehouseSettings().service_state_dir)) as store:
        yield ApiKeys(store)


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    role: Annotated[str, typer.Option(help="reader, loader or admin.")] = "reader",
    days: Annotated[float, typer.Option(help="Days after which it expires.")] = 365,
) -> None:
    """Make a key and print it. It is shown this once; only its hash is kept."""
    with _stored_keys() as stored:
        key = stored.create(name, role, days=days)  # type: ignore[arg-type]  # it is checked there
    sys.stdout.write(f"{key}\n")
    say("it cannot be shown again", to=errors)


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List all keys, without their secrets."""
    with _stored_keys() as stored:
        found = [{**asdict(key), "is_valid": key.is_valid} for key in stored.list()]
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, default=datetime.isoformat) + "\n")
    elif not found:
        console.print("there are no keys")
    else:
        console.print(make_table(("id", "name", "role", "created", "expires", "state"), map(_row, found)))


def _row(key: dict[str, Any]) -> list[str]:
    state = "valid" if key["is_valid"] else "revoked" if key["revoked_at"] else "expired"
    days = [f"{key[name]:%Y-%m-%d}" if key[name] else "never" for name in ("created_at", "expires_at")]
    return [key["id"], key["name"], key["role"], *days, state]


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")]) -> None:
    """Refuse a key from now on."""
    with _stored_keys() as stored:
        stored.revoke(key_id)
    say(f"key {key_id} is revoked")
