"""Batch ids from the names of an orchestrator, and what is said where there is none."""

from __future__ import annotations

import importlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpwarehouse.errors import InvalidInputError, MissingExtraError
from gpwarehouse.intake.load_options import check_name
from gpwarehouse.jobs import make_batch_id

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
NAMES = st.lists(TEXTS, min_size=1, max_size=4)


@given(
    NAMES, st.text(st.characters(exclude_categories=["Cs"])), NAMES, st.text(st.characters(exclude_categories=["Cs"]))
)
def test_other_names_give_another_id(names: list[str], key: str, others: list[str], other: str) -> None:
    same = make_batch_id(*names, key=key) == make_batch_id(*others, key=other)
    assert same == ((names, key) == (others, other))


@given(NAMES, TEXTS)
def test_every_id_may_be_that_of_a_batch(names: list[str], key: str) -> None:
    made = make_batch_id(*names, key=key)
    check_name("batch_id", made)
    assert made.isascii()
    assert made == make_batch_id(*names, key=key)


def test_an_id_can_be_read() -> None:
    made = make_batch_id("airflow", "fab_lots", "scheduled__2026-01-05T00:00:00+00:00", "load", "3", key="etch/7 a.csv")
    assert made == "airflow/fab_lots/scheduled__2026-01-05T00:00:00+00:00/load/3?etch%2F7%20a.csv"


@pytest.mark.parametrize("names", [("",), ("airflow", ""), ("airflow", "", "load")])
def test_an_empty_name_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError, match="not empty"):
        make_batch_id(*names)


@pytest.mark.parametrize(
    ("tool", "way_out"),
    [
        ("airflow", "pip install 'apache-airflow"),
        ("dagster", "pip install dagster"),
        ("prefect", "pip install 'prefect"),
    ],
)
def test_a_missing_orchestrator_is_named_with_the_way_out(
    tool: str, way_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tool, None)
    monkeypatch.delitem(sys.modules, f"gpwarehouse.jobs.{tool}", raising=False)
    with pytest.raises(MissingExtraError, match=way_out):
        importlib.import_module(f"gpwarehouse.jobs.{tool}")
