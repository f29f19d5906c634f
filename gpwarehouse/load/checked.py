"""What any first pass over a source keeps: the good rows, the rejects, and the span of their times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.load.batches import raw_json, reject_rows
from gpwarehouse.load.fingerprint import Fingerprint
from gpwarehouse.load.keys import KeyResolver
from gpwarehouse.load.spool import Spool
from gpwarehouse.load.validate import Reject, Validator

__all__ = ["Checked"]


@dataclass
class Checked:
    """Rows that were read and checked. A context manager: its temporary files go with it.

    :ivar rows: the good rows; ``rejects``: rows of ``etl_reject``. ``checksum``: of the content.
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
        """Check the next rows and keep what is rejected; the good ones.

        :param fingerprint: takes in all of them; None where the source tells its own.
        """
        checked = validator.check(batch, self.rows_read + 1)
        self.rows_read += batch.num_rows
        if fingerprint is not None:
            fingerprint.update(checked.rows)
            for reject in checked.rejects:
                if reject.unreadable:
                    fingerprint.update_unreadable(raw_json(reject.raw))
        if checked.rejects:
            self.are_read &= not any(reject.unreadable for reject in checked.rejects)
            self.first_reject = self.first_reject or checked.rejects[0]
            self.rejects.append(reject_rows(checked.rejects))
        return checked.clean

    def see(self, times: pa.Array) -> None:
        """Widen the span by the times of good rows."""
        span = pc.min_max(times).as_py()
        self.first = min(filter(None, (self.first, span["min"])))
        self.last = max(filter(None, (self.last, span["max"])))
