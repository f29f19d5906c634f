"""Settings: where they come from, what is refused and how it is said, and that no secret is ever shown."""

from __future__ import annotations

import traceback
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from gpwarehouse.errors import SettingsError
from gpwarehouse.models.calendar import ShiftCalendar
from gpwarehouse.retention import RetentionRule
from gpwarehouse.settings import WarehouseSettings, settings_table
from gpwarehouse.version import __version__

SECRET = "s3cr3t-pa55"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.upper().startswith("GPWAREHOUSE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_are_a_warehouses() -> None:
    settings = WarehouseSettings()
    assert (settings.schema_name, settings.pool_size, settings.pool_max) == ("dw", 5, 50)
    assert settings.pool_pre_ping is True
    assert settings.event_min == date(1990, 1, 1)
    assert settings.event_max_ahead_days == 31
    assert settings.shift_starts == (time(7), time(19))
    assert settings.offline_server() is None


def test_environment_sets_every_kind_of_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificate = tmp_path / "root.crt"
    certificate.write_text("x")
    for name, value in {
        "SCHEMA": "fab_dw",
        "POOL_SIZE": "7",
        "POOL_PRE_PING": "false",
        "SSLMODE": "verify-full",
        "SSLROOTCERT": str(certificate),
        "SHIFT_STARTS": "06:00, 14:00,22:00",
        "HOLIDAYS": "2026-01-01,2026-12-25",
        "SHIFT_ROTA": "A,B,C",
        "SHIFT_ROTA_START": "2026-01-05",
        "SERVER": "greenplum6",
        "MAX_REJECTS": "5%",
        "PORT": "",
        "TEST_URL": "belongs to the test suite",
    }.items():
        monkeypatch.setenv(f"GPWAREHOUSE_{name}", value)
    settings = WarehouseSettings()
    assert settings.schema_name == "fab_dw"
    assert settings.pool_size == 7
    assert settings.pool_pre_ping is False
    assert settings.sslmode == "verify-full"
    assert settings.sslrootcert == certificate
    assert settings.shift_starts == (time(6), time(14), time(22))
    assert settings.holidays == (date(2026, 1, 1), date(2026, 12, 25))
    assert settings.shift_rota == ("A", "B", "C")
    assert settings.offline_server() == "greenplum6"
    assert settings.max_rejects == 0.05
    assert settings.port is None


def test_the_nearest_place_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "fab.toml"
    config.write_text(
        '[gpwarehouse]\npool_size = 1\npool_max = 11\nschema = "toml"\nshift_starts = [06:00:00, "18:00"]\n'
    )
    Path(".env").write_text(
        f"OTHER_APP=1\nGPWAREHOUSE_POOL_SIZE=2\nGPWAREHOUSE_POOL_MAX=12\nGPWAREHOUSE_CONFIG_FILE={config}\n"
    )
    assert WarehouseSettings().pool_size == 2
    monkeypatch.setenv("GPWAREHOUSE_POOL_SIZE", "3")
    settings = WarehouseSettings()
    assert (settings.pool_size, settings.pool_max, settings.schema_name) == (3, 12, "toml")
    assert settings.shift_starts == (time(6), time(18))
    assert WarehouseSettings(pool_size=4).pool_size == 4
    assert WarehouseSettings(pool_size=None).pool_size == 3
    assert WarehouseSettings(_env_file=None).schema_name == "dw"
    assert WarehouseSettings(schema="mine").schema_name == WarehouseSettings(schema_name="mine").schema_name == "mine"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("POOL_SIZE", "many", "a whole number from 1 to 1000"),
        ("POOL_SIZE", "0", "a whole number from 1 to 1000"),
        ("PORT", "70000", "from 1 to 65535"),
        ("POOL_PRE_PING", "perhaps", "true or false"),
        ("SERVER", "oracle", "auto, postgresql, greenplum6, greenplum7, cloudberry"),
        ("SSLMODE", "maybe", "disable, allow, prefer, require, verify-ca, verify-full"),
        ("SSLROOTCERT", "/no/such.crt", "no such file"),
        ("SCHEMA", "DW", "lower-case"),
        ("SCHEMA", "dw; drop", "lower-case"),
        ("SCHEMA", "user", "reserved"),
        ("SCHEMA", "pg_x", "reserved"),
        ("TIMEZONE", "Asia/Taipeh", "did you mean 'Asia/Taipei'"),
        ("TIMEZONE", "../etc/passwd", "IANA"),
        ("STDF_TIMEZONE", "CEST5", "IANA"),
        ("SHIFT_STARTS", "7:00", "no time of day"),
        ("SHIFT_STARTS", "07:00,25:00", "no time of day"),
        ("SHIFT_STARTS", ",", "HH:MM"),
        ("HOLIDAYS", "5", "YYYY-MM-DD"),
        ("EVENT_MIN", "yesterday", "YYYY-MM-DD"),
        ("EVENT_MIN", "1800-01-01", "before 1900"),
        ("STATEMENT_TIMEOUT_S", "-1", "from 0"),
        ("MAX_REJECTS", "1.5", "a count, or a share"),
        ("MAX_REJECTS", "-1", "a count, or a share"),
        ("MAX_REJECTS", "few", "a count, or a share"),
        ("MAX_REJECTS", "100%", "a count, or a share"),
        ("LOT_ROOT_PATTERN", "(", "no regular expression"),
        ("WAFER_ID_PATTERN", "W\\d", "no group"),
        ("APPLICATION_NAME", "x" * 64, "1 to 63"),
        ("FAB_WEEK_START", "8", "from 1 to 7"),
        ("RETENTION", "fact_a: burn after 3 months", "compress after N months and one of detach, move, export, drop"),
        ("RETENTION", "fact_a: drop after 3 months, export after 4 months", "a month leaves in one way"),
        ("COLD_COMPRESSION", "zstd:20", "zstd:1 to zstd:19"),
        ("COLD_COMPRESSION", "lzma:3", "zlib:1 to zlib:9"),
        ("PARTITION_WINDOW", "-1", "from 0 to 1200"),
        ("ROLE_READER", "Reader", "lower-case"),
        ("ARCHIVE_SCHEMA", "pg_archive", "reserved"),
    ],
)
def test_a_wrong_value_names_variable_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"GPWAREHOUSE_{name}", value)
    with pytest.raises(SettingsError) as caught:
        WarehouseSettings()
    message = str(caught.value)
    assert f"GPWAREHOUSE_{name} = " in message
    assert allowed in message
    assert len(message.splitlines()) == 1
    if "before 1900" not in message:
        assert repr(value) in message
        assert "(environment)" in message


