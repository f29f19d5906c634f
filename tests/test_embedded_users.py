"""The embedded PostgreSQL under users that PostgreSQL does not like: root, numbers without an account, full disks."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.embedded import EmbeddedServer, programs
from gpwarehouse.errors import EmbeddedServerError, GpwarehouseError
from tests.embedded_servers import is_up, place_for_data, query

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs users")
ROOT_ONLY = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may become another user")
NO_ACCOUNT = 1000650000  # as OpenShift gives them

START = """
import sys
from gpwarehouse.embedded import EmbeddedServer
from gpwarehouse.errors import EmbeddedServerError
try:
    with EmbeddedServer.start(*sys.argv[1:]) as server:
        print(server.url())
except EmbeddedServerError as error:
    print("refused:", error)
"""


def python_for_all() -> str:
    """A Python that any user may run. Ours may stand in a directory of root's; the system's does if it is the same version."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        try:
            if subprocess.run([python, "-c", ""], user=NO_ACCOUNT, check=False, capture_output=True).returncode == 0:
                return python
        except OSError:
            continue
    pytest.skip("no Python that another user may run")


def start_as(user: int | str | None, *arguments: str, **more: object) -> str:
    """What a process of another user says that starts a server."""
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable if user is None else python_for_all(), "-c", START, *arguments]
    if user is not None:
        more |= {"user": user, "group": user if isinstance(user, int) else None, "extra_groups": []}
    ran = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert ran.returncode == 0, ran.stderr
    return str(ran.stdout)


def modes(path: Path) -> dict[Path, tuple[int, int]]:
    """Rights and owners of the directories from the path to the root."""
    return {one: (stat.S_IMODE(one.stat().st_mode), one.stat().st_uid) for one in (path, *path.parents)}


@pytest.fixture
def closed() -> Iterator[Path]:
    """A directory that only its owner may enter."""
    with tempfile.TemporaryDirectory(prefix="gpw-test-", dir=place_for_data()) as place:
        yield Path(place)


@ROOT_ONLY
def test_root_needs_no_directory_opened_and_no_user_added(closed: Path) -> None:
    accounts = Path("/etc/passwd").read_bytes()
    before = {**modes(closed), **modes(programs.wheel_programs())}
    with EmbeddedServer.start(closed) as server:
        assert query(server.url(), "SELECT 1") == 1
        owner = (closed / "data").stat()
        assert owner.st_uid != 0
        assert owner.st_mode & 0o077 == 0
    assert {path: (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) for path in before} == before
    assert Path("/etc/passwd").read_bytes() == accounts


@ROOT_ONLY
def test_root_needs_no_path_to_the_systems_programs(closed: Path) -> None:
    assert start_as(None, str(closed)).startswith("postgresql")  # its PATH has no /usr/sbin


@ROOT_ONLY
def test_pytests_folder_and_that_of_mkdtemp_do_for_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with Warehouse.embedded(tmp_path) as warehouse:
        assert warehouse.read("SELECT 1 AS x").x.tolist() == [1]
    with tempfile.TemporaryDirectory() as folder, Warehouse.embedded(folder) as warehouse:
        assert warehouse.read("SELECT 1 AS x").x.tolist() == [1]


@ROOT_ONLY
def test_data_of_another_user_is_served_as_that_user(closed: Path) -> None:
    EmbeddedServer.start(closed).close()
    nobody = pwd.getpwnam("nobody").pw_uid
    for path in (closed / "data", *(closed / "data").rglob("*")):
        os.chown(path, nobody, nobody, follow_symlinks=False)
    with EmbeddedServer.start(closed) as server:
        assert is_up(server.url())
        assert (closed / "data" / "postmaster.pid").stat().st_uid == nobody


@ROOT_ONLY
def test_a_user_without_an_account_runs_it() -> None:
    with pytest.raises(KeyError):
        pwd.getpwuid(NO_ACCOUNT)
    assert start_as(NO_ACCOUNT).startswith("postgresql")
    assert start_as(NO_ACCOUNT, restore_signals=True).startswith("postgresql")  # by the copy that is there


@ROOT_ONLY
def test_an_ordinary_user_has_a_server_of_its_own_beside_roots() -> None:
    with EmbeddedServer.start() as server:
        assert start_as("nobody").startswith("postgresql")
        assert is_up(server.url())


