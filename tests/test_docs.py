"""What the README and the pages in docs/ show is what the code does.

Code in fences is run, page by page, in the order in which it stands: ``python`` in one namespace a page, ``sh`` by bash, ``js``
by node. A fence ``text`` after it is what it prints, ``…`` standing for anything. The comment ``<!-- not run: reason -->`` before
a fence says that it cannot run here; then its syntax and the names in it are checked.
"""

from __future__ import annotations

import ast
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from doctest import OutputChecker
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy
import typer.main

from gpwarehouse import Warehouse, dialect
from gpwarehouse.cli import app
from gpwarehouse.models.diagram import mermaid
from gpwarehouse.partitions import Partitions
from gpwarehouse.settings import settings_table
from gpwarehouse.settings.sections import FIELDS, SECRETS, env
from gpwarehouse.sources.synthetic import write_demo_lot
from tests.doc_blocks import FENCE, MOVED, PAGES, README, SAME, TREE, Block, blocks_of, compare, run_page, run_sh
from tests.roles import NAMES, fab_with_roles
from tests.service.serving import serve

CI = (TREE / ".ci" / "run").read_text(encoding="utf-8")
BLOCKS = [block for page in PAGES for block in blocks_of(page)]


# Code that runs


def prepare_load(wh: Warehouse) -> dict[str, Any]:
    write_demo_lot("lot2.stdf.gz", lot_id="L2", wafers=1)
    Path("day").mkdir()
    write_demo_lot("day/lot3.stdf.gz", lot_id="L3", wafers=1)
    corrected = pd.DataFrame({"event_ts": pd.Timestamp("2026-01-05T12:00Z"), "lot_id": "L1", "wafer_id": "1"} | {
        "test_type": "CP", "test_stage": "CP1", "die_x": range(200), "die_y": 1, "slot": [-1, *[1] * 199],
    })  # fmt: skip
    wh.load("fact_test_results", corrected, batch_id="lot 7")
    defects = pd.DataFrame({"event_ts": corrected.event_ts, "lot_id": "L1", "wafer_id": "1", "inspection_id": "I"})
    Path("2026-01").mkdir()
    defects.assign(is_defect=True, defect_id=range(200)).to_parquet("2026-01/a.parquet")
    head = "event_ts;lot_id;wafer_id;process_flow_id;step_number;equipment_id;measurement_type;visit_no;site_no;cd_nm"
    line = "2026-01-05T12:00:00Z;L1;1;F;10;ETCH-07;METROLOGY;1;0;62,5"
    Path("etch07.csv").write_text(f"Ätzer 7\n\nMaße in nm\n{head}\n{line}\n", encoding="cp1252")
    return {"corrected": corrected}


def prepare_month(wh: Warehouse) -> dict[str, Any]:
    visit = {"event_ts": "2026-01-05T12:00:00+00:00", "lot_id": "L1", "wafer_id": "1", "process_flow_id": "F"}
    visit |= {"step_number": "10", "measurement_type": "METROLOGY", "visit_no": 1, "site_no": 0, "cd_nm": 62.5}
    wh.load("fact_process_measurements", [visit | {"equipment_id": "ETCH-07"}])
    return {}


def prepare_lot(wh: Warehouse) -> dict[str, Any]:
    write_demo_lot("lot.stdf.gz", wafers=1)
    wh.load_file("lot.stdf.gz")
    return {}


def prepare_lots(wh: Warehouse) -> dict[str, Any]:
    changed = pd.to_datetime(["2026-01-05T08:00Z"])
    pd.DataFrame({"lot_id": ["A124"], "product_id": ["CHIP"], "changed_at": changed}).to_parquet("lots.parquet")
    return {}


def prepare_dialect(wh: Warehouse) -> dict[str, Any]:
    return {**vars(sqlalchemy), **vars(dialect), "metadata": sqlalchemy.MetaData()}


