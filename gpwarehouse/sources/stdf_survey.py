"""First pass over an STDF file: is it whole, what is its checksum, who was tested how often.

Walking the record headers costs little and tells, before any row leaves, what an STDF file only says at its end:
whether it is complete (MRR), which insertion of a die is the last one, the names of the bins, the id of a wafer
(a WAFER_ID in the WRR supersedes the one in the WIR). What is kept is small: the few records that are not
per part, and 14 bytes per insertion while walking (9 afterwards), never a test result.
"""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources.stdf_stream import WAY_OUT, open_stream, read_exactly

__all__ = ["Chunk", "Survey", "survey"]

FAR_BYTES = 6
BLOCK_BYTES = 1 << 20
NO_COORDINATE = -32768  # PRR X_COORD, Y_COORD: "missing/invalid data flag" (STDF V4, "PRR")

# (REC_TYP, REC_SUB) as one number, STDF V4 "STDF Record Types"
MIR, MRR, SDR = 1 << 8 | 10, 1 << 8 | 20, 1 << 8 | 80
WIR, WRR, PRR = 2 << 8 | 10, 2 << 8 | 20, 5 << 8 | 20
HBR, SBR, WCR, TSR, FAR = 1 << 8 | 40, 1 << 8 | 50, 2 << 8 | 30, 10 << 8 | 30, 10
KEPT = frozenset({MIR, MRR, SDR, WIR, WRR, HBR, SBR, WCR, TSR})
PER_TEST = 15  # REC_TYP of PTR, MPR, FTR
SMALL_TYPES = ["MIR", "MRR", "SDR", "WIR", "WRR", "WCR", "HBR", "SBR", "TSR"]


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
    wir_of_part: npt.NDArray[np.int32]
    """Number of the WIR in force, -1 outside a wafer."""
    insertion_no: npt.NDArray[np.int32]
    is_final: npt.NDArray[np.bool_]