def test_a_url_in_the_place_of_a_host_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="that is a URL, which belongs in url") as caught:
        WarehouseSettings(host="postgresql://me:VERYSECRET@fab:5432/fab", _env_file=None)
    assert "SECRET" not in str(caught.value)


def test_every_wrong_value_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        WarehouseSettings(pool_size="many", timezone="nowhere", shift_starts="x,y")
    lines = str(caught.value).splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "GPWAREHOUSE_POOL_SIZE",
        "GPWAREHOUSE_TIMEZONE",
        "GPWAREHOUSE_SHIFT_STARTS",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pool_size": 51}, "GPWAREHOUSE_POOL_SIZE is 51, more than GPWAREHOUSE_POOL_MAX"),
        ({"sslcert": __file__}, "GPWAREHOUSE_SSLCERT and GPWAREHOUSE_SSLKEY go together"),
        ({"shift_starts": "07:00,19:00,12:00"}, "GPWAREHOUSE_SHIFT_STARTS must follow each other"),
        ({"shift_starts": "07:00,07:00"}, "GPWAREHOUSE_SHIFT_STARTS must follow each other"),
        ({"shift_codes": "A"}, "GPWAREHOUSE_SHIFT_CODES has 1 entries"),
        ({"shift_codes": "A,A"}, "GPWAREHOUSE_SHIFT_CODES has a code twice"),
        ({"shift_names": "A,B,C"}, "GPWAREHOUSE_SHIFT_NAMES has 3 entries"),
        ({"shift_rota": "A"}, "GPWAREHOUSE_SHIFT_ROTA and GPWAREHOUSE_SHIFT_ROTA_START"),
        ({"role_reader": "one", "role_admin": "one"}, "GPWAREHOUSE_ROLE_LOADER and GPWAREHOUSE_ROLE_ADMIN must differ"),
        ({"archive_schema": "dw"}, "GPWAREHOUSE_ARCHIVE_SCHEMA must be another than GPWAREHOUSE_SCHEMA"),
        ({"shift_rota": "A", "shift_crews": "B", "shift_rota_start": "2026-01-01"}, "'A', which is not in"),
    ],
)
def test_values_that_do_not_go_together_are_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        WarehouseSettings(**wrong)


