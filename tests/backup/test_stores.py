"""The same on a folder and on the three object stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.backup.place import Place
from gpwarehouse.errors import BackupError
from tests.backup.fab import content, odd
from tests.backup.stores import KEY, SECRET, STORES, store
from tests.partitions.fab import TESTS, command
from tests.processes import url_of


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with store(request.param, tmp_path) as found:
        yield found


def test_a_place_does_what_it_says(url: str) -> None:
    place = Place(url)
    assert place.list("a") == {}
    big = bytes(range(256)) * 80_000  # 20 MB: several parts of an upload
    place.write("a/b/c.json", b"one")
    place.write("a/d.json", big)
    assert {each.name: each.bytes for each in place.list("a").values()} == {"a/b/c.json": 3, "a/d.json": len(big)}
    assert all(each.modified is not None for each in place.list("a").values())
    assert place.read("a/b/c.json") == b"one"
    with place.opened("a/d.json", len(big)) as file:
        file.seek(256 * 1000)
        assert file.read(3) == b"\0\1\2"
    with pytest.raises(BackupError, match="nothing is ever overwritten"):
        place.write("a/b/c.json", b"two")

    def break_off() -> None:
        with place.new("a/half") as upload:
            upload.write(big)
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert "a/half" not in place.list("a")
    for missing in (lambda: place.read("a/x"), lambda: place.check("a/x", 1, "0")):
        with pytest.raises(BackupError) as failure:
            missing()
        assert SECRET not in str(failure.value)
        assert KEY not in str(failure.value)
    place.delete("a/b/c.json")
    place.delete("a/b/c.json")
    assert list(place.list("a")) == ["a/d.json"]


def test_a_backup_is_made_changed_verified_restored_and_pruned(fab: Warehouse, other: Warehouse, url: str) -> None:
    backups = fab.backup(url)
    first = backups.create()
    fab.load(TESTS, [odd("2026-02", 500)])
    second = backups.create()
    assert {label for label in second.written if label.startswith("fact_")} == {f"{TESTS} m202602"}
    assert backups.verify().problems == ()
    other.backup(url).restore(first.backup.id)
    other.backup(url).restore(update=True)
    assert content(other) == content(fab)
    assert backups.prune("last 1").removed == (first.backup.id,)
    assert backups.verify().problems == ()
    last = backups.last()
    assert last is not None
    assert last.id == second.backup.id


def test_the_command_line_shows_nothing_secret(fab: Warehouse, url: str) -> None:
    where = ("--url", url_of(fab), "backup")
    done = [
        command(*where, "create", "--to", url),
        command(*where, "list", "--from", url),
        command(*where, "verify", "--from", url, "--against-warehouse", "--json"),
        command(*where, "restore", "--from", url),
        command(*where, "verify", "none", "--from", url),
    ]
    assert [each.exit_code for each in done] == [0, 0, 0, 1, 1]
    for each in done:
        said = f"{each.output}{each.stderr}{each.exception}"
        assert SECRET not in said
        assert KEY not in said
