"""A load fails: a real Prometheus sees it at a real service, and a real Alertmanager tells a webhook so, and when it is over."""

from __future__ import annotations

import pytest

from gpwarehouse.errors import TooManyRejectsError
from tests.deploy.watching import Monitored, wait_until
from tests.rows import die_of_l1


def test_prometheus_scrapes_the_service_by_its_token(monitored: Monitored) -> None:
    wait_until(lambda: monitored.ask('up{job="gpwarehouse"}') != [], "nothing was scraped")
    wait_until(lambda: monitored.ask("gpwarehouse_monitor_sample_timestamp_seconds") != [], "no sample was taken")
    (up,) = monitored.ask('up{job="gpwarehouse"}')
    assert up["value"][1] == "1"
    assert monitored.ask('gpwarehouse_health{status="down"}')[0]["value"][1] == "0"


def test_a_failed_load_is_told_to_the_webhook_and_so_is_its_end(monitored: Monitored) -> None:
    with pytest.raises(TooManyRejectsError):
        monitored.fab.load("fact_test_results", [die_of_l1(event_ts="nonsense")], batch_id="lot 7")
    alert = monitored.wait_for_alert("LoadFailed", "firing")
    assert alert["labels"]["target"] == "fact_test_results"
    assert alert["labels"]["severity"] == "warning"
    assert alert["annotations"]["summary"] == "Batches of fact_test_results that failed and were not loaded since: 1."
    assert alert["annotations"]["runbook"] == "docs/how-to/alerts.md#loadfailed"
    monitored.fab.load("fact_test_results", [die_of_l1()], batch_id="lot 7")
    assert monitored.wait_for_alert("LoadFailed", "resolved")["labels"]["target"] == "fact_test_results"