@ROOT_ONLY
@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize("capability", [0, 7], ids=["CAP_CHOWN", "CAP_SETUID"])
def test_root_that_may_not_become_another_user_is_told_so(closed: Path, capability: int) -> None:
    libc = ctypes.CDLL(None)

    def drop() -> None:
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: gone with the exec that follows

    said = start_as(None, str(closed), preexec_fn=drop)
    assert "root may not start it as another user" in said
    assert "capabilities CHOWN, SETUID" in said


@ROOT_ONLY
def test_where_nothing_can_be_copied_to_the_places_are_named(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs._copy.cache_clear()
    (closed / "file").touch()
    monkeypatch.setattr(programs, "_SYSTEM_CACHE", closed / "file" / "below")
    monkeypatch.setattr(tempfile, "tempdir", str(closed))  # which the server's user cannot enter
    try:
        with pytest.raises(
            EmbeddedServerError, match=r"(?s)no place for a copy.*below: Not a directory.*Permission denied"
        ):
            EmbeddedServer.start(closed / "home")
    finally:
        programs._copy.cache_clear()


def test_a_copy_is_made_once_is_whole_and_readable_by_all(tmp_path: Path) -> None:
    wheel = programs.wheel_programs()
    programs._make_copy(wheel, tmp_path, "one")
    made = tmp_path / "one" / wheel.relative_to(wheel.parents[2])
    assert subprocess.run([made / "initdb", "--version"], check=True, capture_output=True).stdout
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (tmp_path / "one").rglob("*"))
    before = (made / "postgres").stat()
    programs._make_copy(wheel, tmp_path, "one")  # as a process that was slower
    assert (made / "postgres").stat().st_ino == before.st_ino
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_programs_in_a_path_that_a_shell_would_read_are_run_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``initdb`` calls its server by a shell. (Root runs a copy in any case.)"""
    wheel = programs.wheel_programs()
    odd = tmp_path / 'our "fab`s" $HOME'
    odd.symlink_to(wheel.parents[2])
    monkeypatch.setattr(programs, "wheel_programs", lambda: odd / wheel.relative_to(wheel.parents[2]))
    monkeypatch.setattr(programs, "_is_root", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = programs.find_programs(tmp_path).folder
    assert found.is_relative_to(tmp_path / "cache")
    said = subprocess.run([found / "initdb", "--version"], check=True, capture_output=True, text=True).stdout
    assert said.startswith("initdb (PostgreSQL)")


@pytest.mark.parametrize("wrong", ["writable", "link"])
def test_a_folder_that_others_could_have_filled_is_not_run_from(tmp_path: Path, wrong: str) -> None:
    place = tmp_path / "place"
    if wrong == "link":
        place.symlink_to(tmp_path)
    else:
        place.mkdir()
        place.chmod(0o777)
    with pytest.raises(OSError, match="others"):
        programs.make_own_folder(place)


@pytest.fixture
def small_disk(closed: Path) -> Iterator[Path]:
    """A disk of 110 MB: room for a server, but not for much in it."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=110m", "tmpfs", closed], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no small disk can be mounted here")
    yield closed
    subprocess.run(["umount", "-l", closed], check=True)


@ROOT_ONLY
@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_full_disk_is_told_at_the_start(small_disk: Path) -> None:
    with (small_disk / "filler").open("wb") as filler:
        filler.write(b"x" * (90 << 20))
    with pytest.raises(EmbeddedServerError, match=r"did not start: there is no room left on its disk \(No space left"):
        EmbeddedServer.start(small_disk / "home")


@ROOT_ONLY
@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_disk_that_fills_is_told_by_what_needs_the_room(small_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Warehouse.embedded(small_disk / "home", retry_deadline_s=3600) as warehouse:
        warehouse.upgrade()
        (small_disk / "filler").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - (9 << 20)))
        row = {
            "event_ts": "2026-01-05T12:00:00Z",
            "lot_id": "L1",
            "wafer_id": "1",
            "inspection_id": "I",
            "is_defect": True,
        }
        rows = [{**row, "defect_id": number} for number in range(20_000)]

        def fill() -> None:
            for name in "abcdefgh":
                warehouse.load("fact_defect_inspection", rows, batch_id=name, on_conflict="append")

        with pytest.raises(GpwarehouseError, match="No space left on device"):
            fill()
    assert "SystemError" not in capfd.readouterr().err


def test_a_limit_on_the_size_of_files_is_told(closed: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    command = [sys.executable, "-c", START, str(closed / "home")]
    ran = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=True)
    assert "there is no room left on its disk (File " in ran.stdout
