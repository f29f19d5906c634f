"""The warehouse's state as monitoring sees it: what a sample finds, and what it says where it cannot look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import URL, text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import SettingsError, TooManyRejectsError, WarehouseConnectionError
from gpwarehouse.migrate.history import row
from gpwarehouse.monitoring import Sample, StateSampler, render_metrics, take_sample
from gpwarehouse.settings import WarehouseSettings
from tests.conftest import database
from tests.roles import LOGINS, fab_with_roles
from tests.rows import die_of_l1

PASSWORD = "secret-of-the-test"


@pytest.fixture(scope="module")
def fab(server_url: URL, upgraded_template: str) -> Iterator[Warehouse]:
    """A warehouse with roles, two loads, one of them failed, a reject, and deleted rows."""
    with database(server_url, upgraded_template) as url, Warehouse(url) as warehouse, fab_with_roles(warehouse) as made:
        made.schema.roles.apply()
        made.schema.roles.add_login(LOGINS["reader"], "reader", password=PASSWORD)
        now = datetime.now(UTC)
        rows = [die_of_l1(die_x=x, die_y=y, event_ts=now) for x in range(20) for y in range(10)]
        made.load("fact_test_results", [*rows, die_of_l1(event_ts="nonsense")], batch_id="good", max_rejects=1)
        with pytest.raises(TooManyRejectsError):
            made.load("fact_test_results", [die_of_l1(event_ts="nonsense")], batch_id="bad")
        yield made


@pytest.fixture(scope="module")
def reader(fab: Warehouse) -> Iterator[Warehouse]:
    """The same through a reader's login, which is what the service has."""
    url = fab.settings.sqlalchemy_url().set(username=LOGINS["reader"], password=PASSWORD)
    settings = fab.settings.model_copy(update={"url": None}).model_dump(exclude_unset=True)
    roles = {name: value for name, value in settings.items() if name.startswith("role_")}
    with Warehouse(url, **roles) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def sample(reader: Warehouse) -> Sample:
    return take_sample(reader)


