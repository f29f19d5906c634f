"""Tables of one pass over a file, kept on disk for the next: a list is known at the end, and rows need it at the beginning."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pyarrow as pa

__all__ = ["Spool"]


class Spool:
    """Groups of tables in a temporary file, which ends with the object. Memory holds none of them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="gpwarehouse-stdf-")  # noqa: SIM115 - it lives as long as the spool
        self._groups: list[list[int]] = []

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, *tables: pa.Table) -> None:
        """Append a group."""
        self._groups.append([self._write(table) for table in tables])

    def _write(self, table: pa.Table) -> int:
        at = self._file.seek(0, 2)
        with pa.ipc.new_stream(self._file, table.schema) as out:
            out.write_table(table)
        return at

    def read(self, which: int | None = None) -> Iterator[list[pa.Table]]:
        """Yield the groups in order.

        :param which: number of the only table of each group that is wanted.
        """
        for group in self._groups:
            yield [self._read(at) for at in (group if which is None else group[which : which + 1])]

    def _read(self, at: int) -> pa.Table:
        self._file.seek(at)
        with pa.ipc.open_stream(self._file) as stream:
            return stream.read_all()
