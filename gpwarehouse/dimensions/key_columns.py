"""Durable keys of whole columns, equal to those that :mod:`gpwarehouse.models.keys` computes one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import NaturalKeyError
from gpwarehouse.models.keys import BLANKS, KEY_SEPARATOR, NOT_APPLICABLE_KEY, UNKNOWN_KEY

__all__ = ["durable_keys", "trim"]


def trim(array: pa.Array, default: str = "") -> pa.Array:
    """Normalise a part of a natural key as it is hashed and stored: without blanks at its ends, ``default`` if it is missing."""
    return pc.utf8_trim(pc.fill_null(array, default), BLANKS)


def durable_keys(parts: Sequence[pa.Array]) -> pa.Array:
    """Compute the durable keys of natural keys whose parts were normalised by :func:`trim`, equal to ``durable_key`` for each.

    :raises NaturalKeyError: a natural key hashes to a reserved key.
    """
    joined = pc.binary_join_element_wise(*(part.cast(pa.binary()) for part in parts), KEY_SEPARATOR.encode())
    digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest()[:8] for part in joined.to_pylist())
    keys = np.frombuffer(digests, ">i8").astype(np.int64)
    reserved = np.isin(keys, (UNKNOWN_KEY, NOT_APPLICABLE_KEY))
    if reserved.any():
        natural = joined[int(np.flatnonzero(reserved)[0])].as_py().decode()
        raise NaturalKeyError(f"natural key {natural!r} hashes to a reserved key; change a part of it")
    return pa.array(keys)