PREPARED: dict[str, Callable[[Warehouse], dict[str, Any]]] = {
    "docs/how-to/backup.md": prepare_month,
    "docs/how-to/check-data.md": prepare_month,
    "docs/how-to/load.md": prepare_load,
    "docs/how-to/read.md": prepare_lot,
    "docs/how-to/dimensions.md": prepare_lots,
    "gpwarehouse/dialect/README.md": prepare_dialect,
}
"""The files that a page speaks of, and the rows that it finds."""
ALONE = ("README.md", "docs/tutorial.md")
"""Pages that start a server of their own."""
SERVED = "docs/how-to/serve.md"
"""The page that asks a running service."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to run a page in; what it exports is forgotten."""
    monkeypatch.chdir(tmp_path)
    kept = dict(os.environ)
    yield tmp_path
    os.environ.clear()
    os.environ.update(kept)


@pytest.mark.parametrize("page", ALONE)
def test_a_first_page_runs_as_it_stands(page: str, here: Path) -> None:
    if page == "README.md":
        write_demo_lot(here / "lot.stdf.gz", wafers=1)
    assert run_page(page, {}) == []


RUNNING = sorted(
    {block.page for block in BLOCKS if block.runs and block.kind in ("python", "sh")} - {*ALONE, MOVED, SERVED}
)


@pytest.mark.parametrize("page", RUNNING)
def test_a_page_runs_as_it_stands(page: str, wh: Warehouse, here: Path) -> None:
    os.environ["GPWAREHOUSE_URL"] = wh.engine.url.render_as_string(hide_password=False)
    names = PREPARED[page](wh) if page in PREPARED else {}
    assert run_page(page, {"wh": wh, **names}) == []


@pytest.fixture
def service(wh: Warehouse, here: Path) -> Iterator[None]:
    """The service that a page asks, and the logins that it makes."""
    logins = [f"web_{role}" for role in ("reader", "loader", "admin")]
    with fab_with_roles(wh) as fab:
        prepare_lot(fab)
        for role, name in NAMES.items():
            os.environ[f"GPWAREHOUSE_ROLE_{role.upper()}"] = name
            Path(f"{role}.password").write_text("secret-of-the-page")
        os.environ["GPWAREHOUSE_URL"] = wh.engine.url.render_as_string(hide_password=False)
        with serve(fab, here / "state") as served:
            os.environ |= {"WAREHOUSE": served.url, "KEY": served.keys["reader"], "LOADER_KEY": served.keys["loader"]}
            yield
        with wh.engine.begin() as connection:
            there = connection.execute(
                sqlalchemy.text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)"), {"names": logins}
            )
            for name in there.scalars().all():
                connection.exec_driver_sql(f"DROP OWNED BY {name}")
                connection.exec_driver_sql(f"DROP ROLE {name}")


@pytest.mark.usefixtures("service")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_page_about_the_service_runs_as_it_stands() -> None:
    assert run_page(SERVED, {}) == []


@pytest.mark.usefixtures("service")
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_javascript_of_the_page_about_the_service_runs() -> None:
    (block,) = (block for block in blocks_of(SERVED) if block.kind == "js")
    command = ["node", "--input-type=module", "-e", block.code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert compare(block, done.stdout) == []


def test_the_page_about_the_service_names_every_kind_of_problem() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (TREE / "gpwarehouse/service").rglob("*.py"))
    kinds = set(re.findall(r'(?:Problem\(|retry_after\(|Error,)\s*\d{3},\s*"([a-z-]+)"', sources))
    assert len(kinds) > 20
    assert {kind for kind in kinds if f"`{kind}`" not in PAGES[SERVED]} == {"client-gone"}  # which nobody reads


def test_the_demo_draws_the_readmes_picture(here: Path) -> None:
    picture = next(block for block in blocks_of("README.md") if "# good at once" in block.code)
    demo = Block("README.md", picture.line, "sh", "gpwarehouse demo", True)
    assert OutputChecker().check_output(picture.code.replace("…", "..."), run_sh(demo), SAME)


