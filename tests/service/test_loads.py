"""POST /loads: a file arrives whole or not at all, and its content is loaded once."""

from __future__ import annotations

import gzip
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.sources.synthetic import DemoLot, write_demo_lot
from tests.conftest import database
from tests.service.serving import Served, ended, secret, serve, wait_for

FACT = "fact_equipment_performance"
RAW = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def loader(served: Served) -> Iterator[httpx.Client]:
    """A client that loads. The months are there: a loader's login cannot make them."""
    served.owner.partitions.apply(months=["2024-03", "2026-03"])
    with served.client("loader") as client:
        yield client


@pytest.fixture(scope="module")
def lot(tmp_path_factory: Any) -> DemoLot:
    return write_demo_lot(tmp_path_factory.mktemp("lot") / "lot.stdf.gz", wafers=1, radius=3)


def send(client: httpx.Client, content: Any, headers: dict[str, str] | None = None, **params: Any) -> httpx.Response:
    return client.post("/loads", content=content, params=params, headers=RAW if headers is None else headers)


def loaded(client: httpx.Client, content: Any, **params: Any) -> dict[str, Any]:
    answer = send(client, content, **params)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    job = ended(client, answer.json()["id"], 120)
    assert job["state"] == "succeeded", job["problem"]
    result: dict[str, Any] = job["result"]
    return result


def nothing_is_left(served: Served) -> bool:
    return not list((served.settings.service_state_dir / "uploads").iterdir())


def performance(rows: int, start: int = 0) -> pa.Table:
    """Rows for fact_equipment_performance."""
    days = pd.date_range("2026-03-01T06:00:00Z", periods=rows, freq="12h")
    return pa.table(
        {
            "equipment_id": [f"EQ-{start}-{n % 7}" for n in range(rows)],
            "event_ts": pa.array(days.to_pydatetime(), pa.timestamp("us", "UTC")),
            "productive_s": [43_200.0] * rows,
            "total_s": [43_200.0] * rows,
        }
    )