def test_unknown_names_are_refused_wherever_they_stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"POOL_SISE \(keyword\) is no setting; did you mean GPWAREHOUSE_POOL_SIZE"):
        WarehouseSettings(pool_sise=3)
    with monkeypatch.context() as patch:
        patch.setenv("GPWAREHOUSE_SCHEMMA", "x")
        with pytest.raises(SettingsError, match=r"SCHEMMA \(environment\) .* did you mean GPWAREHOUSE_SCHEMA\?"):
            WarehouseSettings()
    (tmp_path / "other.env").write_text("GPWAREHOUSE_XYZZY=1\n")
    with pytest.raises(SettingsError, match=r"GPWAREHOUSE_XYZZY \(.*other.env\) is no setting; see the table"):
        WarehouseSettings(_env_file=tmp_path / "other.env")
    (tmp_path / "fab.toml").write_text("timezoon = 'UTC'\n")
    with pytest.raises(SettingsError, match=r"TIMEZOON \(.*fab.toml\) .* did you mean GPWAREHOUSE_TIMEZONE"):
        WarehouseSettings(config_file=str(tmp_path / "fab.toml"))


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        ('[retention]\n"*" = "keep"\n', r"'retention' stands beside \[gpwarehouse\].* table \[gpwarehouse.retention\]"),
        ("[retentions]\na = 1\n", r"'retentions' .* table \[gpwarehouse.retention\]"),
        ("[gpwarehouse_test]\na = 1\n", "'gpwarehouse_test' stands beside"),
    ],
)
def test_what_stands_beside_our_table_and_looks_like_ours_is_refused(tmp_path: Path, beside: str, told: str) -> None:
    path = tmp_path / "fab.toml"
    path.write_text(f"[gpwarehouse]\npool_size = 7\n{beside}")
    with pytest.raises(SettingsError, match=rf"fab.toml': {told}"):
        WarehouseSettings(config_file=path)
    path.write_text("pool-size = 7\n[gpwarehouse]\n")
    with pytest.raises(SettingsError, match=r"'pool-size' .* pool_size = … below \[gpwarehouse\]"):
        WarehouseSettings(config_file=path)
    path.write_text("\ufefftitle = 'shared'\n[tool.other]\nx = 1\n[gpwarehouse]\npool_size = 7\n", "utf-8")
    assert WarehouseSettings(config_file=path).pool_size == 7


