"""The settings file: the template with every setting, sections, profiles, secrets in files, and the check."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from gpwarehouse import Warehouse
from gpwarehouse.cli import app
from gpwarehouse.errors import SettingsError
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.settings.file import check_settings, template
from gpwarehouse.settings.sections import FIELDS, SECRETS, SECTIONS, section_of, short
from tests.rows import die_of_l1

KEPT = Path(__file__).parents[1] / "deploy" / "gpwarehouse.toml"
SECRET = "s3cr3t-pa55"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def write(content: str, name: str = "gpwarehouse.toml") -> Path:
    path = Path(name)
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    return path


def test_the_kept_file_is_what_the_command_writes() -> None:
    assert CliRunner().invoke(app, ["config", "template"]).output == template()
    assert KEPT.read_text(encoding="utf-8") == template(), "gpwarehouse config template > deploy/gpwarehouse.toml"


def test_the_template_has_every_setting_once_in_its_section() -> None:
    found = {
        key: section
        for section, keys in tomllib.loads(re.sub(r"(?m)^# (?=\w+ = )", "", template())).items()
        if isinstance(keys, dict) and section != "profiles"
        for key in keys
    }
    wanted = {short(name): section_of(name) for name in FIELDS if name not in ("config_file", "profile")}
    assert found == wanted
    assert set(FIELDS) == set(WarehouseSettings.model_fields)
    assert all(fields.__doc__ for fields in SECTIONS.values())


def test_the_template_sets_nothing_and_with_every_line_uncommented_the_defaults() -> None:
    write(template())
    assert WarehouseSettings() == WarehouseSettings(_env_file=None, config_file=write("", "empty.toml")).model_copy(
        update={"config_file": None}
    )
    write(re.sub(r"(?m)^# (?=\w+ = )", "", template()))
    found = WarehouseSettings()
    assert {name: getattr(found, name) for name in FIELDS} == {
        name: each.get_default() for name, each in FIELDS.items()
    }


def test_the_file_in_the_working_directory_is_read_and_another_that_is_named_goes_before() -> None:
    write("[pool]\npool_size = 2\n")
    other = write("[pool]\npool_size = 3\n", "other.toml")
    assert WarehouseSettings().pool_size == 2
    assert WarehouseSettings(config_file=other).pool_size == 3


def test_a_profile_goes_before_the_file_and_after_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        'profile = "dev"\n[pool]\npool_size = 2\npool_max = 22\n[profiles.dev.pool]\npool_size = 3\n'
        "[profiles.prod]\npool_timeout_s = 9\n[profiles.prod.pool]\npool_size = 4\n"
    )
    assert (WarehouseSettings().pool_size, WarehouseSettings().pool_max) == (3, 22)
    monkeypatch.setenv("GPWAREHOUSE_PROFILE", "prod")
    assert (WarehouseSettings().pool_size, WarehouseSettings().pool_timeout_s) == (4, 9)
    assert WarehouseSettings(profile="dev").pool_size == 3
    monkeypatch.setenv("GPWAREHOUSE_POOL_SIZE", "5")
    assert WarehouseSettings().pool_size == 5


def test_the_url_of_a_profile_goes_before_parts_of_the_file() -> None:
    write('[connection]\nhost = "far"\ndatabase = "fab"\n[profiles.prod.connection]\nurl = "postgresql://near/other"\n')
    assert WarehouseSettings().sqlalchemy_url().host == "far"
    assert WarehouseSettings(profile="prod").sqlalchemy_url().host == "near"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "[pool]\npool_sise = 3\n",
            r"POOL_SISE \(gpwarehouse.toml\) is no setting; did you mean GPWAREHOUSE_POOL_SIZE",
        ),
        ("[pol]\npool_size = 3\n", r"\[pol\] is no section; did you mean \[pool\]\?"),
        ("[xyzzy]\na = 3\n", r"\[xyzzy\] is no section; the sections are connection, tls"),
        ("[tls]\npool_size = 3\n", r"pool_size stands in \[tls\]; it belongs in \[pool\]"),
        ('[tls]\nprofile = "dev"\n', r"profile stands in \[tls\]; it belongs above the sections"),
        ("pool_size = 3\n[pool]\npool_size = 4\n", "pool_size stands twice"),
        ('profile = "prd"\n[profiles.prod]\n[profiles.dev]\n', "no such profile; did you mean 'prod'"),
        ('profile = "x"\n', "no such profile; it has none"),
        ("[profiles]\nprod = 3\n", "profiles must be tables"),
        ("[profiles.prod.pool]\npool_sise = 3\n", r"POOL_SISE \(gpwarehouse.toml, profile prod\) is no setting"),
        ('[profiles.prod]\nprofile = "dev"\n', "a profile names no other file or profile"),
        ("[gpwarehouse.pool]\npool_size = 1\n[pool]\npool_size = 7\n", r"'pool' stands beside \[gpwarehouse\]"),
    ],
)
def test_what_the_file_says_wrongly_is_named_with_the_way_out(content: str, told: str) -> None:
    write(content)
    with pytest.raises(SettingsError, match=told):
        WarehouseSettings()


def test_a_profile_without_a_file_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"GPWAREHOUSE_PROFILE = 'prod' .* no settings file with profiles"):
        WarehouseSettings(profile="prod")


def test_a_secret_comes_from_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPWAREHOUSE_DATABASE", "fab")
    monkeypatch.setenv("GPWAREHOUSE_PASSWORD_FILE", str(write(f"{SECRET}\n", "password")))
    assert WarehouseSettings().sqlalchemy_url().password == SECRET
    monkeypatch.setenv("GPWAREHOUSE_PASSWORD", SECRET)
    with pytest.raises(SettingsError, match="GPWAREHOUSE_PASSWORD and GPWAREHOUSE_PASSWORD_FILE are both set"):
        WarehouseSettings()
    monkeypatch.delenv("GPWAREHOUSE_PASSWORD")
    monkeypatch.setenv("GPWAREHOUSE_PASSWORD_FILE", str(write("", "empty")))
    with pytest.raises(SettingsError, match="is empty; write the secret into it"):
        WarehouseSettings()
    monkeypatch.setenv("GPWAREHOUSE_PASSWORD_FILE", "/no/such/file")
    with pytest.raises(SettingsError, match=r"GPWAREHOUSE_PASSWORD_FILE = '/no/such/file' .* No such file"):
        WarehouseSettings()


def test_the_check_tells_values_places_and_every_problem_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    write(f'[connection]\nurl = "postgresql://etl:{SECRET}@db/fab"\n[pool]\npool_size = "many"\npool_sise = 3\n').chmod(
        0o644
    )
    monkeypatch.setenv("GPWAREHOUSE_TIMEZONE", "Asia/Taipeh")
    found = CliRunner().invoke(app, ["config", "check", "--json"])
    told = json.loads(found.output)
    assert found.exit_code == 1
    assert SECRET not in found.output
    assert {"name": "GPWAREHOUSE_URL", "value": "***", "where": "gpwarehouse.toml"} in told["values"]
    assert {"name": "GPWAREHOUSE_TIMEZONE", "value": "Asia/Taipeh", "where": "environment"} in told["values"]
    assert [re.match(r"GPWAREHOUSE_(\w+)", each)[1] for each in told["problems"]] == [
        "POOL_SISE",
        "POOL_SIZE",
        "TIMEZONE",
    ]
    assert told["warnings"] == ["gpwarehouse.toml holds a secret, and others may read it: chmod 600 gpwarehouse.toml"]
    assert told["files"] == ["gpwarehouse.toml"]


def test_the_check_warns_of_a_secrets_own_file_that_others_may_read(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(f"{SECRET}\n", "password")
    monkeypatch.setenv("GPWAREHOUSE_PASSWORD_FILE", "password")
    assert check_settings().warnings == ()
    path.chmod(0o640)
    assert check_settings().warnings == ("password holds a secret, and others may read it: chmod 600 password",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[pool]\npool_size = 3\npool_max =", "at line 3, the last one"),
        ("[pool]\npool_size = \n", "at line 2, column 13"),
        ('[pool]\n\nprofile = """x\ny', "at line 4, the last one"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(content: str, told: str) -> None:
    write(content)
    with pytest.raises(SettingsError, match=f"cannot be read as TOML.*{told}"):
        WarehouseSettings()