def arrow_file(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.feather.write_feather(table, sink, compression="uncompressed")
    return sink.getvalue()


def arrow_stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    return sink.getvalue()


def test_a_test_data_file_is_loaded_once_however_often_it_is_sent(
    served: Served, loader: httpx.Client, lot: DemoLot, server_url: Any, upgraded_template: str
) -> None:
    content = lot.path.read_bytes()
    first = loaded(loader, content, filename="lot.stdf.gz")
    assert first["rows_loaded"] == lot.insertions
    assert first["already_loaded"] is False
    again = loaded(loader, gzip.decompress(content), filename="another name.stdf")
    assert again["already_loaded"] is True
    assert again["batch_id"] == first["batch_id"]
    assert again["rows_loaded"] == 0
    rows = served.owner.read("SELECT count(*) AS n FROM dw.fact_test_results WHERE batch_id = :b", b=first["batch_id"])
    assert rows.n[0] == lot.insertions
    assert nothing_is_left(served)
    with database(server_url, upgraded_template) as url, Warehouse(url) as wh:
        wh.partitions.apply(months=["2024-03"])
        direct = wh.load_file(lot.path)
    for name in ("batch_id", "target", "rows_read", "rows_loaded", "rows_rejected", "already_loaded", "members_made"):
        assert first[name] == getattr(direct, name), name
    assert first["months_made"] == list(direct.months_made)
    # Only a table's owner may ANALYZE it; the loader's login is not.
    not_the_owner = ("permission denied to analyze", "owner can analyze it")  # the loader may not gather statistics
    told = [each for each in first["warnings"] if not any(words in each for words in not_the_owner)]
    assert told == list(direct.warnings)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow", "rows.csv", "rows.csv.gz"])
def test_rows_of_a_table_go_into_the_target(served: Served, loader: httpx.Client, name: str) -> None:
    table = performance(20, start=len(name))
    sink = io.BytesIO()
    if name.endswith(".parquet"):
        pq.write_table(table, sink)
    content = {
        "rows.parquet": sink.getvalue(),
        "rows.arrow": arrow_file(table),
        "rows.csv": table.to_pandas().to_csv(index=False).encode(),
        "rows.csv.gz": gzip.compress(table.to_pandas().to_csv(index=False).encode()),
    }[name]
    done = loaded(loader, content, filename=name, target="fact_equipment_performance")
    assert (done["rows_read"], done["rows_loaded"], done["rows_rejected"]) == (20, 20, 0)
    files = served.owner.read(
        "SELECT DISTINCT source_file FROM dw.fact_equipment_performance WHERE batch_id = :b", b=done["batch_id"]
    )
    assert list(files.source_file) == [name]


def test_options_are_those_of_a_load(loader: httpx.Client) -> None:
    content = performance(12, start=900).to_pandas().to_csv(index=False).encode()
    options = {"filename": "own.csv", "target": "fact_equipment_performance", "batch_id": "my own id"}
    assert loaded(loader, content, **options)["batch_id"] == "my own id"
    assert loaded(loader, content, **options)["already_loaded"] is True
    replaced_rows = loaded(loader, content, **options, on_conflict="replace")
    assert replaced_rows["rows_replaced"] == 12
    other = performance(3, start=901).to_pandas().to_csv(index=False).encode()
    job = ended(loader, send(loader, other, **options).json()["id"])
    assert job["state"] == "failed"
    assert job["problem"]["status"] == 409
    assert job["problem"]["type"].endswith(":batch-conflict")


def test_a_limit_of_rejects_is_heeded(loader: httpx.Client) -> None:
    frame = performance(10, start=950).to_pandas()
    frame["event_ts"] = frame["event_ts"].astype(str)
    frame.loc[3, "event_ts"] = "never"
    content = frame.to_csv(index=False).encode()
    options = {"filename": "bad.csv", "target": "fact_equipment_performance"}
    job = ended(loader, send(loader, content, **options, max_rejects="0").json()["id"])
    assert job["problem"]["type"].endswith(":load-refused")
    done = loaded(loader, content, **options, max_rejects="0.2")
    assert (done["rows_loaded"], done["rows_rejected"]) == (9, 1)


def test_a_cut_or_streamed_arrow_body_is_refused(served: Served, loader: httpx.Client) -> None:
    stream, whole = arrow_stream(performance(1000)), arrow_file(performance(1000))
    for content in (stream, stream[: len(stream) // 2], whole[: len(whole) // 2], whole[:-1]):
        for name in ("rows.arrow", "rows.arrows", "rows.feather", "rows.ipc"):
            answer = send(loader, content, filename=name, target="fact_equipment_performance")
            assert answer.status_code == 422
            assert answer.json()["type"].endswith(":bad-file")
    assert nothing_is_left(served)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b'{"a": 1}'),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("application/x-www-form-urlencoded", b"a=b"),
        ("application/vnd.apache.arrow.stream", b"x"),
    ],
)
def test_a_body_that_is_no_file_is_415(loader: httpx.Client, kind: str, content: bytes) -> None:
    answer = send(loader, content, {"content-type": kind}, filename="lot.stdf")
    assert answer.status_code == 415
    assert "the body is the file itself" in answer.json()["detail"]


def test_an_encoded_body_is_415(loader: httpx.Client) -> None:
    answer = send(loader, gzip.compress(b"x"), {**RAW, "content-encoding": "gzip"}, filename="lot.stdf")
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "name", ["../lot.stdf", "/etc/passwd", "a/b.stdf", "a\\b.stdf", ".hidden", "..", "", "a\0b", "a\nb", "x" * 201]
)
def test_a_name_that_is_a_path_is_422(served: Served, loader: httpx.Client, name: str) -> None:
    answer = send(loader, b"x", filename=name)
    assert answer.status_code == 422
    assert answer.json()["type"].endswith(":bad-filename")
    assert nothing_is_left(served)