# Code that cannot run here


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "python"], ids=lambda block: block.where)
def test_names_in_python_exist(block: Block) -> None:
    """Of a block that is run this says less than running it; of one that is not, it is what can be said."""
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.Attribute) and (name := dotted(node)).startswith("wh."):
            assert_is_ours(name, block.where)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "sh"], ids=lambda block: block.where)
def test_commands_and_options_exist(block: Block) -> None:
    checked = subprocess.run(["bash", "-n", "-c", block.code], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"{block.where}: {checked.stderr}"
    for command in commands_in(block.code):
        assert_parses(command, block.where)


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.kind in ("toml", "ini")], ids=lambda block: block.where
)
def test_files_of_settings_parse(block: Block) -> None:
    if block.kind == "toml":
        assert tomllib.loads(block.code)
    else:
        ConfigParser(interpolation=None).read_string(block.code)


@pytest.mark.parametrize("page", PAGES)
def test_names_in_the_text_exist(page: str) -> None:
    text = FENCE.sub("", PAGES[page])
    for words in re.findall(r"`([^`\n]+)`", text):
        if found := re.match(r"wh\.[a-z_.]+", words):
            assert_is_ours(found[0].rstrip("."), f"{page}: {words}")
        if words.startswith("gpwarehouse ") and "…" not in words:
            command_named(shlex.split(words), f"{page}: {words}")
    fields = {env(name) for name in FIELDS} | {f"{env(name)}_FILE" for name in SECRETS}
    for variable in re.findall(r"GPWAREHOUSE_[A-Z_]*[A-Z]", PAGES[page]):
        assert variable in fields or variable.startswith("GPWAREHOUSE_TEST"), f"{page}: {variable}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", FENCE.sub("", PAGES[page])):
        if "://" not in target:
            assert ((TREE / page).parent / target).exists(), f"{page}: {target}"


def test_code_is_marked_as_what_it_is() -> None:
    """Or it would not be run here."""
    for block in BLOCKS:
        is_code = re.search(r"^\s*(wh\.|with |from |import |for |@|gpwarehouse )", block.code, re.MULTILINE)
        assert block.kind in ("python", "sh", "js") or not is_code, block.where
        known = ("python", "sh", "js", "r", "nginx", "text", "toml", "ini", "sql", "mermaid", "")
        assert block.kind in known, block.where


