"""Places: objects are written once, read back, and nothing secret is shown."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.backup.place import Place
from gpwarehouse.errors import BackupError
from gpwarehouse.settings import WarehouseSettings

SECRET = "hush%2Fhush"
URLS = [
    f"s3://key-id:{SECRET}@bucket/deep/prefix?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1",
    f"abfss://container@account.dfs.core.windows.net/prefix?account_key={SECRET}&unknown=1",
    f"abfss://:{SECRET}@account.dfs.core.windows.net/container/prefix",
    f"gs://key-id:{SECRET}@bucket/pre fix",
]


def test_an_object_is_written_once(tmp_path: Path) -> None:
    place = Place(f"file://{tmp_path}/store")
    place.write("a/b.json", b"one")
    with pytest.raises(BackupError, match="nothing is ever overwritten"):
        place.write("a/b.json", b"two")
    assert place.read("a/b.json") == b"one"
    assert [(each.name, each.bytes) for each in place.list("a").values()] == [("a/b.json", 3)]
    assert place.list("nowhere") == {}
    place.delete("a/b.json")
    place.delete("a/b.json")
    assert place.list("a") == {}


def test_what_is_broken_off_leaves_no_object(tmp_path: Path) -> None:
    place = Place(str(tmp_path))

    def break_off() -> None:
        with place.new("half") as upload:
            upload.write(b"x" * 100)
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert place.list("") == {}


def test_an_object_that_is_not_read_back_as_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(str(tmp_path))

    def lose_a_byte() -> None:
        with place.new("cut") as upload:
            upload.write(b"x" * 100)
            upload.bytes += 1  # as if the store had lost it

    with pytest.raises(BackupError, match="is damaged"):
        lose_a_byte()
    assert place.list("") == {}


@pytest.mark.parametrize("url", URLS)
def test_nothing_secret_is_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Warehouse("postgresql://nobody@127.0.0.1:1/none", backup_url=url) as wh:
        backups = wh.backup()
        shown = [repr(wh), repr(wh.settings), repr(backups)]
        with pytest.raises(BackupError) as failure:
            backups.place.write("x", b"x")
        chain = [failure.value, failure.value.__cause__, failure.value.__context__]
        shown += [str(each) for each in chain]
    for text in (*shown, caplog.text):
        assert "hush" not in text
        assert "key-id" not in text


def test_the_host_of_a_store_is_shown_also_where_the_user_is_called_like_it() -> None:
    url = "s3://minio:hush%2Fhush@bucket/x?endpoint_override=minio.invalid:9000&scheme=http&region=us-east-1"
    with pytest.raises(BackupError, match=r"minio\.invalid") as failure:
        Place(url).list("x")
    assert "hush" not in str(failure.value)
    assert Place(url)._mask("for minio at http://minio.invalid:9000") == "for *** at http://minio.invalid:9000"


def test_a_place_that_is_none_is_refused() -> None:
    with pytest.raises(BackupError, match="'ftp' is no store of backups; allowed: a path, file, s3"):
        Place("ftp://user:hush@host/x")
    with (
        Warehouse("postgresql://nobody@127.0.0.1:1/none") as wh,
        pytest.raises(BackupError, match="GPWAREHOUSE_BACKUP_URL"),
    ):
        wh.backup()
    settings = WarehouseSettings(url="postgresql://h/d", backup_url="s3://a:hush@b/c", _env_file=None)
    assert "hush" not in repr(settings)
