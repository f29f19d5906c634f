"""What any first pass over a source keeps: the good rows, the rejects, and the span of their times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.load.batches import raw_json, reject_rows
from gpwarehouse.load.fingerprint import Fingerprint
from gpwarehouse.load.given import GIVEN, Given
from gpwarehouse.load.keys import KeyResolver
from gpwarehouse.load.spool import Spool
from gpwarehouse.load.validate import Reject, Validator

__all__ = ["Checked"]


@dataclass
class Checked:
    """Rows that were read and checked. A context manager: its temporary files go with it.

    :ivar rows: the good rows; ``rejects``: rows of ``etl_reject``. ``checksum``: of the content.
    :ivar given: the columns that the rows name.
    :ivar are_read: whether every value could be had in its column's type.
    :ivar first: earliest and ``last`` latest time of the good rows.
    """

    resolver: KeyResolver
    rows: Spool = field(default_factory=Spool)
    rejects: Spool = field(default_factory=Spool)
    first_reject: Reject | None = None
    rows_read: int = 0
    checksum: str = ""
    are_read: bool = True
    first: datetime | None = None
    last: datetime | None = None
    given: Given = field(init=False)

    def __post_init__(self) -> None:
        self.given = Given(self.resolver.target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up what was kept."""
        self.rows.close()
        self.rejects.close()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Give up what was kept if the block fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def check(self, validator: Validator, batch: pa.RecordBatch, fingerprint: Fingerprint | None) -> pa.RecordBatch:
        """Check the next rows and keep what is rejected; the good ones, with the column ``_given``.

        :param fingerprint: takes in all of them; None where the source tells its own.
        """
        first = self.rows_read + 1
        batch, given = self.given.number(batch)
        checked = validator.check(batch, first)
        self.rows_read += batch.num_rows
        if fingerprint is not None:
            fingerprint.update(checked.rows)
            for reject in checked.rejects:
                if reject.unreadable:
                    fingerprint.update_unreadable(raw_json(reject.raw))
        if checked.rejects:
            self.are_read &= not any(reject.unreadable for reject in checked.rejects)
            places = [reject.row_number - first for reject in checked.rejects]
            rejects = [self._as_named(*each) for each in zip(checked.rejects, given[places].tolist(), strict=True)]
            self.first_reject = self.first_reject or rejects[0]
            self.rejects.append(reject_rows(rejects))
            given = np.delete(given, places)
        return checked.clean.append_column(GIVEN, pa.array(given, pa.int32()))

    def _as_named(self, reject: Reject, given: int) -> Reject:
        """A reject whose row has the columns that it named, and no others."""
        names = self.given.names_of(given)
        return replace(reject, raw={name: value for name, value in reject.raw.items() if name in names})

    def see(self, times: pa.Array) -> None:
        """Widen the span by the times of good rows."""
        span = pc.min_max(times).as_py()
        self.first = min(filter(None, (self.first, span["min"])))
        self.last = max(filter(None, (self.last, span["max"])))
