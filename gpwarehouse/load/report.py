"""The outcome of a load of many files, file by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpwarehouse.errors import LoadError
from gpwarehouse.load.result import LoadResult

__all__ = ["FileOutcome", "FilesReport"]


@dataclass(frozen=True)
class FileOutcome:
    """The outcome of one file: a result, or the error because of which it was not loaded.

    :ivar status: ``"loaded"``, ``"already loaded"``, ``"failed"``; ``"passed over"`` if the file was found in a folder and is
        of no kind that can be read; ``"not tried"`` if the connection to the server was lost before.
    :ivar passed_over: whether the status is ``"passed over"``; ``error`` says why.
    """

    path: Path
    result: LoadResult | None = None
    error: BaseException | None = field(default=None, compare=False)
    passed_over: bool = False

    @property
    def status(self) -> str:
        """One of the statuses above."""
        if self.result is not None:
            return "already loaded" if self.result.already_loaded else "loaded"
        if self.passed_over:
            return "passed over"
        return "failed" if self.error is not None else "not tried"

    def __str__(self) -> str:
        text = str(self.result or self.error or self.status)
        named = text.startswith((f"{self.path}:", f"{self.path.name}:", f"{self.path.name} "))
        return text if named else f"{self.path.name}: {text}"


@dataclass(frozen=True)
class FilesReport:
    """The outcomes of all files, in order; as text, one line."""

    files: tuple[FileOutcome, ...]

    def __iter__(self) -> Iterator[FileOutcome]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def failed(self) -> tuple[FileOutcome, ...]:
        """Files that should be in the warehouse and are not."""
        return tuple(file for file in self.files if file.result is None and not file.passed_over)

    @property
    def rows_loaded(self) -> int:
        """Rows that this call loaded."""
        return sum(file.result.rows_loaded for file in self.files if file.result is not None)

    def raise_for_errors(self) -> None:
        """Raise an error if a file failed.

        :raises LoadError: a file failed; the message names the first. The files that were loaded stay loaded.
        """
        if self.failed:
            first = self.failed[0]
            raise LoadError(
                f"{len(self.failed)} of {len(self.files)} files were not loaded; the first: {first}. "
                "Load them again: files that are already loaded are skipped"
            ) from first.error

    def __str__(self) -> str:
        counts = Counter(file.status for file in self.files)
        said = ", ".join(f"{count} {status}" for status, count in counts.items())
        return f"{len(self.files)} files: {said or 'nothing to do'}; {self.rows_loaded} rows loaded"
