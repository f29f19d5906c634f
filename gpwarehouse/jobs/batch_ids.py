"""The id of a batch, from what names a piece of work in an orchestrator."""

from __future__ import annotations

from urllib.parse import quote

from gpwarehouse.errors import InvalidInputError

__all__ = ["make_batch_id"]

_PLAIN = ":+@,;=()"  # beside letters, digits and _.-~: what run ids and file names often hold


def make_batch_id(tool: str, *names: str, key: str = "") -> str:
    """Make the id of a batch: the same for the same names, and another one for others.

    Every attempt at the same work must give the same names, and every new run another one: leave out attempt numbers, and
    take in the id of the run. Two orchestrators that load into one warehouse need different names too.

    >>> make_batch_id("cron", "nightly lots", "2026-01-05", key="etch/7.csv")
    'cron/nightly%20lots/2026-01-05?etch%2F7.csv'

    :param tool: what runs the work.
    :param names: from the outside inwards: job, run, task.
    :param key: what tells the loads of one task apart, for example the name of a file.
    :raises InvalidInputError: a name is empty.
    """
    if not all((tool, *names)):
        raise InvalidInputError(f"the names {(tool, *names)!r} of a batch: give texts that are not empty")
    path = "/".join(quote(name, safe=_PLAIN) for name in (tool, *names))
    return f"{path}?{quote(key, safe=_PLAIN)}" if key else path
