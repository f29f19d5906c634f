"""The records that an STDF file may hold, and the minimum length of each: the first things that damage breaks.

Record types are those of STDF V4 and V4-2007 ("STDF Record Types"). Where a block was lost, zeroed or written twice, the bytes
in the place of a record header rarely form one of these types.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources.stdf_stream import WAY_OUT

__all__ = ["FAR_BYTES", "SHORTEST", "Findings", "byte_order", "is_user_record", "type_name"]

FAR_BYTES = 6

# (REC_TYP, REC_SUB) as one number
FAR, MIR, MRR, PCR = 10, 1 << 8 | 10, 1 << 8 | 20, 1 << 8 | 30
HBR, SBR, SDR = 1 << 8 | 40, 1 << 8 | 50, 1 << 8 | 80
PMR, RDR = 1 << 8 | 60, 1 << 8 | 70
WIR, WRR, WCR = 2 << 8 | 10, 2 << 8 | 20, 2 << 8 | 30
PIR, PRR, TSR = 5 << 8 | 10, 5 << 8 | 20, 10 << 8 | 30
PTR, MPR, FTR, STR = 15 << 8 | 10, 15 << 8 | 15, 15 << 8 | 20, 15 << 8 | 30

SHORTEST = {
    FAR: 2,
    20: 4,  # ATR
    30: 0,  # VUR, V4-2007
    MIR: 15,
    MRR: 4,
    PCR: 6,
    HBR: 8,
    SBR: 8,
    PMR: 2,
    1 << 8 | 62: 2,  # PGR
    1 << 8 | 63: 2,  # PLR
    RDR: 0,
    SDR: 3,
    1 << 8 | 90: 0,  # PSR, NMR, CNR, SSR, CDR: V4-2007
    1 << 8 | 91: 0,
    1 << 8 | 92: 0,
    1 << 8 | 93: 0,
    1 << 8 | 94: 0,
    WIR: 2,
    WRR: 10,
    WCR: 0,
    PIR: 2,
    PRR: 7,
    TSR: 7,
    PTR: 8,
    MPR: 8,
    FTR: 7,
    STR: 8,
    20 << 8 | 10: 0,  # BPS
    20 << 8 | 20: 0,  # EPS
    50 << 8 | 10: 2,  # GDR
    50 << 8 | 30: 1,  # DTR
}
"""Record type → bytes of the fields that no tester may omit."""

_LAYOUTS = {b"\x02\x00\x00\x0a": "<", b"\x00\x02\x00\x0a": ">"}
_ENDIAN = {"<": "little-endian", ">": "big-endian"}
_CPU_TYPES = {1: ">", 2: "<"}


def is_user_record(typ: int) -> bool:
    """Whether a REC_TYP is reserved for a vendor's own records: 180 and 181."""
    return typ in (180, 181)


def type_name(kind: int) -> str:
    """The name ``5/20`` of a record type that is given as one number."""
    return f"{kind >> 8}/{kind & 0xFF}"


@dataclass
class Findings:
    """Faults found in a file: an error, or a warning if the caller allows it.

    :ivar allow_incomplete: whether an incomplete file is read as far as possible.
    :ivar warnings: what was allowed, dropped or guessed so far, one sentence each.
    """

    name: str
    allow_incomplete: bool = False
    warnings: list[str] = field(default_factory=list)

    def refuse(self, what: str) -> None:
        """Raise an error, or add a warning if incomplete files are allowed.

        :raises SourceFormatError: the file is refused; the message says how to load what can be read.
        """
        if not self.allow_incomplete:
            raise SourceFormatError(
                f"{self.name}: {what}. {WAY_OUT} To load what can be read of it, give allow_incomplete=True "
                "(command line: --allow-incomplete)."
            )
        self.warn(what)

    def warn(self, what: str) -> None:
        """Add a warning, once."""
        if what not in self.warnings:
            self.warnings.append(what)


def byte_order(far: bytes, name: str) -> str:
    """The byte order, ``>`` or ``<``, from FAR.CPU_TYPE: 1 = Sun (big-endian), 2 = PC (little-endian).

    :raises SourceFormatError: it is not a FAR, or one of another version or machine.
    """
    layout = _LAYOUTS.get(far[:4])
    if layout is None and far and not (len(far) < 4 and any(head.startswith(far) for head in _LAYOUTS)):
        raise SourceFormatError(
            f"{name} is not an STDF file: it begins with {far.hex(' ')} instead of a FAR record (02 00 00 0a or "
            "00 02 00 0a). Nothing of it was loaded. Check that this is the tester's binary datalog."
        )
    if layout is None or len(far) < FAR_BYTES:
        raise SourceFormatError(f"{name} ends early, at byte {len(far)}, within the FAR record. {WAY_OUT}")
    order = _CPU_TYPES.get(far[4])
    if order is None or far[5] != 4:
        raise SourceFormatError(
            f"{name}: FAR at byte 0 says CPU_TYPE {far[4]}, STDF version {far[5]}; supported are version 4 and "
            "CPU_TYPE 1 (big-endian) or 2 (little-endian). Nothing of it was loaded. Convert it to STDF V4."
        )
    if order != layout:
        raise SourceFormatError(
            f"{name}: FAR at byte 0 says CPU_TYPE {far[4]}, STDF version 4, which is {_ENDIAN[order]}, but its own length, "
            f"{far[:2].hex(' ')}, is {_ENDIAN[layout]}. Nothing of it was loaded. If its records are {_ENDIAN[layout]}, "
            f"byte 4 must be {2 if layout == '<' else 1}: correct the converter that wrote the file."
        )
    return order