@dataclass
class _Walk:
    path: Path
    order: str
    chunk_bytes: int
    offset: int = FAR_BYTES
    record: int = 1
    small: bytearray = field(default_factory=bytearray)
    chunks: list[Chunk] = field(default_factory=list)
    chunk_start: tuple[int, int] = (FAR_BYTES, 1)
    has_mir: bool = False
    has_mrr: bool = False
    wir_count: int = 0
    wir_of_wrr: list[int] = field(default_factory=list)
    wir_id: dict[int, bytes] = field(default_factory=dict)
    open_wafers: dict[int, dict[int, int]] = field(default_factory=dict)
    sites: dict[tuple[int, int], bytes] = field(default_factory=dict)
    wir_of_part: array[int] = field(default_factory=lambda: array("i"))
    x: array[int] = field(default_factory=lambda: array("h"))
    y: array[int] = field(default_factory=lambda: array("h"))
    part_no: array[int] = field(default_factory=lambda: array("i"))
    part_ids: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.header = Struct(self.order + "HBB").unpack_from
        self.coordinates = Struct(self.order + "hh").unpack_from

    def run(self, data: bytes) -> int:
        """Walk the whole records in ``data``; returns how many bytes they take."""
        header, at, end, record = self.header, 0, len(data) - 4, self.record
        while at <= end:
            length, typ, sub = header(data, at)
            after = at + 4 + length
            if after > end + 4:
                break
            if typ != PER_TEST:
                kind = typ << 8 | sub
                if kind == PRR:
                    self._part(data, at + 4, length)
                elif kind in KEPT:
                    self.small += data[at:after]
                    self._small(kind, data[at + 4 : after], self.offset + at)
                elif kind == FAR:
                    self._refuse_second("FAR", self.offset + at)
            at = after
            record += 1
        self.offset += at
        self.record = record
        start, first = self.chunk_start
        if self.offset - start >= self.chunk_bytes:
            self._cut(start, first)
        return at

    def _cut(self, start: int, first: int) -> None:
        if self.offset > start:
            self.chunks.append(Chunk(start, self.offset - start, first))
        self.chunk_start = (self.offset, self.record)

    def _refuse_second(self, name: str, offset: int) -> None:
        raise SourceFormatError(
            f"{self.path.name}: a second {name} at byte {offset}: these are several STDF files joined into one. "
            "Nothing of it was loaded. Split it at its FAR records and load the parts one by one."
        )

    def _small(self, kind: int, body: bytes, offset: int) -> None:
        if kind == MIR:
            if self.has_mir:
                self._refuse_second("MIR", offset)
            self.has_mir = True
        elif kind == MRR:
            self.has_mrr = True
        elif kind == SDR and len(body) >= 3:
            self.sites[body[0], body[1]] = body[3 : 3 + body[2]]
        elif kind == WIR:
            head, group = body[:2].ljust(2, b"\xff")
            self.open_wafers.setdefault(head, {})[group] = self.wir_count
            self.wir_id[self.wir_count] = _text(body, 6)
            self.wir_count += 1
        elif kind == WRR:
            head, group = body[:2].ljust(2, b"\xff")
            wafers = self.open_wafers.get(head, {})
            number = wafers.pop(group, -1)
            if number < 0 and len(wafers) == 1:  # the SITE_GRP differs between WIR and WRR: some testers do
                number = wafers.popitem()[1]
            self.wir_of_wrr.append(number)
            if number >= 0 and (name := _text(body, 26)):
                self.wir_id[number] = name

    def _part(self, data: bytes, at: int, length: int) -> None:
        head, site = (data[at], data[at + 1]) if length >= 2 else (0, 0)
        x, y = self.coordinates(data, at + 9) if length >= 13 else (NO_COORDINATE, NO_COORDINATE)
        part_no = -1
        if x == NO_COORDINATE or y == NO_COORDINATE:
            x = y = NO_COORDINATE
            name = _text(data[at : at + length], 17)
            if name:
                part_no = self.part_ids.setdefault(name, len(self.part_ids))
        self.x.append(x)
        self.y.append(y)
        self.part_no.append(part_no)
        self.wir_of_part.append(self._wafer_of(head, site))

    def _wafer_of(self, head: int, site: int) -> int:
        wafers = self.open_wafers.get(head)
        if not wafers:
            return -1
        if len(wafers) > 1:
            for group, number in wafers.items():
                if site in self.sites.get((head, group), b""):
                    return number
        return next(reversed(wafers.values()))

    def finish(self, rest: bytes, checksum: str, far: bytes) -> Survey:
        self._complete(rest)
        self._cut(*self.chunk_start)
        wir = np.array(self.wir_of_part, dtype=np.int32)
        insertion_no, is_final = _count_insertions(self, wir)
        return Survey(
            checksum=checksum,
            far=far,
            small=bytes(self.small),
            chunks=self.chunks,
            wir_of_wrr=self.wir_of_wrr,
            wir_of_part=wir,
            insertion_no=insertion_no,
            is_final=is_final,
        )

    def _complete(self, rest: bytes) -> None:
        name = self.path.name
        if rest and not (self.has_mrr and not rest.strip(b"\0")):  # NUL padding after the MRR: tape blocks
            what = "a record header"
            if len(rest) >= 4:
                length, typ, sub = self.header(rest, 0)
                what = f"a record (type {typ}, sub-type {sub}) of {4 + length} bytes"
            raise SourceFormatError(
                f"{name} ends early: {what} begins at byte {self.offset}, but only {len(rest)} bytes follow. {WAY_OUT}"
            )
        if not self.has_mir:
            raise SourceFormatError(
                f"{name} has no MIR record in its {self.offset} bytes: no lot, no program. {WAY_OUT}"
            )
        if not self.has_mrr:
            raise SourceFormatError(
                f"{name} ends early: at byte {self.offset}, after record {self.record - 1}, the MRR that closes "
                f"every STDF file is missing. {WAY_OUT}"
            )


def _text(body: bytes, at: int) -> bytes:
    """The Cn field at ``at`` (length byte, then the characters), stripped; empty where the record ends before."""
    if at >= len(body):
        return b""
    return body[at + 1 : at + 1 + body[at]].strip(b" \t\r\n\0")


