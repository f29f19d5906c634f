"""What a folder stands for among the files of a load."""

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
_OF_THE_TRADE = {".stdf", ".std"}


@dataclass(frozen=True)
class Named:
    """A file that is to be loaded.

    :ivar error: why it cannot be.
    :ivar folder: the one that stands for it; None where it was named itself.
    """

    path: Path
    error: Exception | None = None
    folder: Path | None = None

    @property
    def may_be_passed_over(self) -> bool:
        """Whether it was nobody's word that this is a file to load: neither the caller's nor its own name's."""
        return self.folder is not None and not _OF_THE_TRADE & {suffix.lower() for suffix in self.path.suffixes}


def files_to_load(paths: str | PathLike[str] | Iterable[str | PathLike[str]], target: str | None) -> Iterator[Named]:
    """The files that paths, globs and folders name, none twice, in the order given.

    A folder stands for the files of the trade in it and in the folders below, by their paths; with a ``target`` for the files
    in it that hold tables. What is hidden (its name begins with a dot) is no part of it.
    """
    seen: set[Path] = set()
    for path, error in files_named(paths):
        inside = [Named(file, folder=path) for file in _inside(path, target)] if path.is_dir() else [Named(path, error)]
        if not inside:
            what = "no file" if target is None else "no file of tables"
            inside = [Named(path, InvalidInputError(f"{path}: there is {what} in the folder"))]
        yield from (named for named in inside if named.path not in seen)
        seen |= {named.path for named in inside}


def _inside(folder: Path, target: str | None) -> list[Path]:
    if target is not None:
        return sorted(file for file in folder.iterdir() if file.is_file() and _OF_TABLES & set(file.suffixes))
    found = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in found if not any(part[0] == "." for part in file.relative_to(folder).parts))
