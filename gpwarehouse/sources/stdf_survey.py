"""The first pass over an STDF file: is it complete, what is its checksum, which part was tested how often.

Walking the record headers is cheap. It finds out, before any row is sent, what an STDF file says only at its end: whether it is
complete (MRR), which insertion of a die is the last one, the names of the bins, the id of a wafer (a WAFER_ID in the WRR
supersedes the one in the WIR), and how many parts its summaries count. Little is kept: the few records that are not per part,
and 23 bytes per insertion during the walk (18 afterwards), never a test result.

A file is refused if its records cannot be those of a complete file: a type that STDF does not define, a record shorter than
its fields, a text that exceeds its record, records before the MIR or after the MRR.
:mod:`gpwarehouse.sources.stdf_completeness` compares the counts.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from struct import Struct, unpack
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources import stdf_framing as rec
from gpwarehouse.sources.stdf_framing import FAR_BYTES, SHORTEST, Findings, is_user_record, type_name
from gpwarehouse.sources.stdf_insertions import PartLog, count_insertions
from gpwarehouse.sources.stdf_stream import WAY_OUT, Content
from gpwarehouse.sources.stdf_wafers import OpenWafers

__all__ = ["Chunk", "Survey", "survey"]

BLOCK_BYTES = 1 << 20
Kind = TypeVar("Kind", bound=np.generic)

KEPT = frozenset(
    {rec.MIR, rec.MRR, rec.SDR, rec.WIR, rec.WRR, rec.HBR, rec.SBR, rec.PCR, rec.WCR, rec.TSR, rec.PMR, rec.RDR}
)
SMALL_TYPES = ["MIR", "MRR", "SDR", "WIR", "WRR", "WCR", "HBR", "SBR", "PCR", "TSR", "PMR", "RDR"]
RESULTS = (rec.PTR, rec.MPR, rec.FTR, rec.STR)
SHORTEST_RESULT = 8
NOT_BEFORE_MIR = frozenset({rec.WIR, rec.WRR, rec.PIR, rec.PRR})
TAKEN = frozenset({*NOT_BEFORE_MIR, rec.FAR, rec.MIR, rec.MRR, rec.SDR})
TEXTS = {rec.MIR: (15, 30), rec.WIR: (6, 1), rec.WRR: (26, 4), rec.PRR: (17, 2)}
"""Record type → where its texts (Cn) begin, and their number."""
NAMES = 5
"""Number of leading texts of the MIR in which no control character is valid: lot, part type, node, tester type, job."""
CONTROL = frozenset(range(32)) - frozenset(b"\t\r\n\0")


@dataclass(frozen=True)
class Chunk:
    """A run of whole records: ``length`` bytes; the first record is number ``first_record`` of the file."""

    offset: int
    length: int
    first_record: int


@dataclass(frozen=True)
class Survey:
    """The result of the first pass. Arrays have one entry per PRR, in file order."""

    checksum: str
    far: bytes
    """The file's FAR record, which must precede any run of its records."""
    small: bytes
    """All records that are not per part, in file order."""
    chunks: list[Chunk]
    wir_of_wrr: list[int]
    """For each WRR the number of the WIR that it closes, or -1."""
    overlapping: frozenset[int]
    """Numbers of the WIRs that were open at the same time as another one."""
    wir_of_part: npt.NDArray[np.int32]
    """Number of the open WIR, or -1 outside a wafer."""
    insertion_no: npt.NDArray[np.int32]
    is_final: npt.NDArray[np.bool_]
    is_part: npt.NDArray[np.bool_]
    """False for a PRR that is not a part but a separator of test plans."""
    hard_bin: npt.NDArray[np.uint16]
    soft_bin: npt.NDArray[np.uint16]
    unit_no: npt.NDArray[np.int32]
    """Number of a part that neither coordinates nor head, site and PART_ID name; -1 of all others."""
    unfinished: int
    """Number of PIRs without a PRR."""
    without_pir: frozenset[int]
    """(HEAD_NUM << 8 | SITE_NUM) on which there is a PRR without a PIR."""
    has_unit_texts: bool
    """Whether PART_TXT tells the parts that are on no wafer apart."""