def _count_insertions(walk: _Walk, wir: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """Number the insertions of each unit in file order, and mark its last one.

    A unit is a die (wafer, X, Y); without coordinates a part (wafer, PART_ID); without either every insertion
    is a unit of its own. PART_FLG bits 0 and 1 ("supersedes") are not needed for this, and not trusted: many
    testers never set them, the real lot among the checks included.
    """
    names: dict[bytes, int] = {}
    # A wafer visited twice in a file (two WIRs, one id) is one wafer; one without any id stays on its own.
    wafer_no = [names.setdefault(name or b"\0%d" % number, len(names)) for number, name in sorted(walk.wir_id.items())]
    wafer = np.array([*wafer_no, -1], dtype=np.int64)[wir] + 1  # index -1 reads the -1 at the end
    x = np.array(walk.x, dtype=np.int64)
    y = np.array(walk.y, dtype=np.int64)
    part = np.array(walk.part_no, dtype=np.int64)
    die = (1 << 32) | ((x + 32768) << 16) | (y + 32768)
    unit = (wafer << 33) | np.where(x != NO_COORDINATE, die, part)
    nameless = (x == NO_COORDINATE) & (part < 0)
    unit[nameless] = -1 - np.flatnonzero(nameless)
    order = np.argsort(unit, kind="stable")
    ordered = unit[order]
    first = np.ones(len(unit), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(first)
    rank = np.arange(len(unit)) - np.repeat(starts, np.diff(np.append(starts, len(unit))))
    insertion_no = np.empty(len(unit), dtype=np.int32)
    insertion_no[order] = rank + 1
    is_final = np.empty(len(unit), dtype=bool)
    is_final[order] = np.append(first[1:], True)[: len(unit)]
    return insertion_no, is_final


def survey(path: Path, chunk_bytes: int) -> Survey:
    """Walk the file once.

    Args:
        path: an STDF V4 file, plain or compressed.
        chunk_bytes: cut the file into runs of whole records of about this size.

    Raises:
        SourceFormatError: no STDF V4, ends early, has no MRR, or is several files in one.
    """
    digest = hashlib.sha256()
    with open_stream(path) as stream:
        far = read_exactly(stream, FAR_BYTES)
        digest.update(far)
        walk = _Walk(path, _byte_order(far, path), chunk_bytes)
        rest = b""
        while block := stream.read(min(BLOCK_BYTES, max(1, chunk_bytes // 8))):
            digest.update(block)
            data = rest + block
            rest = data[walk.run(data) :]
    return walk.finish(rest, digest.hexdigest(), far)


def _byte_order(far: bytes, path: Path) -> str:
    """``>`` or ``<`` by FAR.CPU_TYPE: 1 = Sun (big-endian), 2 = PC (little-endian)."""
    if far[:4] not in (b"\x02\x00\x00\x0a", b"\x00\x02\x00\x0a") and far != b"":
        if len(far) < 4 and (b"\x02\x00\x00\x0a".startswith(far) or b"\x00\x02\x00\x0a".startswith(far)):
            raise SourceFormatError(f"{path.name} ends early, at byte {len(far)}, within the FAR record. {WAY_OUT}")
        raise SourceFormatError(
            f"{path.name} is no STDF file: at byte 0 a FAR record (02 00 00 0a or 00 02 00 0a) is due, "
            f"found {far.hex(' ')}. Nothing of it was loaded. Check that this is the tester's binary datalog."
        )
    if len(far) < FAR_BYTES:
        raise SourceFormatError(f"{path.name} ends early, at byte {len(far)}, within the FAR record. {WAY_OUT}")
    order = {(1, 0): ">", (2, 2): "<"}.get((far[4], far[0]))
    if order is None or far[5] != 4:
        raise SourceFormatError(
            f"{path.name}: FAR at byte 0 says CPU_TYPE {far[4]}, STDF version {far[5]}; read are version 4 with "
            "CPU_TYPE 1 (big-endian) or 2 (little-endian). Nothing of it was loaded. Convert it to STDF V4."
        )
    return order