def dotted(node: ast.AST) -> str:
    """``wh.batches.delete`` of an expression; empty of another one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def doors() -> dict[str, type]:
    from gpwarehouse.warehouse import batches, data, dimensions, facts, schema

    return {
        "schema": schema.Schema, "batches": batches.Batches, "facts": facts.Facts, "data": data.Data,
        "dimensions": dimensions.Dimensions, "partitions": Partitions,
    }  # fmt: skip


def assert_is_ours(name: str, where: str) -> None:
    parts = name.split(".")[1:]
    kind: Any = Warehouse
    for part in parts[:2] if parts[0] in doors() else parts[:1]:
        assert hasattr(kind, part), f"{where}: {name} does not exist"
        kind = doors().get(part, kind)


def commands_in(code: str) -> Iterator[list[str]]:
    """The calls of ``gpwarehouse`` in a script, as words."""
    for line in re.sub(r"\\\n", " ", code).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for start, word in enumerate(words):
            if word == "gpwarehouse":
                rest = words[start:]
                ends = [i for i, one in enumerate(rest) if set(one) <= set("<>|&;()")]
                yield rest[: ends[0]] if ends else rest


def command_named(words: list[str], where: str) -> tuple[Any, list[str]]:
    """The command that words name, and the words behind its name."""
    command, rest = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands"):
        while rest and rest[0].startswith("--"):
            rest = rest[1 if rest[0] in ("--version", "--help") else 2 :]
        if not rest:
            break
        assert rest[0] in command.commands, f"{where}: no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def assert_parses(words: list[str], where: str) -> None:
    command, rest = command_named(words, where)
    command.make_context(command.name or "gpwarehouse", rest, resilient_parsing=False)


# What is made from the code


def test_generated_parts_hold_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TREE / "docs" / "_ext"))
    import generated

    names = ("settings", "schema", "cli", "errors", "dialect", "http")
    pages = {name: generated.expand(PAGES[f"docs/reference/{name}.md"]) for name in names}
    assert "`op.add_partition(" in pages["dialect"]
    assert "| `event_ts` | TIMESTAMP WITH TIME ZONE | no |" in pages["schema"]
    assert "### `etl_migration_history`" in pages["schema"]
    assert settings_table() in pages["settings"]
    assert mermaid() in pages["schema"]
    assert "### `fact_test_results`" in pages["schema"]
    assert "`gpwarehouse partitions adopt-archive`" in pages["cli"]
    assert "BatchConflictError" in pages["errors"]
    assert "## `POST /analytics/query`" in pages["http"]
    assert "| `truncated` | boolean |" in pages["http"]


def test_each_module_stands_in_the_page_of_modules_with_what_its_room_may_import(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(TREE / "docs" / "_ext"))
    import generated

    page = generated.expand(PAGES["docs/reference/modules.md"])
    sections = dict(part.split("`\n", 1) for part in page.split("\n## `")[1:])
    for path in (TREE / "gpwarehouse").rglob("*.py"):
        room, *inner = path.relative_to(TREE / "gpwarehouse").with_suffix("").parts
        if room in ("__init__", "__main__", "_alembic"):
            continue
        name = ".".join(inner).removesuffix("__init__").removesuffix(".")
        assert f"| `{name}` |" in sections[room] if name else "It is `gpwarehouse/" in sections[room], path
    below = sections["engine"].partition("may import")[2].partition(".\n")[0]
    assert "`settings`" in below
    assert "`transport`" not in below


def test_references_in_docstrings_lead_somewhere() -> None:
    """Sphinx looks at those of the pages of the API alone."""
    for path in (TREE / "gpwarehouse").rglob("*.py"):
        for name in re.findall(r":(?:mod|func|class|meth|data|attr):`~?(gpwarehouse[.\w]*)`", path.read_text("utf-8")):
            if (
                TREE / f"{name.replace('.', '/')}.py"
            ).is_file():  # an orchestrator's module is imported only where it is there
                continue
            assert pkgutil.resolve_name(name), f"{path}: {name}"


# The commands of the README


def test_the_test_command_is_the_one_ci_runs() -> None:
    command = next(line for line in README.splitlines() if "pytest" in line and "pip install" in line)
    lines = [line.partition(" # ")[0].strip() for line in CI.splitlines()]
    for part in command.split("&&"):
        assert part.strip() in lines


def test_the_readmes_two_commands_tell_how_long_they_take() -> None:
    paragraphs = README.split("\n\n")
    commands = [place for place, text in enumerate(paragraphs) if text.startswith("```sh") and "pip install" in text]
    assert len(commands) == 2
    for place in commands:
        before = paragraphs[place - 2]  # behind it a remark says why the command is not run
        assert re.search(r"takes [\w ]+ minutes", before), before


def test_ci_has_a_pooler_to_test_through() -> None:
    """Without one the tests of tests/engine/test_pooler.py are skipped."""
    (packages,) = re.findall(r"^for package in (.*); do$", CI, re.MULTILINE)
    assert "pgbouncer" in packages.split()


def test_ci_builds_the_pages() -> None:
    assert ".venv/bin/sphinx-build -W -b html docs docs/_build" in CI


def test_the_commands_need_no_other_python_than_debians() -> None:
    for text in (README, CI):
        assert not re.search(r"(?<![./\w-])python -", text)