@pytest.mark.parametrize(
    "params",
    [
        {"target": "fact_of_nothing"},
        {"target": "dim_lot"},
        {"on_conflict": "maybe"},
        {"max_rejects": "-1"},
        {"max_rejects": "1.5"},
        {"max_rejects": "nan"},
        {"batch_id": " "},
        {"folder": "x"},
    ],
)
def test_wrong_options_are_422_before_the_body_is_read(served: Served, loader: httpx.Client, params: Any) -> None:
    answer = send(loader, b"x", filename="rows.csv", **params)
    assert answer.status_code == 422, answer.text
    assert nothing_is_left(served)


def test_an_empty_body_and_one_of_no_known_kind_are_problems(served: Served, loader: httpx.Client) -> None:
    assert send(loader, b"", filename="lot.stdf").status_code == 422
    job = ended(loader, send(loader, b"no such format", filename="lot.stdf").json()["id"])
    assert job["state"] == "failed"
    assert job["problem"]["type"].endswith(":bad-file")
    assert nothing_is_left(served)


def test_a_file_beyond_the_limit_is_413_announced_or_not(fab: Warehouse, tmp_path: Path) -> None:
    with serve(fab, tmp_path, service_max_upload=100_000) as served, served.client("loader") as loader:
        assert send(loader, b"x" * 100_001, filename="lot.stdf").status_code == 413
        pieces = (b"x" * 30_000 for _ in range(4))
        assert send(loader, pieces, filename="lot.stdf").status_code == 413
        assert nothing_is_left(served)
        assert loader.get("/jobs").json()["jobs"] == []
        assert send(loader, b"x" * 100_000, filename="lot.stdf").status_code == 202


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_is_cut_leaves_no_file_and_no_job(served: Served, loader: httpx.Client, chunked: bool) -> None:
    before = loader.get("/jobs").json()
    host, port = served.url.removeprefix("http://").split(":")
    length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 5000000"
    head = (
        f"POST /loads?filename=cut.stdf HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/octet-stream\r\n"
    )
    head += f"Authorization: Bearer {served.keys['loader']}\r\n{length}\r\n\r\n"
    piece = b"x" * 3_000_000
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + (b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece))
        wait_for(lambda: not nothing_is_left(served))
    wait_for(lambda: nothing_is_left(served))
    assert loader.get("/jobs").json() == before


def test_one_key_makes_one_load(served: Served, loader: httpx.Client) -> None:
    content = performance(5, start=970).to_pandas().to_csv(index=False).encode()
    options = {"filename": "keyed.csv", "target": "fact_equipment_performance"}
    headers = {**RAW, "idempotency-key": "load-once"}
    first = send(loader, content, headers, **options).json()["id"]
    assert send(loader, content, headers, **options).json()["id"] == first
    assert send(loader, content + b"\n", headers, **options).status_code == 422
    assert ended(loader, first)["result"]["rows_loaded"] == 5
    assert nothing_is_left(served)


def test_a_load_that_waits_for_a_lock_is_cancelled_and_loads_nothing(served: Served, loader: httpx.Client) -> None:
    content = performance(5, start=980).to_pandas().to_csv(index=False).encode()
    options = {"filename": "locked.csv", "target": "fact_equipment_performance", "batch_id": "locked"}
    with served.owner.engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE dw.etl_load_batch IN ACCESS EXCLUSIVE MODE")
        job_id = send(loader, content, **options).json()["id"]
        wait_for(lambda: loader.get(f"/jobs/{job_id}").json()["state"] == "running")
        blocked = "SELECT count(*) FROM pg_catalog.pg_locks WHERE NOT granted"
        wait_for(lambda: connection.exec_driver_sql(blocked).scalar_one() > 0)
        assert loader.delete(f"/jobs/{job_id}").json()["state"] == "cancelled"
        assert connection.exec_driver_sql(blocked).scalar_one() == 0
    assert nothing_is_left(served)
    assert loaded(loader, content, **options)["rows_loaded"] == 5


