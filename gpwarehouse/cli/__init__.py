"""``gpwarehouse``: the warehouse from a shell. Errors are one message on stderr and exit code 1.

Each module brings the commands of one room.
"""

from __future__ import annotations

import sys

try:
    import rich  # noqa: F401
    import typer  # noqa: F401
except ImportError:  # installed without the extra: the command exists all the same, so it must say why it cannot run
    sys.exit("the gpwarehouse command needs typer and rich: pip install 'gpwarehouse[cli]'")

from gpwarehouse.cli import (  # noqa: F401  (they register their commands)
    backup,
    batches,
    config,
    data,
    demo,
    dimensions,
    facts,
    health,
    keys,
    load,
    merge,
    partitions,
    query,
    roles,
    schema,
    serve,
    server,
)
from gpwarehouse.cli.app import app, errors, say
from gpwarehouse.cli.wording import in_commands
from gpwarehouse.errors import GpwarehouseError

__all__ = ["app", "main"]


def main() -> None:
    """Entry point."""
    try:
        app()
    except (GpwarehouseError, OSError) as error:
        say(f"gpwarehouse: {in_commands(str(error))}", to=errors)
        sys.exit(1)