def test_a_line_of_env_with_a_variable_of_ours_that_cannot_be_read_is_refused_and_not_shown() -> None:
    write(f'other tool\nGPWAREHOUSE_POOL_MAX=7\nGPWAREHOUSE_PASSWORD "{SECRET}\n', ".env")
    with pytest.raises(SettingsError, match=r"\.env, line 3: write NAME=value") as caught:
        WarehouseSettings()
    assert SECRET not in str(caught.value)
    write("other tool\nGPWAREHOUSE_POOL_MAX=7\n", ".env")
    assert WarehouseSettings().pool_max == 7


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[thresholds.threshold_load_age_h]\nfact_test_result = 4\n", "did you mean 'fact_test_results'?"),
        ("[thresholds.threshold_load_age_h]\ndim_time = 4\n", "'dim_time', which is no table that is loaded"),
        ("[months]\nretention = 'fact_tests: drop after 3 months'\n", "'fact_tests', which is no partitioned fact"),
        (
            '[backup]\nbackup_url = "ftp://etl:s3cr3t-pa55@host/x"\n',
            "GPWAREHOUSE_BACKUP_URL (gpwarehouse.toml): backups are not",
        ),
        ("[roles]\nrole_reader = 'one'\nrole_loader = 'one'\n", "GPWAREHOUSE_ROLE_ADMIN must differ"),
        (
            '[connection]\nurl = "postgresql://db/fab?sslmod=require"\n',
            "the option 'sslmod', which libpq does not know",
        ),
    ],
)
def test_the_check_finds_what_names_nothing_there_is(content: str, told: str) -> None:
    write(content)
    found = CliRunner().invoke(app, ["config", "check"])
    assert found.exit_code == 1
    assert told in found.output
    assert SECRET not in found.output
    write("[thresholds.threshold_load_age_h]\nfact_test_results = 4\ndim_lot = 24\n")
    assert CliRunner().invoke(app, ["config", "check"]).exit_code == 0