def test_readers_may_not_load(served: Served) -> None:
    with served.client("reader") as reader:
        assert send(reader, b"x", filename="lot.stdf").status_code == 403


def test_without_a_login_for_loads_there_is_no_such_path(fab: Warehouse, served: Served, tmp_path: Path) -> None:
    only = {"service_reader_url": secret(served.settings.service_reader_url)}
    with serve(fab, tmp_path, logins=only) as bare, bare.client("admin") as admin:
        assert send(admin, b"x", filename="lot.stdf").status_code == 404
        assert "/loads" not in admin.get("/openapi.json").json()["paths"]


def test_what_a_test_data_file_lacks_can_be_given(
    served: Served, loader: httpx.Client, lot: DemoLot, tmp_path: Path
) -> None:
    whole = gzip.decompress(lot.path.read_bytes())
    cut = whole[: len(whole) * 2 // 3]
    job = ended(loader, send(loader, cut, filename="cut.stdf").json()["id"])
    assert (job["state"], job["problem"]["status"]) == ("failed", 422)
    path = tmp_path / "cut.stdf"
    path.write_bytes(cut)
    options = {"facility": "FAB 9", "allow_incomplete": True}
    done = loaded(loader, cut, filename="cut.stdf", batch_id="cut", on_conflict="append", **options)
    direct = served.owner.load_file(path, batch_id="cut directly", on_conflict="append", **options)
    assert 0 < done["rows_loaded"] == direct.rows_loaded < lot.insertions
    assert [each for each in direct.warnings if each not in done["warnings"]] == []
    about = loader.get("/jobs", params={"limit": 1}).json()["jobs"][0]["about"]
    assert (about["facility"], about["allow_incomplete"]) == ("FAB 9", True)


def test_csv_is_read_as_it_is_said_to_be_written(loader: httpx.Client) -> None:
    frame = performance(5, start=4242).to_pandas()
    content = frame.to_csv(index=False, sep="|", decimal=",").encode("utf-16")
    options = {
        "filename": "own.csv",
        "target": "fact_equipment_performance",
        "encoding": "utf-16",
        "decimal": ",",
        "delimiter": "|",
    }
    done = loaded(loader, content, **options)
    assert (done["rows_loaded"], done["already_loaded"]) == (5, False), done
    for wrong in ({"decimal": "x"}, {"encoding": "klingon"}, {"lot_id": "L1"}, {"header_line": 0}):
        refused = send(loader, content, **options | wrong)
        assert refused.status_code == 422, wrong
    again = loader.post(
        "/loads", params=[*options.items(), ("null_values", "NA"), ("null_values", "-")], content=content
    )
    assert again.status_code == 202
    refused = loader.post("/loads", params=[*options.items(), ("decimal", ".")], content=content)
    assert (refused.status_code, "more than once" in refused.json()["detail"]) == (422, True)
    without = {name: value for name, value in options.items() if name != "target"}
    assert send(loader, content, **without).status_code == 422


def test_what_a_load_lacks_is_told_in_fields_of_the_request(loader: httpx.Client) -> None:
    rows = b"equipment_id,event_ts,productive_s,total_s\nE,nonsense,1,1\n"
    told = []
    for params in (
        {"filename": "a.csv"},
        {"filename": "a.csv", "delimiter": ";"},
        {"filename": "a.csv", "target": FACT},
    ):
        answer = send(loader, rows, **params)
        job = ended(loader, answer.json()["id"]) if answer.status_code == 202 else {"problem": answer.json()}
        told.append(job["problem"]["detail"])
    assert "POST /loads with target" in told[0]
    assert "needs the parameter target" in told[1]
    assert "a query of etl_reject with batch_id = " in told[2]
    assert not [detail for detail in told if "wh." in detail or "=True" in detail or "uploads" in detail]
