"""A checksum of what a frame holds, the same whatever its chunks, its column order and the bytes behind its NULLs."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Fingerprint", "batch_id_for"]


class Fingerprint:
    """SHA-256 over the values of record batches of one schema, column by column."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {}
        self._unreadable = hashlib.sha256()

    def update(self, batch: pa.RecordBatch) -> None:
        """Add a batch; a column of nothing but NULLs counts as one that is not there."""
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            hashers = self._columns.setdefault(name, [0, hashlib.sha256(), hashlib.sha256(), hashlib.sha256()])
            hashers[0] += len(array) - array.null_count
            valid, sizes, values = hashers[1:]
            valid.update(np.asarray(array.is_valid().cast(pa.uint8())).tobytes())
            if pa.types.is_string(array.type):
                filled = pc.fill_null(array, "")
                sizes.update(np.asarray(pc.binary_length(filled)).tobytes())
                values.update(_characters(filled))
            else:
                values.update(_fixed_width(array))

    def update_unreadable(self, raw: str) -> None:
        """Add a row with a value that could not be read, as text: other content has other bad rows."""
        self._unreadable.update(raw.encode() + b"\x00")

    def hexdigest(self) -> str:
        """The checksum, 64 hexadecimal digits."""
        total = hashlib.sha256()
        for name, (count, *hashers) in sorted(self._columns.items()):
            if count:
                total.update(name.encode() + b"\x00" + b"".join(h.digest() for h in hashers))
        total.update(self._unreadable.digest())
        return total.hexdigest()


def _characters(array: pa.Array) -> Any:
    """The bytes of all texts of an array without NULLs, one after the other, where they lie in memory."""
    if not len(array):
        return b""
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int32)
    first, end = int(bounds[array.offset]), int(bounds[array.offset + len(array)])
    return memoryview(data)[first:end] if data is not None else b""


def _fixed_width(array: pa.Array) -> bytes:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    elif pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    elif pa.types.is_date(array.type):
        array = array.cast(pa.int32())
    return np.asarray(pc.fill_null(array, 0)).tobytes()


def batch_id_for(target: str, checksum: str) -> str:
    """The id of a batch whose caller gave none: 32 hexadecimal digits from target and content."""
    return hashlib.sha256(f"{target}\x1f{checksum}".encode()).hexdigest()[:32]
