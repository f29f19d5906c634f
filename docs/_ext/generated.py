"""A Sphinx extension that writes the parts of the reference that the code itself knows.

A page asks for such a part by a comment that stands alone on its line::

    <!-- generated: settings -->

The comment is replaced while the page is read, so nothing generated is kept in the tree, and nothing of it can be out of
date. ``<!-- generated: api gpwarehouse.read as_of read -->`` gives arguments.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from http_reference import endpoints
from ways_out import WAYS_OUT

import gpwarehouse
from gpwarehouse import errors
from gpwarehouse.dialect import GreenplumDialect
from gpwarehouse.dialect.errors import GpwarehouseError
from gpwarehouse.models import (
    AGGREGATES,
    BRIDGES,
    DIMENSIONS,
    FACTS,
    VIEWS,
    BridgeParameterSet,
    BridgeStepLimits,
    migration_history_table,
)
from gpwarehouse.models.base import Base
from gpwarehouse.models.diagram import mermaid
from gpwarehouse.settings import settings_table

MARK = re.compile(r"^<!-- generated: (\w+)(.*?) -->$", re.MULTILINE)


def expand(text: str) -> str:
    """The text of a page with its marks replaced by what they ask for."""
    return MARK.sub(lambda mark: PARTS[mark[1]](*mark[2].split()), text)


def cell(text: str) -> str:
    """A text as one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def first_paragraph(thing: object) -> str:
    """The first paragraph of a docstring, as Markdown."""
    return first_paragraph_of(inspect.getdoc(thing) or "")


def first_paragraph_of(text: str) -> str:
    """The first paragraph of a text that docstrings are written in, as Markdown."""
    text = text.partition("\n\n")[0]
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


# Settings


def settings() -> str:
    """The table of settings."""
    return settings_table()


# Command line


def cli() -> str:
    """Every command of ``gpwarehouse`` with its arguments and options."""
    import typer.main

    from gpwarehouse.cli import app

    root = typer.main.get_command(app)
    return "\n".join(
        ["## `gpwarehouse`", "", paragraphs(root.help), "", *options_of(root), "", *commands_of(root, "gpwarehouse", 2)]
    )


def commands_of(group: Any, path: str, level: int) -> Iterator[str]:
    """The commands of a group, those of its groups after them."""
    named = sorted(group.commands.items(), key=lambda item: (hasattr(item[1], "commands"), item[0]))
    for name, command in named:
        yield f"{'#' * level} `{path} {name}`"
        yield ""
        yield paragraphs(command.help)
        yield ""
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{path} {name}", level + 1)
            continue
        yield f"```text\n{usage(command, f'{path} {name}')}\n```"
        yield ""
        yield from options_of(command)
        yield ""


def usage(command: Any, path: str) -> str:
    """A line that shows how a command is called."""
    words = [path]
    if any(param.param_type_name == "option" for param in command.params):
        words.append("[OPTIONS]")
    for param in command.params:
        if param.param_type_name == "argument":
            name = param.name.upper() + ("…" if param.nargs == -1 else "")
            words.append(name if param.required else f"[{name}]")
    return " ".join(words)


def options_of(command: Any) -> Iterator[str]:
    """A table of a command's arguments and options; nothing where it has none."""
    params = [param for param in command.params if "--help" not in param.opts]
    if not params:
        return
    yield "| Argument or option | Value | Meaning |"
    yield "|---|---|---|"
    for param in params:
        is_argument = param.param_type_name == "argument"
        names = [param.name.upper()] if is_argument else [*param.opts, *param.secondary_opts]
        value = "flag" if getattr(param, "is_flag", False) else kind_of(param)
        said = [cell(getattr(param, "help", None) or "")]
        if param.required:
            said.append("Needed.")
        if param.default not in (None, False, (), []) and not callable(param.default):
            said.append(f"Default: `{param.default}`.")
        yield f"| {', '.join(f'`{name}`' for name in names)} | {cell(value)} | {' '.join(filter(None, said))} |"


def kind_of(param: Any) -> str:
    """What a value of an argument or option is."""
    if hasattr(param, "type"):  # typer on click; later ones do without
        return ", ".join(map(str, getattr(param.type, "choices", ()))) or str(param.type.name)
    annotation = param.type_descriptor.annotation
    return str(getattr(annotation, "__name__", annotation)).lower() if inspect.isclass(annotation) else str(annotation)


def paragraphs(text: str | None) -> str:
    """A help text as paragraphs."""
    return inspect.cleandoc(text or "").replace("``", "`").replace("*", "\\*").replace("<", "&lt;")


# Schema


def diagram() -> str:
    """The star schema as a Mermaid diagram."""
    return f"```mermaid\n{mermaid()}```"