def test_a_config_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"GPWAREHOUSE_CONFIG_FILE = '/no/fab.toml' cannot be read"):
        WarehouseSettings(config_file="/no/fab.toml")
    (tmp_path / "fab.toml").write_text("pool_size = \n")
    with pytest.raises(SettingsError, match=r"cannot be read as TOML.*line 1"):
        WarehouseSettings(config_file=tmp_path / "fab.toml")
    (tmp_path / "fab.toml").write_text("gpwarehouse = 1\n")
    with pytest.raises(SettingsError, match="must be a table"):
        WarehouseSettings(config_file=tmp_path / "fab.toml")


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "postgres", "greenplum", "greenplum+psycopg2"])
def test_any_postgresql_url_gets_our_driver(scheme: str) -> None:
    url = WarehouseSettings(url=f"{scheme}://etl:p%40ss@db:6600/fab?sslmode=require").sqlalchemy_url()
    assert url.drivername == "greenplum+psycopg2"
    assert (url.username, url.password, url.host, url.port, url.database) == ("etl", "p@ss", "db", 6600, "fab")
    assert url.query == {"sslmode": "require"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"mysql://etl:{SECRET}@db/fab", "the URL is for 'mysql'"),
        (f"postgresql+psycopg://etl:{SECRET}@db/fab", "leave '\\+psycopg' out"),
        (f"greenplum+asyncpg://etl:{SECRET}@db/fab", "leave '\\+asyncpg' out"),
        (f"etl:{SECRET}@db/fab", "cannot be read as a URL"),
        (f"postgresql://etl:{SECRET}@db:port/fab", "cannot be read as a URL"),
    ],
)
def test_another_url_is_refused_without_showing_it(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"GPWAREHOUSE_URL .*{said}") as caught:
        WarehouseSettings(url=url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_parts_make_a_url() -> None:
    settings = WarehouseSettings(host="db", user="etl", password=SECRET, database="fab")
    assert settings.sqlalchemy_url() == URL.create("greenplum+psycopg2", "etl", SECRET, "db", 5432, "fab")
    assert WarehouseSettings(database="fab").sqlalchemy_url().host == "localhost"
    with pytest.raises(SettingsError, match="GPWAREHOUSE_URL=postgresql://"):
        WarehouseSettings().sqlalchemy_url()


def test_a_sqlalchemy_url_keeps_its_password() -> None:
    url = URL.create("postgresql", "etl", SECRET, database="fab", query={"host": "/tmp/socket", "port": "5432"})
    made = WarehouseSettings(url=url).sqlalchemy_url()
    assert (made.password, made.query) == (SECRET, {"host": "/tmp/socket", "port": "5432"})


def test_url_and_parts_the_nearer_wins_and_equals_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="GPWAREHOUSE_URL and GPWAREHOUSE_HOST are both set"):
        WarehouseSettings(url="postgresql://db/fab", host="other")
    with pytest.raises(SettingsError, match="GPWAREHOUSE_URL and GPWAREHOUSE_PASSWORD are both set"):
        WarehouseSettings(url="postgresql://u:p@db/fab", password="other")
    assert WarehouseSettings(url="postgresql://u@db/fab", password="p").sqlalchemy_url().password == "p"
    monkeypatch.setenv("GPWAREHOUSE_URL", "postgresql://u@/fab?host=/tmp&port=1")
    made = WarehouseSettings(host="near", database="other").sqlalchemy_url()
    assert (made.host, made.username, made.database, made.query) == ("near", "u", "other", {})
    monkeypatch.delenv("GPWAREHOUSE_URL")
    monkeypatch.setenv("GPWAREHOUSE_HOST", "far")
    assert WarehouseSettings(url="postgresql://db/fab").sqlalchemy_url().host == "db"


@pytest.mark.parametrize(
    "where",
    [
        {"url": f"postgresql://etl:{SECRET}@db/fab"},
        {"url": f"postgresql://etl@db/fab?password={SECRET}"},
        {"url": f"postgresql://etl@db/fab?sslpassword={SECRET}"},
        {"url": "postgresql://etl@db/fab", "password": SECRET},
        {"database": "fab", "password": SECRET},
    ],
)
def test_no_form_of_the_settings_shows_a_secret(where: dict[str, str]) -> None:
    settings = WarehouseSettings(**where)
    shown = [
        repr(settings),
        str(settings),
        settings.redacted(),
        settings.model_dump_json(),
        str(settings.connect_args()),
    ]
    assert not [text for text in shown if SECRET in text]
    if "sslpassword" not in str(where):
        assert SECRET not in repr(settings.sqlalchemy_url())
        assert settings.sqlalchemy_url().password == SECRET


@given(password=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=6))
def test_any_password_reaches_the_server_and_no_message(password: str) -> None:
    settings = WarehouseSettings(database="x", user="u", password=password, _env_file=None)
    assert settings.sqlalchemy_url().password == password
    url = settings.sqlalchemy_url().render_as_string(hide_password=False)
    assert WarehouseSettings(url=url, _env_file=None).sqlalchemy_url().password == password
    assert settings.redacted() == "greenplum+psycopg2://u:***@localhost:5432/x"


def test_connection_parameters_leave_the_urls_own_alone(tmp_path: Path) -> None:
    certificate = tmp_path / "root.crt"
    certificate.write_text("x")
    settings = WarehouseSettings(
        url="postgresql://db/fab?sslmode=require&connect_timeout=3", sslmode="disable", sslrootcert=certificate
    )
    assert settings.connect_args() == {
        "application_name": f"gpwarehouse/{__version__}",
        "client_encoding": "utf8",
        "keepalives": 1,
        "keepalives_idle": 60,
        "keepalives_interval": 10,
        "keepalives_count": 6,
        "tcp_user_timeout": 120_000,
        "sslrootcert": str(certificate),
    }


