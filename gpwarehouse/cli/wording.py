"""Messages of the library in the words of the command line: ``wh.batches.rejects('b1')`` is ``gpwarehouse batches rejects b1``.

The library names its own doors and options, in Python. Whoever types commands has others, and those are looked up in
the application itself, so that a new command or option is known here without a word.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import typer

from gpwarehouse.cli.app import app

__all__ = ["in_commands"]

_DOORS = {
    "load": "load FILE --target TABLE",
    "read": "query",
    "load_file": "load",
    "load_files": "load",
    "data.load_fab": "load",
    "schema.plan": "upgrade --plan",
    "schema.plan_downgrade": "downgrade --plan",
    "schema.revisions": "status",
    "schema.roles.plan": "roles plan",
    "schema.roles.apply": "roles apply",
    "schema.roles.add_login": "roles login",
    "schema.roles.audit": "roles audit",
    "schema.roles.remove_login": "roles remove-login",
}
"""Methods of ``Warehouse`` whose command has another name, or takes its arguments otherwise; else hyphens are all."""
_OPTIONS = {"drop_data": "yes_drop_data", "months": "month", "tables": "table", "to_head": "upgrade"}
"""Keywords whose option has another name."""
_FILES = {"frame": "FILE", "files": "FILE", "path": "FILE", "table": "TABLE"}
"""The text that stands for a caller's own value."""
_CALL = re.compile(r"\b(?:wh|Warehouse)\.((?:\w+\.){0,2}\w+)(\((?:[^()'\"]|'[^']*'|\"[^\"]*\"|\([^()]*\))*\))?")
_KEYWORD = re.compile(r"(?<![\w.'\"-])(\w+)=('[^']*'|\"[^\"]*\"|[\w.…]+)?(?=[\s;,:.)]|$)")


def in_commands(message: str, argv: Sequence[str] | None = None) -> str:
    """A message whose Python calls and keywords are those of the command line; what has no command says it is Python's.

    :param argv: the words after ``gpwarehouse``, by default this process's: keywords that are no options of its command
        stay as they are, for they may be a user's SQL.
    """
    options = _options(tuple(sys.argv[1:] if argv is None else argv))

    def written(match: re.Match[str]) -> str:
        option = options.get(_OPTIONS.get(match[1], match[1]))
        if option is None:
            return match[0]
        return _write_option(option, shlex.quote(match[2].strip("'\"")) if match[2] else None)

    return _KEYWORD.sub(written, _CALL.sub(_command, message))


def _command(match: re.Match[str]) -> str:
    path = match[1].replace("_", "-").split(".")
    words = _DOORS.get(match[1]) or " ".join(path)
    command = next((found for name, found in _commands().items() if f"{words} ".startswith(f"{name} ")), None)
    if command is None:
        return f"{match[0]} in Python"
    arguments = () if "FILE" in words else _arguments(match[2] or "()", command)
    return " ".join(["gpwarehouse", words, *arguments])


def _arguments(call: str, command: Any) -> Iterator[str]:
    """The arguments of a call as words of a shell."""
    try:
        parsed = ast.parse(f"f{call.replace('…', '...')}", mode="eval").body
    except SyntaxError:
        yield "…"
        return
    assert isinstance(parsed, ast.Call)
    yield from map(_word, parsed.args)
    options = {parameter.name: parameter for parameter in command.params}
    for keyword in parsed.keywords:
        option = options.get(_OPTIONS.get(keyword.arg or "", keyword.arg))
        if option is not None and option.param_type_name == "option":
            yield _write_option(option, _word(keyword.value))


def _word(node: ast.expr) -> str:
    value = getattr(node, "value", None)
    if isinstance(node, ast.Constant):
        return "…" if value is Ellipsis else shlex.quote(str(value))
    return _FILES.get(getattr(node, "id", ""), "…")


def _write_option(option: Any, value: str | None) -> str:
    if not option.is_flag:
        return f"{option.opts[0]} {value}" if value is not None else str(option.opts[0])
    return str(option.secondary_opts[0] if value == "False" and option.secondary_opts else option.opts[0])


@cache
def _commands() -> dict[str, Any]:
    """All commands by their words: ``"load"``, ``"partitions apply"``. Typer brings a click of its own, or takes another."""
    return dict(_walk(typer.main.get_command(app), ()))


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(path), command
    for name, each in (children or {}).items():
        yield from _walk(each, (*path, name))


def _options(argv: tuple[str, ...]) -> dict[str, Any]:
    """The options of the command that these words run, by the name that their value has in Python."""
    command = typer.main.get_command(app)
    for word in argv:
        command = getattr(command, "commands", {}).get(word, command)
    return {each.name or "": each for each in command.params if each.param_type_name == "option"}