def tables() -> str:
    """Every table with its columns: type, whether NULL is allowed, and the comment, which says unit and standard."""
    known: dict[str, Any] = {**FACTS, **DIMENSIONS, **BRIDGES}
    made = {model.__tablename__: model for model in (BridgeParameterSet, BridgeStepLimits)}
    sums = {model.__tablename__: model for model in AGGREGATES.values()}
    known |= {**made, **sums}
    kinds = [("Facts", FACTS), ("Dimensions", DIMENSIONS), ("Bridges", {**BRIDGES, **made}), ("Aggregates", sums)]
    control = [*Base.metadata.sorted_tables, migration_history_table()]
    rest = {table.name: table for table in control if table.name not in known}
    lines: list[str] = []
    for title, models in [*kinds, ("Control tables", rest)]:
        lines += [f"## {title}", ""]
        for name, model in sorted(models.items()):
            lines += [*table_of(name, getattr(model, "__table__", model)), ""]
    return "\n".join(lines)


def table_of(name: str, table: Any) -> Iterator[str]:
    """One table: what it is, how it lies on the segments, its columns."""
    yield f"### `{name}`"
    yield ""
    yield cell(table.comment or "")
    yield ""
    options = table.dialect_options["greenplum"]
    for title, option in (("Distribution", "distributed_by"), ("Storage", "storage"), ("Partitions", "partition_by")):
        value = options.get(option)
        if value is not None:
            yield f"- {title}: `{shortened(value)}`"
    if table.primary_key.columns:
        yield f"- Primary key: {', '.join(f'`{column.name}`' for column in table.primary_key.columns)}"
    yield ""
    yield "| Column | Type | NULL | Comment |"
    yield "|---|---|---|---|"
    for column in table.columns:
        null = "yes" if column.nullable else "no"
        kind = cell(column.type.compile(dialect=GreenplumDialect()))
        yield f"| `{column.name}` | {kind} | {null} | {cell(column.comment or '')} |"


def shortened(value: object) -> str:
    """An option's value without the list of its partitions."""
    column = getattr(value, "column", None)
    return f"{type(value).__name__}({column!r}, …)" if column is not None else repr(value)


def views() -> str:
    """Every view with its comment."""
    lines = ["| View | Meaning |", "|---|---|"]
    lines += [f"| `{view.name}` | {cell(view.comment)} |" for view in VIEWS]
    return "\n".join(lines)


# Errors


def error_tree() -> str:
    """The tree of errors: each with its parents, what it means, the way out, and who raises it."""
    classes = {one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, GpwarehouseError)}
    names = {one.__name__ for one in classes}
    if names != WAYS_OUT.keys():
        raise ValueError(f"docs/_ext/ways_out.py and gpwarehouse/errors.py differ: {sorted(names ^ WAYS_OUT.keys())}")
    lines = ["```text", *tree_lines(GpwarehouseError, classes, ""), "```", ""]
    for one in in_tree_order(GpwarehouseError, classes):
        others = [base.__name__ for base in one.__bases__ if base not in classes and base is not Exception]
        raisers = [f"`{name}`" for name in raised_by(one.__name__)]
        lines += [f"## `{one.__name__}`", "", "```{eval-rst}", f".. autoexception:: gpwarehouse.errors.{one.__name__}"]
        lines += ["   :no-members:", "```", "", f"- **Way out:** {WAYS_OUT[one.__name__]}"]
        lines += [f"- **Also a:** {', '.join(f'`{name}`' for name in others)}"] if others else []
        lines += [f"- **Raised by:** {', '.join(raisers)}"] if raisers else []
        lines.append("")
    return "\n".join(lines)


def in_tree_order(root: type, classes: set[type]) -> Iterator[type]:
    """A class and all below it."""
    yield root
    for one in sorted((c for c in classes if root in c.__bases__), key=lambda c: c.__name__):
        yield from in_tree_order(one, classes)


def tree_lines(root: type, classes: set[type], indent: str) -> Iterator[str]:
    """The tree as indented lines."""
    yield f"{indent}{root.__name__}"
    for one in sorted((c for c in classes if root in c.__bases__), key=lambda c: c.__name__):
        yield from tree_lines(one, classes, indent + "    ")


def raised_by(error: str) -> list[str]:
    """The methods of the warehouse and its doors whose docstrings name an error."""
    return [
        name for name, method in warehouse_methods() if re.search(rf":raises {error}:", inspect.getdoc(method) or "")
    ]


def warehouse_methods() -> Iterator[tuple[str, object]]:
    """``wh.load``, ``wh.batches.delete`` …, with what they are."""
    from gpwarehouse.partitions import Partitions
    from gpwarehouse.warehouse import Warehouse, batches, data, dimensions, facts, schema

    doors = {
        "wh": Warehouse,
        "wh.schema": schema.Schema,
        "wh.batches": batches.Batches,
        "wh.facts": facts.Facts,
        "wh.dimensions": dimensions.Dimensions,
        "wh.partitions": Partitions,
        "wh.data": data.Data,
    }
    for door, kind in doors.items():
        for name, method in vars(kind).items():
            if not name.startswith("_") and callable(method):
                yield f"{door}.{name}", method


# API