def test_the_check_of_right_settings_ends_well_and_shows_no_secret() -> None:
    write(f'[connection]\nurl = "postgresql://etl:{SECRET}@db/fab"\n[profiles.prod.pool]\npool_max = 4\n')
    found = CliRunner().invoke(app, ["config", "check"])
    assert found.exit_code == 0
    assert "the settings are right" in found.output
    assert SECRET not in found.output
    wrong = CliRunner().invoke(app, ["config", "check", "--profile", "prod"])
    assert wrong.exit_code == 1
    assert "GPWAREHOUSE_POOL_SIZE is 5, more than GPWAREHOUSE_POOL_MAX, 4" in wrong.output


def test_no_check_shows_any_secret() -> None:
    wrong = dict.fromkeys(SECRETS, f"nonsense-{SECRET}")
    found = check_settings(env_file=None, **wrong)
    assert found.problems
    assert SECRET not in repr(found)


# What the file sets has its effect


def test_the_memory_of_sorts_is_set_in_every_session(wh: Warehouse) -> None:
    with Warehouse(settings=wh.settings.model_copy(update={"work_mem": "11MB"})) as other:
        with other.engine.connect() as connection:
            assert connection.execute(text("SHOW work_mem")).scalar_one() == "11MB"
        with other.session(work_mem="12MB") as session:
            assert session.execute(text("SHOW work_mem")).scalar_one() == "12MB"


def test_the_size_of_batches_changes_nothing_but_memory(wh: Warehouse) -> None:
    rows = [die_of_l1(die_x=x, die_y=y) for x in range(50) for y in range(50)]
    small = wh.settings.model_copy(update={"load_batch_rows": 1_000, "load_parallel": 2})
    with Warehouse(settings=small) as other:
        first = other.load("fact_test_results", pd.DataFrame(rows))
    assert first.rows_loaded == len(rows), first
    assert wh.load("fact_test_results", pd.DataFrame(rows)).already_loaded
