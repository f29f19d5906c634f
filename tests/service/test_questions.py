"""GET /analytics/{question}: functions plugged in, with their own parameters."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import date
from typing import Any, Literal

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

from gpwarehouse import Warehouse
from tests.service.serving import Served, serve


def lots_like(wh: Warehouse, *, pattern: str, most: int = 10, basis: Literal["LAST", "BEST"] = "LAST") -> pd.DataFrame:
    """Lots whose id is like a pattern.

    The pattern is SQL's.
    """
    sql = "SELECT lot_id, CAST(:basis AS text) AS basis FROM dw.dim_lot WHERE lot_id LIKE :pattern LIMIT :most"
    return wh.read(sql, pattern=pattern, most=most, basis=basis)


def days(wh: Warehouse, *, since: date, step: float | None = None) -> pa.Table:
    """Days since a day."""
    return wh.read(
        "SELECT CAST(:since AS date) AS since, CAST(:step AS float8) AS step", arrow=True, since=since, step=step
    )


def refused(wh: Warehouse) -> pd.DataFrame:
    """A question that the server refuses."""
    return wh.read("SELECT * FROM dw.nothing_of_this_name")


@pytest.fixture(scope="module")
def asked(fab: Warehouse, tmp_path_factory: Any) -> Iterator[Served]:
    questions = {"lots_like": lots_like, "days": days, "refused": refused}
    with serve(fab, tmp_path_factory.mktemp("questions"), questions=questions) as running:
        yield running


@pytest.fixture(scope="module")
def reader(asked: Served) -> Iterator[httpx.Client]:
    with asked.client("reader") as client:
        yield client


def test_a_question_answers_with_its_frame(reader: httpx.Client) -> None:
    answer = reader.get("/analytics/lots_like", params={"pattern": "%", "most": 3})
    assert answer.status_code == 200, answer.text
    assert pa.feather.read_table(io.BytesIO(answer.content)).column_names == ["lot_id", "basis"]
    table = reader.get("/analytics/days", params={"since": "2026-01-02", "step": 0.5}, headers={"Accept": "text/csv"})
    assert table.text == "since,step\n2026-01-02,0.5\n"


@pytest.mark.parametrize(
    "params",
    [
        {}, {"pattern": "%", "most": "many"}, {"pattern": "%", "basis": "FIRST"}, {"pattern": "%", "limit": "1"},
        {"pattern": "%", "wh": "1"}, {"pattern": "%", "request": "1"},
    ],
)  # fmt: skip
def test_parameters_are_those_of_the_function(reader: httpx.Client, params: dict[str, str]) -> None:
    answer = reader.get("/analytics/lots_like", params=params)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_values_are_bound(reader: httpx.Client) -> None:
    assert reader.get("/analytics/lots_like", params={"pattern": "'; DROP TABLE dw.dim_lot; --"}).status_code == 200


def test_an_unknown_question_is_404(reader: httpx.Client) -> None:
    answer = reader.get("/analytics/nothing")
    assert answer.status_code == 404
    assert "/openapi.json" in answer.json()["detail"]
    assert reader.get("/analytics/query").status_code == 405


def test_a_refused_question_is_a_problem(reader: httpx.Client) -> None:
    assert reader.get("/analytics/refused").status_code == 400


def test_a_part_of_an_answer_and_one_that_is_known(reader: httpx.Client) -> None:
    params, csv = {"since": "2026-01-02"}, {"Accept": "text/csv"}
    whole = reader.get("/analytics/days", params=params, headers=csv)
    part = reader.get(
        "/analytics/days", params=params, headers={**csv, "Range": "bytes=2-6", "If-Range": whole.headers["etag"]}
    )
    assert (part.status_code, part.content) == (206, whole.content[2:7])
    known = reader.get("/analytics/days", params=params, headers={**csv, "If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    behind = reader.get("/analytics/days", params=params, headers={**csv, "Range": "bytes=99999-"})
    assert behind.status_code == 416
    assert behind.headers["content-range"] == f"bytes */{len(whole.content)}"


def test_questions_are_described_with_types_and_docstring(asked: Served) -> None:
    described = asked.app.openapi()["paths"]["/analytics/lots_like"]["get"]
    kinds = {each["name"]: each["schema"] for each in described["parameters"]}
    assert kinds["most"]["type"] == "integer"
    assert kinds["most"]["default"] == 10
    assert set(kinds["basis"]["enum"]) == {"LAST", "BEST"}
    assert described["summary"] == "Lots whose id is like a pattern."
    assert "The pattern is SQL's." in described["description"]


def test_no_file_is_left(asked: Served) -> None:
    assert list((asked.settings.service_state_dir / "answers").iterdir()) == []