def api(module: str, *names: str) -> str:
    """What a module exports, or the names given of it, by autodoc; ``-name`` leaves one out."""
    found = import_module(module)
    left_out = {name[1:] for name in names if name.startswith("-")}
    named = [name for name in names if not name.startswith("-")]
    lines = ["```{eval-rst}"]
    for name in named or [name for name in found.__all__ if name not in left_out]:
        thing = getattr(found, name)
        if inspect.isclass(thing):
            lines += [f".. autoclass:: {module}.{name}", ""]
        elif inspect.isroutine(thing):
            lines += [f".. autofunction:: {module}.{name}", ""]
        else:
            lines += [f".. autodata:: {where_written(module, name)}.{name}", "   :no-value:", ""]
    return "\n".join([*lines, "```"])


def where_written(module: str, name: str) -> str:
    """The module that assigns a name which another one exports: there stands what is said of it."""
    inside = (one for one in sys.modules if one == module or one.startswith(f"{module}."))
    for one in sorted(inside, reverse=True):
        if re.search(rf"^{name}\b[^=\n]*= ", inspect.getsource(sys.modules[one]), re.MULTILINE):
            return one
    return module


def operations() -> str:
    """The operations that the package adds to Alembic's ``op``, with their arguments."""
    from gpwarehouse.dialect.migration.operations import OPERATIONS
    from gpwarehouse.migrate.operations import ReplaceViewOp, RunBatchedOp, RunSqlFileOp

    named = {cls.operation: (cls, "dialect") for cls in OPERATIONS}
    named |= {"run_sql_file": (RunSqlFileOp, "migrate"), "run_batched": (RunBatchedOp, "migrate")}
    named |= {"replace_view": (ReplaceViewOp, "migrate")}
    lines = ["| Operation | Of | Meaning |", "|---|---|---|"]
    for name, (cls, room) in sorted(named.items()):
        method = getattr(cls, name)
        parameters = list(inspect.signature(method).parameters.values())[1:]
        bare = [str(one.replace(annotation=inspect.Parameter.empty)) for one in parameters]
        keyword = next((i for i, one in enumerate(parameters) if one.kind is inspect.Parameter.KEYWORD_ONLY), None)
        if keyword is not None and not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
            bare.insert(keyword, "*")
        about = cell(first_paragraph(cls))
        lines.append(f"| `op.{name}({', '.join(bare)})` | `{room}` | {about} |")
    return "\n".join(lines)


# Architecture


def rooms_by_layer() -> list[list[str]]:
    """The rooms from top to bottom, as the import-linter contract in pyproject.toml has them."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (one for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    return [layer.split(" | ") for layer in contract["layers"]]


def layers() -> str:
    """The rooms with their layers and what they do."""
    lines = ["| Layer | Room | What it does |", "|---|---|---|"]
    for number, rooms in enumerate(rooms_by_layer(), 1):
        for room in rooms:
            lines.append(f"| {number} | `{room}` | {cell(first_paragraph(import_module(f'gpwarehouse.{room}')))} |")
    return "\n".join(lines)


def rooms() -> str:
    """A section for each room: what it does, what it may import, its modules."""
    layers = rooms_by_layer()
    sections = []
    for number, layer in enumerate(layers, 1):
        below = ", ".join(f"`{room}`" for rooms in layers[number:] for room in rooms)
        for room in layer:
            found = import_module(f"gpwarehouse.{room}")
            place = f"gpwarehouse/{room}/" if hasattr(found, "__path__") else f"gpwarehouse/{room}.py"
            lines = [
                f"## `{room}`",
                first_paragraph(found),
                f"It is `{place}`. It may import {below or 'no other room'}.",
            ]
            sections += [*lines, *([modules(f"gpwarehouse.{room}")] if hasattr(found, "__path__") else ())]
    return "\n\n".join(sections)


def modules(room: str) -> str:
    """The modules of a room, each with what its docstring says first."""
    package = import_module(room)
    lines = ["| Module | What is in it |", "|---|---|"]
    for found in pkgutil.walk_packages(package.__path__, f"{room}."):
        spec = find_spec(found.name)  # read and not imported: a module may need what is not installed here
        assert spec is not None
        assert spec.origin is not None
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        about = first_paragraph_of(ast.get_docstring(tree) or "")
        lines.append(f"| `{found.name.removeprefix(f'{room}.')}` | {cell(about)} |")
    return "\n".join(lines)


PARTS: dict[str, Callable[..., str]] = {
    "api": api,
    "cli": cli,
    "diagram": diagram,
    "endpoints": endpoints,
    "errors": error_tree,
    "layers": layers,
    "modules": modules,
    "operations": operations,
    "rooms": rooms,
    "settings": settings,
    "tables": tables,
    "views": views,
}


def replace_marks(app: Any, name: str, source: list[str]) -> None:
    """Called by Sphinx for every page that it reads."""
    source[0] = expand(source[0])


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", replace_marks)
    return {"version": gpwarehouse.__version__, "parallel_read_safe": True, "parallel_write_safe": True}
