"""A project of a user's own, with tables and revisions beside ours, driven by plain ``alembic``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from sqlalchemy import URL, create_engine, inspect, text

from gpwarehouse.errors import SettingsError
from gpwarehouse.migrate.metadata import target_metadata
from gpwarehouse.settings import WarehouseSettings
from tests.migrate.site import HEAD
from tests.processes import run_module
from tests.tree import TREE

PAGE = (TREE / "docs" / "how-to" / "upgrade-production.md").read_text(encoding="utf-8")
INI = re.search(r"```ini\n(.*?)```", PAGE, re.DOTALL)

MODELS = """
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text

from gpwarehouse.models import DimLot

metadata = MetaData(schema="fab")
note = Table("note", metadata, Column("note_id", Integer, primary_key=True), Column("body", Text), comment="Notes")
"""

Alembic = Callable[..., subprocess.CompletedProcess[str]]


def wheel_site(folder: Path) -> Path:
    """Where a wheel of the tree is installed, alone."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(TREE)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder that gpwarehouse is imported from: the tree, or a wheel's."""
    return TREE if getattr(request, "param", "editable") == "editable" else wheel_site(tmp_path)


IN_BOTH = pytest.mark.parametrize("installed", ["editable", "wheel"], indirect=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The alembic.ini of docs/how-to/upgrade-production.md, a folder of revisions, and models, in a folder of a user's."""
    assert INI is not None
    (tmp_path / "alembic.ini").write_text(INI[1])
    (tmp_path / "versions").mkdir()
    (tmp_path / "fab.py").write_text(MODELS)
    return tmp_path


@pytest.fixture
def alembic(installed: Path, project: Path, empty_url: URL) -> Alembic:
    """Plain ``alembic``, run in the project: of a wheel as Python starts it, with the wheel's modules."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GPWAREHOUSE_")}
    url = empty_url.set(drivername="postgresql").render_as_string(hide_password=False)
    environment = {**kept, "GPWAREHOUSE_URL": url, "PYTHONPATH": str(installed), "GPWAREHOUSE_MODELS": "fab:metadata"}

    def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
        if installed == TREE:
            return run_module("alembic.config", "alembic", *command, cwd=project, environment={**environment, **more})
        return subprocess.run(
            [sys.executable, "-P", "-m", "alembic", *command],
            cwd=project,
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


@IN_BOTH
def test_a_users_tables_and_revisions_stand_beside_ours(
    alembic: Alembic, project: Path, installed: Path, empty_url: URL
) -> None:
    before = files(installed / "gpwarehouse")
    assert (done := alembic("upgrade", "heads")).returncode == 0, done.stderr
    first = alembic("revision", "-m", "a schema of ours")
    assert first.returncode == 0, first.stderr
    (script,) = (project / "versions").glob("*.py")
    source = script.read_text()
    assert "'site'" in source
    assert f"depends_on: str | tuple[str, ...] | None = '{HEAD}'" in source
    script.write_text(source.replace("pass", "op.execute('CREATE SCHEMA fab')", 1))
    assert (done := alembic("upgrade", "heads")).returncode == 0, done.stderr
    assert (done := alembic("check")).returncode != 0, "the table of the models is not made yet"
    assert "note" in done.stderr + done.stdout
    second = alembic("revision", "--autogenerate", "-m", "notes")
    assert second.returncode == 0, second.stderr
    (made,) = set((project / "versions").glob("*.py")) - {script}
    source = made.read_text()
    assert "create_table('note'" in source
    assert "dim_lot" not in source
    assert (done := alembic("upgrade", "heads")).returncode == 0, done.stderr
    engine = create_engine(empty_url)
    assert inspect(engine).get_table_names("fab") == ["note"]
    with engine.begin() as connection:  # somebody else's, which autogenerate must leave alone
        connection.execute(text("CREATE TABLE fab.elses (x int); CREATE TABLE public.elses (x int)"))
    engine.dispose()
    assert (done := alembic("check")).returncode == 0, done.stderr + done.stdout
    assert (done := alembic("downgrade", "site@base")).returncode == 0, done.stderr
    assert files(installed / "gpwarehouse") == before, "something was written into the package"


def test_one_line_of_alembic_ini_does_to_migrate_by(alembic: Alembic, project: Path) -> None:
    (project / "alembic.ini").write_text("[alembic]\nscript_location = gpwarehouse:_alembic\n")
    assert (done := alembic("upgrade", "head", GPWAREHOUSE_MODELS="")).returncode == 0, done.stderr
    assert (done := alembic("check", GPWAREHOUSE_MODELS="")).returncode == 0, done.stderr


@pytest.mark.parametrize("command", [("revision", "-m", "x"), ("revision", "-m", "x", "--autogenerate")])
def test_no_revision_is_written_into_the_package(
    alembic: Alembic, project: Path, installed: Path, command: tuple[str, ...]
) -> None:
    (project / "alembic.ini").write_text("[alembic]\nscript_location = gpwarehouse:_alembic\n")
    if "--autogenerate" in command:
        assert (done := alembic("upgrade", "head", GPWAREHOUSE_MODELS="")).returncode == 0, done.stderr
    before = files(installed / "gpwarehouse")
    done = alembic(*command, GPWAREHOUSE_MODELS="")
    assert files(installed / "gpwarehouse") == before
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "version_locations =\n    gpwarehouse:_alembic/versions\n    %(here)s/versions" in said


def test_a_folder_that_the_setting_names_and_alembic_ini_does_not_is_told_with_what_to_write(
    alembic: Alembic, project: Path
) -> None:
    (project / "own").mkdir()
    said = alembic("upgrade", "heads", GPWAREHOUSE_MIGRATIONS=str(project / "own"))
    assert said.returncode != 0
    advice = re.search(r"\n(script_location.*)", said.stdout + said.stderr, re.DOTALL)
    assert advice is not None
    (project / "alembic.ini").write_text(f"[alembic]\n{advice[1]}")
    done = alembic("upgrade", "heads", GPWAREHOUSE_MIGRATIONS=str(project / "own"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("nowhere:metadata", "No module named 'nowhere'"),
        ("fab:nothing", "has no attribute 'nothing'"),
        ("fab", "module:name"),
        ("fab:note.name", "is a "),
    ],
)
def test_models_that_are_none_are_refused_by_name(
    project: Path, monkeypatch: pytest.MonkeyPatch, named: str, told: str
) -> None:
    monkeypatch.syspath_prepend(project)
    monkeypatch.delitem(sys.modules, "fab", raising=False)
    with pytest.raises(SettingsError, match=re.escape(f"GPWAREHOUSE_MODELS = {named!r}")) as caught:
        target_metadata(WarehouseSettings(models=named, _env_file=None))
    assert told in str(caught.value)


def test_models_of_ours_names_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "doubled.py").write_text(
        MODELS.replace('"fab"', '"dw"').replace('"note", metadata', '"dim_lot", metadata')
    )
    monkeypatch.syspath_prepend(project)
    with pytest.raises(SettingsError, match=r"dw\.dim_lot are the warehouse's own"):
        target_metadata(WarehouseSettings(models="doubled:metadata", _env_file=None))
