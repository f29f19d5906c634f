"""The files that a load finds in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.table_files import files_named

__all__ = ["Named", "files_to_load"]

_OF_TABLES = {".parquet", ".pq", ".csv", ".tsv", ".arrow", ".ipc", ".feather", ".arrows"}
"""Suffixes that :data:`gpwarehouse.intake.table_files.FILE_KINDS` names."""
_OF_THE_TRADE = {".stdf", ".std", ".atdf", ".atd"}


@dataclass(frozen=True)
class Named:
    """A file that is to be loaded.

    :ivar error: why it cannot be loaded.
    :ivar folder: the folder in which it was found; None if the caller named the file itself.
    """

    path: Path
    error: Exception | None = None
    folder: Path | None = None

    @property
    def may_be_passed_over(self) -> bool:
        """Whether nothing says that this file is to be loaded: neither the caller nor the file's own name."""
        return self.folder is not None and not _OF_THE_TRADE & {suffix.lower() for suffix in self.path.suffixes}


def files_to_load(paths: str | PathLike[str] | Iterable[str | PathLike[str]], target: str | None) -> Iterator[Named]:
    """Find the files that paths, globs and folders name, each once, in the order given.

    A folder means the test data files in it and in its subfolders, sorted by path. With a ``target`` it means the files with
    tables directly in it. Hidden files (whose name begins with a dot) are left out.
    """
    seen: set[Path] = set()
    for path, error in files_named(paths):
        inside = (
            [Named(file, folder=path) for file in _list_files(path, target)] if path.is_dir() else [Named(path, error)]
        )
        if not inside:
            what = "no file" if target is None else "no file with a table"
            inside = [Named(path, InvalidInputError(f"{path}: the folder holds {what}"))]
        yield from (named for named in inside if named.path not in seen)
        seen |= {named.path for named in inside}


def _list_files(folder: Path, target: str | None) -> list[Path]:
    if target is not None:
        return sorted(file for file in folder.iterdir() if file.is_file() and _OF_TABLES & set(file.suffixes))
    found = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in found if not any(part[0] == "." for part in file.relative_to(folder).parts))