def test_retention_is_written_in_one_line_or_as_a_toml_table(tmp_path: Path) -> None:
    (tmp_path / "fab.toml").write_text(
        '[gpwarehouse.retention]\nfact_a = "compress after 12 months, export after 36 months"\n"*" = "keep"\n'
    )
    rules = (("*", RetentionRule()), ("fact_a", RetentionRule(12, "export", 36)))
    assert WarehouseSettings(config_file=tmp_path / "fab.toml").retention == rules
    line = "fact_a: compress after 12 months, export after 36 months; *: keep"
    assert WarehouseSettings(retention=line).retention == rules
    assert str(WarehouseSettings(cold_compression="zlib:6").cold_compression) == "zlib:6"
    (tmp_path / "fab.toml").write_text('[gpwarehouse.retention]\nfact_a = "sell after 12 months"\n')
    with pytest.raises(
        SettingsError, match=r"RETENTION = .*fab.toml\): fact_a: 'sell after 12 months' is no rule; allowed"
    ):
        WarehouseSettings(config_file=tmp_path / "fab.toml")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        WarehouseSettings().pool_size = 9


def test_the_calendar_is_built_from_the_settings() -> None:
    assert ShiftCalendar.build(**WarehouseSettings().calendar_options()) == ShiftCalendar()
    settings = WarehouseSettings(
        timezone="Asia/Taipei",
        shift_starts="08:00,20:00",
        shift_codes="X,Y",
        shift_crews="A,B",
        shift_rota="A,B",
        shift_rota_start="2026-01-05",
        holidays="2026-01-01",
        fab_week_start=7,
    )
    calendar = ShiftCalendar.build(**settings.calendar_options())
    assert [(shift.code, shift.name, shift.start) for shift in calendar.shifts] == [
        ("X", "X", time(8)),
        ("Y", "Y", time(20)),
    ]
    assert (calendar.timezone, calendar.rota, calendar.crews) == ("Asia/Taipei", ("A", "B"), ("A", "B"))
    assert (calendar.rota_start, calendar.week_start) == (date(2026, 1, 5), 7)
    assert calendar.holidays == {date(2026, 1, 1)}


@pytest.mark.parametrize(
    ("limit", "rows", "allowed"),
    [
        ("0", 1000, 0), ("100", 5, 100), ("0.01", 1000, 10), ("1%", 99, 0), ("1%", 100, 1), ("1%", 199, 1), (0.5, 3, 1),
        ("0.29", 100, 29), (0.57, 100, 57), ("0.01", 10, 0), ("0.01", 0, 0), (1, 1, 1),
    ],
)  # fmt: skip
def test_reject_limits_are_counts_or_shares_of_which_no_part_of_a_row_counts(
    limit: Any, rows: int, allowed: int
) -> None:
    assert WarehouseSettings(max_rejects=limit).rejects_allowed(rows) == allowed


@pytest.mark.parametrize(
    ("ports", "served"), [(None, (0,)), ("8100", (8100,)), (8100, (8100,)), ("8100-8102", (8100, 8101, 8102))]
)
def test_ports_for_segments_are_one_or_a_range(ports: Any, served: tuple[int, ...]) -> None:
    assert WarehouseSettings(gpfdist_ports=ports).ports_to_serve() == served


@pytest.mark.parametrize("ports", ["0", "65536", "8102-8100", "8100,8101", "any", True, 1.5])
def test_other_ports_are_refused(ports: Any) -> None:
    with pytest.raises(SettingsError, match=r"GPWAREHOUSE_GPFDIST_PORTS .*a port, or a range such as 8100-8199"):
        WarehouseSettings(gpfdist_ports=ports)


def test_the_table_of_settings_has_every_setting_once() -> None:
    rows = settings_table().splitlines()
    assert rows[0] == "| Variable | Default | Meaning (allowed) |"
    assert len(rows) == len(WarehouseSettings.model_fields) + 2
    assert (
        "| `GPWAREHOUSE_SCHEMA` | `dw` | schema of all tables (a lower-case name up to 63 long, no reserved word) |"
        in rows
    )
    assert "| `GPWAREHOUSE_SHIFT_STARTS` | `07:00,19:00` |" in settings_table()
    assert all(row.count(" | ") == 2 and "()" not in row for row in rows[2:])
