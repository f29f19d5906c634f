"""The parts of an STDF file as its records pass: which PRRs are parts, and which insertion of each unit is the last."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from struct import Struct, pack
from typing import Any

import numpy as np
import numpy.typing as npt

from gpwarehouse.sources.stdf_wafers import OpenWafers, text_at

__all__ = ["NO_BIN", "NO_COORDINATE", "PartLog", "count_insertions"]

NO_COORDINATE = -32768  # PRR X_COORD, Y_COORD: "missing/invalid data flag" (STDF V4, "PRR")
NO_BIN = 65535  # PRR HARD_BIN, SOFT_BIN: none
NOTHING_EXECUTED = (0, 65535)  # PRR NUM_TEST of a record that is not a part
NO_SITE = 255
SUPERSEDES_ID = 0x01  # PRR PART_FLG bit 0


@dataclass
class PartLog:
    """One entry per PRR, and the parts that are open.

    :ivar by_die: whether X and Y are those of a wafer although no WIR says so.
    :ivar unfinished: number of PIRs without a PRR on their site; complete after :meth:`finish`.
    :ivar without_pir: (HEAD_NUM << 8 | SITE_NUM) of PRRs without a PIR → their number.
    """

    order: str
    wafers: OpenWafers
    by_die: bool = False
    wir_of_part: array[int] = field(default_factory=lambda: array("i"))
    x: array[int] = field(default_factory=lambda: array("h"))
    y: array[int] = field(default_factory=lambda: array("h"))
    part_no: array[int] = field(default_factory=lambda: array("i"))
    text_no: array[int] = field(default_factory=lambda: array("i"))
    hard_bin: array[int] = field(default_factory=lambda: array("H"))
    soft_bin: array[int] = field(default_factory=lambda: array("H"))
    is_part: array[int] = field(default_factory=lambda: array("b"))
    unfinished: int = 0
    without_pir: dict[int, int] = field(default_factory=dict)
    _parts: dict[tuple[int, bytes], int] = field(default_factory=dict)
    _count: int = 0
    _latest: dict[bytes, int] = field(default_factory=dict)
    _moved: set[int] = field(default_factory=set)
    _texts: dict[bytes, int] = field(default_factory=dict)
    _open: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._fields = Struct(self.order + "HHHhh").unpack_from  # NUM_TEST, HARD_BIN, SOFT_BIN, X_COORD, Y_COORD
        self._missing = pack(self.order + "HHHhh", 0, NO_BIN, NO_BIN, NO_COORDINATE, NO_COORDINATE)

    def begin(self, head: int, site: int, tests: int) -> None:
        """Process a PIR.

        :param tests: number of test records in the file before it.
        """
        key = head << 8 | site
        self.unfinished += key in self._open
        self._open[key] = tests

    def end(self, body: bytes, tests: int) -> None:
        """Process a PRR."""
        head, site = body[0], body[1]
        key = head << 8 | site
        begun = self._open.pop(key, -1)
        values = body if len(body) >= 13 else body + self._missing[len(body) - 3 :]
        executed, hard, soft, x, y = self._fields(values, 3)
        # A record that some testers write between test plans: no bins, nothing executed.
        is_part = (
            hard != NO_BIN
            or soft != NO_BIN
            or executed not in NOTHING_EXECUTED
            or not (site == NO_SITE or begun == tests)
        )
        if begun < 0 and is_part:
            self.without_pir[key] = self.without_pir.get(key, 0) + 1
        wafer = self.wafers.at(head, site) if is_part else -1
        part_no = text_no = -1
        if x == NO_COORDINATE or y == NO_COORDINATE or (wafer < 0 and not self.by_die):
            x = y = NO_COORDINATE
            part_no = self._number_part(key, wafer, body)
            text = text_at(body, 18 + body[17]) if wafer < 0 and len(body) > 17 else b""
            text_no = self._texts.setdefault(text, len(self._texts)) if text else -1
        self.x.append(x)
        self.y.append(y)
        self.part_no.append(part_no)
        self.text_no.append(text_no)
        self.hard_bin.append(hard)
        self.soft_bin.append(soft)
        self.is_part.append(is_part)
        self.wir_of_part.append(wafer)

    def _number_part(self, place: int, wafer: int, body: bytes) -> int:
        """Number a part without coordinates by its PART_ID; -1 without one.

        PART_ID is a counter, often of each site. A PRR that supersedes the part of the same PART_ID (PART_FLG bit 0) may be of
        another site. On a wafer nothing else makes two insertions one part.
        """
        name = text_at(body, 17)
        if not name:
            return -1
        if body[2] & SUPERSEDES_ID and name in self._latest:
            number = self._latest[name]
            if wafer < 0 and self._parts.get((place, name)) != number:
                self._parts[place, name] = number
                self._moved.add(number)
            return number
        number = self._count if wafer >= 0 else self._parts.setdefault((place, name), self._count)
        self._count += number == self._count
        self._latest[name] = number
        return number

    @property
    def unit_no(self) -> npt.NDArray[np.int32]:
        """Number of each part that head, site and PART_ID do not tell from the others; -1 of all others.

        These are parts of which a PRR on another site superseded one, and parts of a wafer without coordinates.
        """
        number, wafer = np.array(self.part_no, np.int32), np.array(self.wir_of_part, np.int32)
        own = (wafer >= 0) | np.isin(number, list(self._moved))
        return np.where(own, number, np.int32(-1))

    @property
    def has_unit_texts(self) -> bool:
        """Whether PART_TXT tells the parts apart: most texts come once or twice. A remark comes with every part."""
        distinct, count = len(self._texts), sum(number >= 0 for number in self.text_no)
        return 2 * distinct >= count and (distinct > 1 or count == 1)

    def finish(self) -> None:
        """Count the parts that are still open."""
        self.unfinished += len(self._open)
        self._open.clear()


def count_insertions(log: PartLog) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """Number the insertions of each unit in file order, and mark its last one.

    A unit is a die (wafer, X, Y). Without a wafer it is the part of that PART_TXT, such as a 2D code, else of that head, site and
    PART_ID: X and Y may then be those of fuses, or zeros. Without any of these every insertion is a unit of its own.
    PART_FLG bits 0 and 1 ("supersedes") are not needed: many testers never set them, including the one of the real lot in the
    tests.
    """
    ids = log.wafers.ids
    names: dict[bytes, int] = {}
    # A wafer that is visited twice in a file (two WIRs, one id) is one wafer; a visit without an id stays a wafer of its own.
    wafer_no = [names.setdefault(name or b"\0%d" % number, len(names)) for number, name in sorted(ids.items())]
    wir = np.array(log.wir_of_part, dtype=np.int32)
    wafer = np.array([*wafer_no, -1], dtype=np.int64)[wir] + 1  # index -1 reads the -1 at the end
    x = np.array(log.x, dtype=np.int64)
    y = np.array(log.y, dtype=np.int64)
    part = np.array(log.part_no, dtype=np.int64)
    if log.has_unit_texts:
        text = np.array(log.text_no, dtype=np.int64)
        part = np.where(text >= 0, text + (1 << 31), part)
    die = (1 << 32) | ((x + 32768) << 16) | (y + 32768)
    unit = (wafer << 33) | np.where(x != NO_COORDINATE, die, part)
    nameless = ((x == NO_COORDINATE) & (part < 0)) | (np.array(log.is_part, dtype=np.int8) == 0)
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
