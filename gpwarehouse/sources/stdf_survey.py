"""First pass over an STDF file: is it whole, what is its checksum, who was tested how often.

Walking the record headers costs little and tells, before any row leaves, what an STDF file only says at its end:
whether it is complete (MRR), which insertion of a die is the last one, the names of the bins, the id of a wafer
(a WAFER_ID in the WRR supersedes the one in the WIR), how many parts its summaries count. What is kept is small: the few
records that are not per part, and 19 bytes per insertion while walking (14 afterwards), never a test result.

A file is refused where its records cannot be those of a whole file: a type that no STDF knows, a record shorter than its
fields, text that runs over its record's end, records before the MIR or behind the MRR. What the records count is compared by
:mod:`gpwarehouse.sources.stdf_completeness`.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources import stdf_framing as rec
from gpwarehouse.sources.stdf_framing import FAR_BYTES, SHORTEST, Findings, is_user_record, type_name
from gpwarehouse.sources.stdf_insertions import PartLog, count_insertions
from gpwarehouse.sources.stdf_stream import WAY_OUT, open_stream, read_exactly
from gpwarehouse.sources.stdf_wafers import OpenWafers

__all__ = ["Chunk", "Survey", "survey"]

BLOCK_BYTES = 1 << 20
Kind = TypeVar("Kind", bound=np.generic)

KEPT = frozenset({rec.MIR, rec.MRR, rec.SDR, rec.WIR, rec.WRR, rec.HBR, rec.SBR, rec.PCR, rec.WCR, rec.TSR})
SMALL_TYPES = ["MIR", "MRR", "SDR", "WIR", "WRR", "WCR", "HBR", "SBR", "PCR", "TSR"]
PER_TEST = 15  # REC_TYP of test results
READ_RESULTS = (rec.PTR & 0xFF, rec.MPR & 0xFF, rec.FTR & 0xFF)
NOT_BEFORE_MIR = frozenset({rec.WIR, rec.WRR, rec.PIR, rec.PRR})
TAKEN = frozenset({*NOT_BEFORE_MIR, rec.FAR, rec.MIR, rec.MRR, rec.SDR, rec.STR})
TEXTS = {rec.MIR: (15, 30), rec.WIR: (6, 1), rec.WRR: (26, 4), rec.PRR: (17, 2)}
"""Record type → where its texts (Cn) begin, and how many there are."""
NAMES = 5
"""Of the MIR's texts the first: lot, part type, node, tester type, job. In these no control character makes sense."""
CONTROL = frozenset(range(32)) - frozenset(b"\t\r\n\0")


@dataclass(frozen=True)
class Chunk:
    """A run of whole records: ``length`` bytes, the first of them record number ``first_record`` of the file."""

    offset: int
    length: int
    first_record: int


@dataclass(frozen=True)
class Survey:
    """What the first pass found. Arrays have one entry per PRR, in file order."""

    checksum: str
    far: bytes
    """The file's FAR record, to stand before any run of its records."""
    small: bytes
    """All records that are not per part, in file order."""
    chunks: list[Chunk]
    wir_of_wrr: list[int]
    """For each WRR the number of the WIR it closes, -1 if there is none."""
    overlapping: frozenset[int]
    """Numbers of the WIRs that were in force beside another one."""
    wir_of_part: npt.NDArray[np.int32]
    """Number of the WIR in force, -1 outside a wafer."""
    insertion_no: npt.NDArray[np.int32]
    is_final: npt.NDArray[np.bool_]
    is_part: npt.NDArray[np.bool_]
    """False for a PRR that is no part: a delimiter between test plans."""
    hard_bin: npt.NDArray[np.uint16]
    soft_bin: npt.NDArray[np.uint16]
    unfinished: int
    """PIRs that no PRR followed."""
    without_pir: frozenset[int]
    """(HEAD_NUM << 8 | SITE_NUM) where a PRR stands that has no PIR."""
    has_scans: bool
    """Whether there are scan results (STR), which are not read."""