@dataclass
class _Walk:
    name: str
    order: str
    chunk_bytes: int
    findings: Findings
    by_die: bool = False
    offset: int = FAR_BYTES
    record: int = 1
    others: int = 1
    small: bytearray = field(default_factory=bytearray)
    chunks: list[Chunk] = field(default_factory=list)
    chunk_start: tuple[int, int] = (FAR_BYTES, 1)
    has_mir: bool = False
    has_mrr: bool = False
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.header = Struct(self.order + "HH").unpack_from  # REC_LEN; REC_TYP and REC_SUB as one number
        self.results = frozenset(unpack(self.order + "H", bytes((kind >> 8, kind & 0xFF)))[0] for kind in RESULTS)
        self.wafers = OpenWafers(self.findings)
        self.parts = PartLog(self.order, self.wafers, self.by_die)

    def run(self, data: bytes) -> int:
        """Walk the whole records in ``data``; return their number of bytes."""
        if self.has_mrr:
            return self._check_padding(data)
        header, results, at, size, record = self.header, self.results, 0, len(data), self.record
        while at + 4 <= size:
            length, code = header(data, at)
            after = at + 4 + length
            if after > size:
                break
            if code not in results or length < SHORTEST_RESULT:
                kind = data[at + 2] << 8 | data[at + 3]
                taken = self._take_other(kind, data[at + 4 : after], self.offset + at, record)
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
        return at + self._check_padding(data[at:]) if self.has_mrr else at

    def _cut(self, start: int, first: int) -> None:
        if self.offset > start:
            self.chunks.append(Chunk(start, self.offset - start, first))
        self.chunk_start = (self.offset, self.record)

    def _skip(self, what: str, offset: int, length: int, record: int) -> None:
        """Leave a record out of the runs, if that is allowed."""
        if not self.findings.allow_incomplete:
            self.findings.refuse(
                f"at byte {offset} there is {what}: a block of the file was lost, overwritten or written twice"
            )
        self.skipped[what] += 1
        start, first = self.chunk_start
        if offset > start:
            self.chunks.append(Chunk(start, offset - start, first))
        self.chunk_start = (offset + length, record + 1)

    def _take_other(self, kind: int, body: bytes, offset: int, record: int) -> bool:
        """Process a record that is not a test result; return False if it was skipped."""
        odd = len(body) < SHORTEST.get(kind, 65536) or (kind in TEXTS and not self._has_valid_texts(kind, body))
        if odd and not is_user_record(kind >> 8):
            self._skip(
                f"a record of type {type_name(kind)}, {_describe_fault(kind, body)}", offset, 4 + len(body), record
            )
            return False
        if kind in NOT_BEFORE_MIR and not self.has_mir:
            raise SourceFormatError(
                f"{self.name}: at byte {offset} a record of type {type_name(kind)} precedes the MIR, which names lot and "
                f"program. {WAY_OUT}"
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
        elif kind == rec.SDR:
            self.wafers.site_group(body)
        elif kind == rec.WIR:
            self.wafers.begin(body)
        elif kind == rec.WRR:
            self.wafers.end(body, offset)

    def _refuse_second(self, name: str, offset: int) -> None:
        raise SourceFormatError(
            f"{self.name}: there is a second {name} at byte {offset}: several STDF files were joined into one, or a block "
            "was written twice. Nothing of it was loaded. Split it at its FAR records and load the parts one by one."
        )

    @staticmethod
    def _has_valid_texts(kind: int, body: bytes) -> bool:
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

    def _check_padding(self, data: bytes) -> int:
        """Check that only NUL padding (tape blocks) follows the MRR; return its number of bytes."""
        if data[:4] in (b"\x02\x00\x00\x0a", b"\x00\x02\x00\x0a"):
            self._refuse_second("FAR", self.offset)
        if data.strip(b"\0"):
            self.findings.refuse(f"records follow the MRR, which must be the last record, at byte {self.offset}")
        return len(data)

    def finish(self, rest: bytes, checksum: str, far: bytes) -> Survey:
        """Make the survey, when ``rest`` is all that is left.

        :raises SourceFormatError: the file is incomplete.
        """
        self._check_complete(rest)
        self._cut(*self.chunk_start)
        self.parts.finish()
        self.wafers.finish()
        for what, count in self.skipped.items():
            self.findings.warn(f"skipped {count} times: {what}")
        insertion_no, is_final = count_insertions(self.parts)
        return Survey(
            checksum=checksum,
            far=far,
            small=bytes(self.small),
            chunks=self.chunks,
            wir_of_wrr=self.wafers.wir_of_wrr,
            overlapping=frozenset(self.wafers.overlapping),
            wir_of_part=_make_column(self.parts.wir_of_part, np.int32),
            insertion_no=insertion_no,
            is_final=is_final,
            is_part=_make_column(self.parts.is_part, np.int8) != 0,
            hard_bin=_make_column(self.parts.hard_bin, np.uint16),
            soft_bin=_make_column(self.parts.soft_bin, np.uint16),
            unit_no=self.parts.unit_no,
            unfinished=self.parts.unfinished,
            without_pir=self._find_without_pir(),
            has_unit_texts=self.parts.has_unit_texts,
        )

    def _find_without_pir(self) -> frozenset[int]:
        lost, unfinished = sum(self.parts.without_pir.values()), self.parts.unfinished
        if unfinished:
            self.findings.warn(f"{unfinished} parts have a PIR but no PRR; the parts and their results are left out")
        if lost:
            self.findings.warn(
                f"{lost} parts have a PRR but no PIR; they get the results since the previous part on the same head and site"
            )
        return frozenset(self.parts.without_pir)

    def _check_complete(self, rest: bytes) -> None:
        name = self.name
        self._refuse_cut(rest)
        if not self.has_mir:
            raise SourceFormatError(
                f"{name} has no MIR record in its {self.offset} bytes, so lot and program are not known. {WAY_OUT}"
            )
        if not self.has_mrr and not rest:
            self.findings.refuse(
                f"it ends early: at byte {self.offset}, after record {self.record - 1}, the MRR is missing, which is the "
                "last record of every complete file"
            )

    def _refuse_cut(self, rest: bytes) -> None:
        if not rest:
            return
        what = "a record header"
        if len(rest) >= 4:
            length, _ = self.header(rest, 0)
            what = f"a record (type {rest[2]}, sub-type {rest[3]}) of {4 + length} bytes"
        self.findings.refuse(
            f"it ends early: {what} begins at byte {self.offset}, but only {len(rest)} bytes follow, and the MRR is missing, "
            "which is the last record of every complete file"
        )


def _describe_fault(kind: int, body: bytes) -> str:
    """Describe the fault of a record that is refused."""
    if kind not in SHORTEST:
        return "which neither STDF V4 nor V4-2007 defines"
    return (
        "which is too short for its fields" if len(body) < SHORTEST[kind] else "whose texts are not valid or exceed it"
    )


def _make_column(values: array[int], kind: type[Kind]) -> npt.NDArray[Kind]:
    return np.array(values, dtype=kind)


def survey(content: Content, name: str, chunk_bytes: int, findings: Findings, by_die: bool = False) -> Survey:
    """Walk a file once.

    :param content: STDF V4.
    :param name: name of the file, for messages.
    :param chunk_bytes: approximate bytes of the runs of whole records that the file is cut into.
    :param findings: collects the warnings, and says whether an incomplete file is allowed.
    :param by_die: whether X and Y are those of a wafer even if no WIR begins one.
    :raises SourceFormatError: the file is not STDF V4, ends early, has no MRR, holds records that STDF does not define, or
        consists of several files.
    """
    far = content.read(FAR_BYTES)
    walk = _Walk(name, rec.byte_order(far, name), chunk_bytes, findings, by_die)
    rest = b""
    while block := content.read(min(BLOCK_BYTES, max(1, chunk_bytes // 8))):
        data = rest + block
        rest = data[walk.run(data) :]
    return walk.finish(rest, content.checksum, far)
