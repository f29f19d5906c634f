"""The first pass over a frame: check every row, compute its keys, and keep the good rows for staging."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Engine

from gpwarehouse.engine import RetryPolicy
from gpwarehouse.engine.progress import Progress
from gpwarehouse.errors import NaturalKeyError
from gpwarehouse.intake.checksum import Fingerprint
from gpwarehouse.intake.expected_columns import expected_of
from gpwarehouse.intake.first_pass import FirstPass as OfLoad
from gpwarehouse.intake.frames import record_batches
from gpwarehouse.intake.given_columns import GIVEN
from gpwarehouse.intake.natural_keys import KeyResolver
from gpwarehouse.intake.root_lots import RootLots, roots_of_lots
from gpwarehouse.intake.row_checks import Validator
from gpwarehouse.intake.target import Target
from gpwarehouse.models import BEGINNING
from gpwarehouse.models.keys import BLANKS, KEY_SEPARATOR, NOT_APPLICABLE_KEY, UNKNOWN_KEY
from gpwarehouse.settings import WarehouseSettings
from gpwarehouse.transport.columns import TIMESTAMP

__all__ = ["ROW", "FirstPass", "durable_keys", "read_frame", "trim"]

ROW = "_row"
"""Column of a staged row: its place among the good rows of the frame."""

Columns = dict[str, pa.Array]


@dataclass(kw_only=True)
class FirstPass(OfLoad):
    """The result of the first pass.

    :ivar staged: the columns that are kept, in order. The column :data:`gpwarehouse.intake.given_columns.GIVEN` is among them
        only if not all rows give the same columns.
    :ivar names: staged column → column of the frame, where the names differ.
    :ivar repeats: whether a key occurs more than once.
    """

    target: Target
    staged: dict[str, None] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    repeats: bool = False


Keep = Callable[[Columns, FirstPass], Columns]
"""Makes the columns to stage from the input columns of good rows. The first one is the key that may repeat."""


def read_frame(
    frame: Any,
    target: Target,
    engine: Engine,
    settings: WarehouseSettings,
    keep: Keep,
    report: Progress,
    constants: Mapping[str, datetime] | None = None,
) -> FirstPass:
    """Read a frame to its end.

    :param constants: columns with one value for all rows, besides those of the frame.
    :raises InvalidInputError: the frame does not fit the target.
    """
    latest = datetime.now(UTC) + timedelta(days=settings.event_max_ahead_days)
    validator = Validator(target, earliest=BEGINNING, latest=latest)
    roots = RootLots(lambda lots: _look_up_roots(engine, settings, list(lots)), settings.lot_root_pattern)
    resolver = KeyResolver(target, roots, facility=settings.facility, wafer_id_pattern=settings.wafer_id_pattern)
    fingerprint, keys = Fingerprint(), []
    found = FirstPass(resolver, target=target)
    found.given.always = frozenset(constants or ())
    try:
        for batch in record_batches(frame, target.json_columns, expected_of(target, constants=constants or ())):
            for name, moment in (constants or {}).items():
                batch = batch.append_column(name, pa.repeat(pa.scalar(moment, TIMESTAMP), batch.num_rows))
            clean = found.check(validator, batch, fingerprint)
            if clean.num_rows:
                keys.append(_keep(found, clean, keep))
            report("read", found.rows_read)
    except BaseException:
        found.close()
        raise
    # A column that was not given differs from one that was given as NULL, so the checksum includes the given columns.
    fingerprint.update_unreadable(",".join(found.given.words()))
    if found.given.not_every:
        found.staged[GIVEN] = None
    found.checksum = fingerprint.hexdigest()
    total = np.sort(np.concatenate(keys)) if keys else np.empty(0, np.int64)
    found.repeats = bool((total[1:] == total[:-1]).any())
    return found


def _look_up_roots(engine: Engine, settings: WarehouseSettings, lots: list[str]) -> dict[str, str]:
    """Look up the roots of lots; the look-up is repeated here, because the frame may be read only once."""
    return RetryPolicy.once_met(settings, engine).call("look up the roots of lots", roots_of_lots, engine, lots)


def _keep(found: FirstPass, clean: pa.RecordBatch, keep: Keep) -> Any:
    """Put good rows into the spool; return their keys."""
    found.see(clean.column(found.target.partition_column))
    columns = keep(dict(zip(clean.schema.names, clean.columns, strict=True)), found)
    columns[ROW] = pa.array(np.arange(found.rows.rows, found.rows.rows + clean.num_rows))
    found.staged |= dict.fromkeys(columns)
    columns[GIVEN] = clean.column(GIVEN)
    found.rows.append(pa.RecordBatch.from_arrays(list(columns.values()), list(columns)))
    return np.asarray(next(iter(columns.values())))


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