@dataclass
class _Walk:
    path: Path
    order: str
    chunk_bytes: int
    findings: Findings
    offset: int = FAR_BYTES
    record: int = 1
    others: int = 1
    small: bytearray = field(default_factory=bytearray)
    chunks: list[Chunk] = field(default_factory=list)
    chunk_start: tuple[int, int] = (FAR_BYTES, 1)
    has_mir: bool = False
    has_mrr: bool = False
    has_scans: bool = False
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.header = Struct(self.order + "HBB").unpack_from
        self.wafers = OpenWafers(self.findings)
        self.parts = PartLog(self.order, self.wafers)

    def run(self, data: bytes) -> int:
        """Walk the whole records in ``data``; returns how many bytes they take."""
        if self.has_mrr:
            return self._behind(data)
        header, at, end, record = self.header, 0, len(data) - 4, self.record
        while at <= end:
            length, typ, sub = header(data, at)
            after = at + 4 + length
            if after > end + 4:
                break
            if typ != PER_TEST or length < 8 or sub not in READ_RESULTS:
                kind = typ << 8 | sub
                taken = self._other(kind, data[at + 4 : after], self.offset + at, record)
                if taken and kind in KEPT:
                    self.small += data[at:after]
                    if kind == rec.MRR:
                        at, record = after, record + 1
                        break
            at = after
            record += 1
        self.offset += at
        self.record = record
        start, first = self.chunk_start
        if self.offset - start >= self.chunk_bytes:
            self._cut(start, first)
        return at + self._behind(data[at:]) if self.has_mrr else at

    def _cut(self, start: int, first: int) -> None:
        if self.offset > start:
            self.chunks.append(Chunk(start, self.offset - start, first))
        self.chunk_start = (self.offset, self.record)

    def _skip(self, what: str, offset: int, length: int, record: int) -> None:
        """Leave a record out of the runs that are read, where that is allowed."""
        if not self.findings.allow_incomplete:
            self.findings.refuse(
                f"at byte {offset} stands {what}: a block of the file was lost, overwritten or written twice"
            )
        self.skipped[what] += 1
        start, first = self.chunk_start
        if offset > start:
            self.chunks.append(Chunk(start, offset - start, first))
        self.chunk_start = (offset + length, record + 1)

    def _other(self, kind: int, body: bytes, offset: int, record: int) -> bool:
        """Take in a record that is no test result; False where it was passed over."""
        odd = len(body) < SHORTEST.get(kind, 65536) or (kind in TEXTS and not self._texts_fit(kind, body))
        if odd and not is_user_record(kind >> 8):
            self._skip(f"a record of type {type_name(kind)}, {_fault(kind, body)}", offset, 4 + len(body), record)
            return False
        if kind in NOT_BEFORE_MIR and not self.has_mir:
            raise SourceFormatError(
                f"{self.path.name}: at byte {offset}, before any MIR, stands a record of type {type_name(kind)}: no lot, no "
                f"program is known. {WAY_OUT}"
            )
        if kind in TAKEN:
            self._take(kind, body, offset, record - self.others)
        self.others += 1
        return True

    def _take(self, kind: int, body: bytes, offset: int, tests: int) -> None:
        if kind == rec.PIR:
            self.parts.begin(body[0], body[1], tests)
        elif kind == rec.PRR:
            self.parts.end(body, tests)
        elif kind == rec.MIR:
            if self.has_mir:
                self._refuse_second("MIR", offset)
            self.has_mir = True
        elif kind == rec.MRR:
            self.has_mrr = True
        elif kind == rec.FAR:
            self._refuse_second("FAR", offset)
        elif kind == rec.STR:
            self.has_scans = True
        elif kind == rec.SDR:
            self.wafers.site_group(body)
        elif kind == rec.WIR:
            self.wafers.begin(body)
        elif kind == rec.WRR:
            self.wafers.end(body, offset)

    def _refuse_second(self, name: str, offset: int) -> None:
        raise SourceFormatError(
            f"{self.path.name}: a second {name} at byte {offset}: these are several STDF files joined into one, or a block "
            "of it stands twice. Nothing of it was loaded. Split it at its FAR records and load the parts one by one."
        )

    @staticmethod
    def _texts_fit(kind: int, body: bytes) -> bool:
        at, count = TEXTS[kind]
        for number in range(count):
            if at >= len(body):
                return True
            end = at + 1 + body[at]
            if end > len(body):
                return False
            if kind == rec.MIR and number < NAMES and not CONTROL.isdisjoint(body[at + 1 : end]):
                return False
            at = end
        return True

    def _behind(self, data: bytes) -> int:
        """Nothing but NUL padding (tape blocks) stands behind the MRR; returns the bytes, all of them."""
        if data[:4] in (b"\x02\x00\x00\x0a", b"\x00\x02\x00\x0a"):
            self._refuse_second("FAR", self.offset)
        if data.strip(b"\0"):
            self.findings.refuse(
                f"behind the MRR, which closes every STDF file at byte {self.offset}, there are records"
            )
        return len(data)

    def finish(self, rest: bytes, checksum: str, far: bytes) -> Survey:
        """What was found, when ``rest`` is all that is left.

        :raises SourceFormatError: it is no whole file.
        """
        self._complete(rest)
        self._cut(*self.chunk_start)
        self.parts.finish()
        self.wafers.finish()
        for what, count in self.skipped.items():
            self.findings.tell(f"passed over {count} times: {what}")
        insertion_no, is_final = count_insertions(self.parts)
        return Survey(
            checksum=checksum,
            far=far,
            small=bytes(self.small),
            chunks=self.chunks,
            wir_of_wrr=self.wafers.wir_of_wrr,
            overlapping=frozenset(self.wafers.overlapping),
            wir_of_part=_column(self.parts.wir_of_part, np.int32),
            insertion_no=insertion_no,
            is_final=is_final,
            is_part=_column(self.parts.is_part, np.int8) != 0,
            hard_bin=_column(self.parts.hard_bin, np.uint16),
            soft_bin=_column(self.parts.soft_bin, np.uint16),
            unfinished=self.parts.unfinished,
            without_pir=self._without_pir(),
            has_scans=self.has_scans,
        )

    def _without_pir(self) -> frozenset[int]:
        lost, unfinished = sum(self.parts.without_pir.values()), self.parts.unfinished
        if unfinished:
            self.findings.tell(f"{unfinished} parts have a PIR but no PRR; they, and their results, are left out")
        if lost:
            self.findings.tell(
                f"{lost} parts have a PRR but no PIR; theirs are the results since the part before on the same head and site"
            )
        return frozenset(self.parts.without_pir)

    def _complete(self, rest: bytes) -> None:
        name = self.path.name
        self._refuse_cut(rest)
        if not self.has_mir:
            raise SourceFormatError(
                f"{name} has no MIR record in its {self.offset} bytes: no lot, no program. {WAY_OUT}"
            )
        if not self.has_mrr and not rest:
            self.findings.refuse(
                f"it ends early: at byte {self.offset}, after record {self.record - 1}, the MRR that closes every STDF "
                "file is missing"
            )

    def _refuse_cut(self, rest: bytes) -> None:
        if not rest:
            return
        what = "a record header"
        if len(rest) >= 4:
            length, typ, sub = self.header(rest, 0)
            what = f"a record (type {typ}, sub-type {sub}) of {4 + length} bytes"
        self.findings.refuse(
            f"it ends early: {what} begins at byte {self.offset}, but only {len(rest)} bytes follow; the MRR that closes "
            "every STDF file is missing"
        )