def values(rendered: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The samples of a metric, by their labels."""
    found = {}
    for family in text_string_to_metric_families(rendered):
        for each in family.samples:
            if each.name == f"gpwarehouse_{name}":
                found[tuple(sorted(each.labels.items()))] = each.value
    return found


def test_a_reader_sees_loads_failures_and_rejects(sample: Sample) -> None:
    (last,) = [each for each in sample.last_loads if each.target == "fact_test_results"]
    assert abs(datetime.now(UTC) - last.at) < timedelta(hours=1)
    (day,) = [each for each in sample.day if each.target == "fact_test_results"]
    assert (day.loaded, day.failed, day.rows_read, day.rows_rejected) == (1, 1, 202, 2)
    assert sample.unreadable.keys() <= {"disk"}, sample.unreadable


def test_a_batch_that_is_loaded_at_last_is_no_failure(wh: Warehouse) -> None:
    with pytest.raises(TooManyRejectsError):
        wh.load("fact_test_results", [die_of_l1(event_ts="nonsense")], batch_id="b")
    assert [each.failed for each in take_sample(wh).day] == [1]
    wh.load("fact_test_results", [die_of_l1()], batch_id="b")
    assert [(each.loaded, each.failed) for each in take_sample(wh).day] == [(1, 0)]


def test_a_batch_whose_rows_were_deleted_is_no_failure(wh: Warehouse) -> None:
    """It is stored as failed, so that it can be loaded again."""
    wh.load("fact_test_results", [die_of_l1()], batch_id="deleted")
    wh.batches.delete("deleted")
    assert [(day.loaded, day.failed) for day in take_sample(wh).day] == [(0, 0)]


def test_months_ahead_and_missing_are_counted_as_apply_would_make_them(wh: Warehouse) -> None:
    found = {each.table: each for each in take_sample(wh).months}
    assert {each.ahead for each in found.values()} == {0}
    assert {each.missing for each in found.values()} == {1}, "the current month"
    wh.partitions.apply(tables=["fact_test_results"])
    found = {each.table: each for each in take_sample(wh).months}
    assert (found["fact_test_results"].ahead, found["fact_test_results"].missing) == (wh.settings.partition_premake, 0)
    assert found["fact_defect_inspection"].ahead == 0


def test_sizes_are_of_all_tables(sample: Sample, server_info: ServerInfo) -> None:
    sizes = {each.table: each for each in sample.sizes}
    assert sizes["fact_test_results"].bytes > 0
    assert "dim_lot" in sizes
    skews = {each.skew_pct for each in sample.sizes} - {None}
    assert bool(skews) == (server_info.brand is not Brand.POSTGRESQL)


def test_deleted_rows_are_bloat(wh: Warehouse, server_info: ServerInfo) -> None:
    frame = [die_of_l1(die_x=x, die_y=y) for x in range(40) for y in range(50)]
    wh.load("fact_test_results", frame, analyze="never")  # PostgreSQL would count the rows twice for a moment
    with wh.engine.connect() as connection:
        connection.execute(text("DELETE FROM dw.fact_test_results"))  # not by wh.batches, which would free the space
        connection.commit()
        if server_info.brand is Brand.POSTGRESQL:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            connection.commit()
    bloat = {each.table: each.bloat_pct for each in take_sample(wh).sizes}
    assert (bloat["fact_test_results"] or 0) > 90, bloat


@pytest.mark.segments
def test_rows_on_one_segment_are_skew(wh: Warehouse) -> None:
    frame = [die_of_l1(die_x=x, die_y=y) for x in range(40) for y in range(50)]
    wh.load("fact_test_results", frame)
    skew = {each.table: each.skew_pct for each in take_sample(wh).sizes}
    assert (skew["fact_test_results"] or 0) > 20, "one wafer lies on one segment"


def test_sizes_and_what_was_unreadable_are_kept_between_their_samples(reader: Warehouse, sample: Sample) -> None:
    before = replace(sample, unreadable={"sizes": "why", "loads": "once"})
    found = take_sample(reader, before=before, sizes=False)
    assert (found.sizes, found.sized_at) == (sample.sizes, sample.sized_at)
    assert found.unreadable == {"sizes": "why"}


def test_what_a_login_may_not_read_is_named_and_the_rest_is_there(fab: Warehouse) -> None:
    with fab.engine.begin() as connection:
        connection.execute(text("CREATE ROLE gpw_test_nobody LOGIN PASSWORD 'secret-of-the-test'"))
    try:
        url = fab.settings.sqlalchemy_url().set(username="gpw_test_nobody", password=PASSWORD)
        with Warehouse(url) as nobody:
            found = take_sample(nobody)
    finally:
        with fab.engine.begin() as connection:
            connection.execute(text("DROP ROLE gpw_test_nobody"))
    assert "permission denied" in found.unreadable["loads"]
    assert {each.table for each in found.months} == {each.table for each in take_sample(fab).months}


def test_a_sample_of_a_server_that_is_down_raises() -> None:
    with Warehouse("postgresql://nobody@127.0.0.1:1/nothing", retry_deadline_s=0) as broken:
        with pytest.raises(WarehouseConnectionError):
            take_sample(broken)


def test_metrics_have_moments_states_limits_and_what_is_unreadable(reader: Warehouse, sample: Sample) -> None:
    settings = WarehouseSettings(
        _env_file=None,
        threshold_load_age_h="fact_test_results=24,fact_defect_inspection=8",
        threshold_disk_free_gb=7,
        threshold_skew_pct=33,
    )
    told = render_metrics(settings, reader.health(), replace(sample, unreadable={"disk": "no"}, disk_free={"sdw1": 5}))
    target = ("target", "fact_test_results")
    assert (
        values(told, "last_load_timestamp_seconds")[("source", "FRAME"), target] == sample.last_loads[0].at.timestamp()
    )
    assert values(told, "last_load_timestamp_seconds")[("source", ""), ("target", "fact_defect_inspection")] == 0
    assert values(told, "load_age_limit_seconds")[target,] == 24 * 3600
    assert values(told, "day_batches")[("outcome", "failed"), target] == 1
    assert values(told, "threshold")[("name", "skew_percent"),] == 33
    assert values(told, "threshold")[("name", "disk_free_bytes"),] == 7e9
    assert values(told, "monitor_unreadable")[("part", "disk"),] == 1
    assert values(told, "monitor_unreadable")[("part", "loads"),] == 0
    assert values(told, "disk_free_bytes")[("place", "sdw1"),] == 5
    assert sum(values(told, "health").values()) == 1
    assert PASSWORD not in told


def test_metrics_of_a_server_that_is_down_say_so(reader: Warehouse) -> None:
    with Warehouse("postgresql://nobody@127.0.0.1:1/nothing") as broken:
        told = render_metrics(broken.settings, broken.health(timeout_s=2), None)
    assert values(told, "health")[("status", "down"),] == 1
    assert values(told, "threshold")


def test_the_sampler_keeps_the_last_sample_and_counts_failures(fab: Warehouse) -> None:
    settings = fab.settings.model_copy(update={"monitor_every_s": 1})
    with Warehouse(settings=settings) as warehouse:
        sampler = StateSampler(warehouse)
        sampler.start()
        sampler.wait_for_first(60)
        sampler.close()
        found: Any = sampler.latest
    assert found is not None
    assert found.last_backup_at is None
    with Warehouse("postgresql://nobody@127.0.0.1:1/nothing", retry_deadline_s=0) as broken:
        failing = StateSampler(broken)
        failing._take()
        assert (failing.latest, failing.failures) == (None, 1)


def test_the_last_backup_is_told_and_that_there_is_none(fab: Warehouse, tmp_path: Path) -> None:
    settings = fab.settings.model_copy(update={"backup_url": SecretStr(str(tmp_path / "backups"))})
    with Warehouse(settings=settings) as warehouse:
        assert take_sample(warehouse).last_backup_at == datetime.fromtimestamp(0, UTC)
        made = warehouse.backup().create().backup
        sample = take_sample(warehouse)
    assert sample.last_backup_at == made.taken_at
    told = values(render_metrics(settings, None, sample), "last_backup_timestamp_seconds")
    assert told[()] == made.taken_at.timestamp()


def test_a_restore_that_was_begun_and_a_backup_found_damaged_are_told(wh: Warehouse, tmp_path: Path) -> None:
    settings = wh.settings.model_copy(update={"backup_url": SecretStr(str(tmp_path))})
    with Warehouse(settings=settings) as warehouse:
        sample = take_sample(warehouse)
        assert sample.unended == {"restore": 0, "upgrade": 0, "downgrade": 0}
        assert sample.last_verified is None
        warehouse.backup().create()
        next((tmp_path / "objects").rglob("*.parquet")).unlink()
        warehouse.backup().verify()
        with warehouse.engine.begin() as connection:
            connection.execute(row("dw", "some backup", "restore batch", "", "restore"))
        sample = take_sample(warehouse)
    told = render_metrics(settings, None, sample)
    assert values(told, "changes_unended") == {(("change", name),): n for name, n in sample.unended.items()}
    assert sample.unended["restore"] == 1
    assert values(told, "last_verify_problems")[()] == 1
    assert sample.last_verified is not None
    assert values(told, "last_verify_timestamp_seconds")[()] == sample.last_verified.at.timestamp()


def test_a_limit_of_a_table_that_is_not_loaded_is_refused() -> None:
    wrong = WarehouseSettings(_env_file=None, threshold_load_age_h="fact_test_result=4")
    with pytest.raises(SettingsError, match="did you mean 'fact_test_results'"):
        render_metrics(wrong, None, None)


def test_no_samples_are_taken_where_the_settings_want_none() -> None:
    with Warehouse("postgresql://nobody@127.0.0.1:1/nothing", monitor_every_s=0) as broken:
        sampler = StateSampler(broken)
        sampler.start()
        sampler.close()
        assert (sampler.latest, sampler.failures) == (None, 0)
