"""What is installed from a wheel is whole: it migrates, loads and reads away from the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.tree import TREE


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a command, which must succeed; it sees no settings of ours and reads the tree by no accident."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GPWAREHOUSE_", "PYTHONPATH"))}
    done = subprocess.run(command, cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a wheel and an sdist built from the tree."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--sdist", "--no-isolation", "--outdir", folder, TREE, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def contents(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel alone, installed in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "install", *options, "--target", folder, wheel, cwd=folder)
    return folder


def test_every_module_and_migration_script_of_the_tree_travels(contents: dict[str, bytes]) -> None:
    modules = {path.relative_to(TREE).as_posix() for path in (TREE / "gpwarehouse").rglob("*.py")}
    scripts = {
        f"gpwarehouse/_alembic/{path.relative_to(TREE / 'alembic').as_posix()}"
        for path in (TREE / "alembic").rglob("*")
        if path.suffix in (".py", ".mako")
    }
    assert "gpwarehouse/_alembic/env.py" in scripts
    assert any(name.startswith("gpwarehouse/_alembic/versions/0001_initial_schema/") for name in scripts)
    page = {path.relative_to(TREE).as_posix() for path in (TREE / "gpwarehouse/service/page").iterdir()}
    assert len(page) == 4
    assert not (modules | scripts | page | {"gpwarehouse/py.typed"}) - contents.keys()


def test_the_wheel_touches_nothing_but_its_own_folder(contents: dict[str, bytes]) -> None:
    tops = {name.split("/")[0] for name in contents}
    assert "gpwarehouse" in tops
    assert {top for top in tops if not top.endswith(".dist-info")} == {"gpwarehouse"}, (
        "alembic/ would overwrite Alembic"
    )
    assert not [name for name in contents if "__pycache__" in name or name.endswith(".pyc")]
    pages = {path.name for path in (TREE / "docs").rglob("*.md") if "_build" not in path.parts}
    assert not {name for name in contents if "docs" in name.split("/") or Path(name).name in pages}


def test_licence_command_and_dialect_are_declared(contents: dict[str, bytes]) -> None:
    (info,) = {name.split("/")[0] for name in contents if ".dist-info/" in name}
    assert b"Apache License" in contents[f"{info}/licenses/LICENSE"]
    points = ConfigParser(delimiters="=")
    points.optionxform = str  # type: ignore[assignment,method-assign]
    points.read_string(contents[f"{info}/entry_points.txt"].decode())
    assert points["console_scripts"]["gpwarehouse"] == "gpwarehouse.cli:main"
    assert {"greenplum", "greenplum.psycopg2"} <= set(points["sqlalchemy.dialects"])


def test_the_sdist_holds_what_the_wheel_is_made_of(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "gpwarehouse/__init__.py", "alembic/env.py", "alembic.ini"}
    wanted |= {"docs/conf.py", "docs/index.md"}
    assert not wanted - names


def test_the_installed_package_migrates_by_its_own_scripts(site: Path, tmp_path: Path) -> None:
    script = "import gpwarehouse.migrate as m; print(m.__file__, m.script_location(), m.head(), sep='\\n')"
    module, scripts, head = run(sys.executable, "-c", script, cwd=tmp_path, PYTHONPATH=str(site)).splitlines()
    assert Path(module) == site / "gpwarehouse" / "migrate" / "__init__.py"
    assert Path(scripts) == site / "gpwarehouse" / "_alembic"
    assert list((site / "gpwarehouse" / "_alembic" / "versions").glob(f"{head}*.py"))


def test_the_installed_command_brings_a_lot_through_a_warehouse(site: Path, tmp_path: Path) -> None:
    main = "import sys, gpwarehouse.cli as c; print(c.__file__, flush=True); sys.argv[0] = 'gpwarehouse'; c.main()"
    arguments = ("-c", main, "demo", "--wafers", "1")
    output = run(sys.executable, *arguments, cwd=tmp_path, PYTHONPATH=str(site), COLUMNS="")  # as a pipe has
    assert Path(output.splitlines()[0]).is_relative_to(site)
    assert "Yield of lot" in output
    for column in ("wafer_id", "die_yield_pct", "functional_yield_pct ┃ parametric_yield_pct", "FIRST", "LAST"):
        assert column in output
    assert "Slowest test" in output
    assert "# good at once" in output