def _fault(kind: int, body: bytes) -> str:
    """What is wrong with a record that is refused."""
    if kind not in SHORTEST:
        return "which neither STDF V4 nor V4-2007 knows"
    return (
        "which is too short for its fields"
        if len(body) < SHORTEST[kind]
        else "whose texts are none or do not fit into it"
    )


def _column(values: array[int], kind: type[Kind]) -> npt.NDArray[Kind]:
    return np.array(values, dtype=kind)


def survey(path: Path, chunk_bytes: int, findings: Findings) -> Survey:
    """Walk the file once.

    :param path: an STDF V4 file, plain or compressed.
    :param chunk_bytes: cut the file into runs of whole records of about this size.
    :param findings: takes the warnings, and says whether an incomplete file is allowed.
    :raises SourceFormatError: no STDF V4, ends early, has no MRR, holds what no STDF file holds, or is several files in one.
    """
    digest = hashlib.sha256()
    with open_stream(path) as stream:
        far = read_exactly(stream, FAR_BYTES)
        digest.update(far)
        walk = _Walk(path, rec.byte_order(far, path), chunk_bytes, findings)
        rest = b""
        while block := stream.read(min(BLOCK_BYTES, max(1, chunk_bytes // 8))):
            digest.update(block)
            data = rest + block
            rest = data[walk.run(data) :]
    return walk.finish(rest, digest.hexdigest(), far)
