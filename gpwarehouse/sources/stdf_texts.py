"""Texts and numbers of STDF as they are kept: Windows-1252 texts, the shortest decimals of float32, texts of a part as JSON.

GDR and DTR have no head and no site. They are kept with the part that ends next after them, which is of the same touchdown.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from gpwarehouse.sources.stdf_records import Header

__all__ = [
    "PartTexts",
    "append_texts",
    "clean_key",
    "flag_bytes",
    "shortest",
    "shortest_all",
    "texts_of_file",
    "tidy",
    "tidy_column",
    "write_texts",
]

_write_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_CONTROLS = frozenset(map(chr, range(0x80, 0xA0)))
_FOREIGN = {code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)}
_CP1252 = {code: char for code, char in _FOREIGN.items() if char != "\ufffd"}


def tidy(text: str | None) -> str | None:
    """Strip a text: STDF pads with blanks, and some testers with NUL. An empty text becomes None."""
    if text is None:
        return None
    return _fix_text(text).replace("\0", "").strip() or None


def _fix_text(text: str) -> str:
    """Read a text as Windows-1252 if it was read as Latin-1 and holds control characters there.

    STDF V4 allows ASCII only. Texts that are not UTF-8 arrive here as Latin-1; 0x96 is a dash on the tester's Windows.
    """
    return text if text.isascii() or _CONTROLS.isdisjoint(text) else text.translate(_CP1252)


def clean_key(text: str | None) -> str:
    """A text without what separates the fields of a list's key; empty without a text."""
    return (tidy(text) or "").replace("\x1e", " ").replace("\x1f", " ")


def flag_bytes(column: pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    """Convert a B*1 column to numbers; a missing byte is 0."""
    flags = np.zeros(len(column), dtype=np.uint8)
    at = 0
    for chunk in column.chunks:
        _, ends, data = chunk.buffers()
        size = len(chunk)
        if size and data is not None and data.size:
            offsets = np.frombuffer(ends, dtype=np.int32)[chunk.offset : chunk.offset + size + 1]
            there = offsets[1:] > offsets[:-1]
            flags[at : at + size][there] = np.frombuffer(data, dtype=np.uint8)[offsets[:-1][there]]
        at += size
    return flags


def shortest(value: float | None) -> float | None:
    """The decimal with the fewest digits that is read back as the same float32 (0.1, not 0.10000000149011612)."""
    return None if value is None or not math.isfinite(value) else float(str(np.float32(value)))


def shortest_all(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The same for an array of finite values.

    This is the tester's own number. Rounding to shortest decimals keeps the order of float32 values, so a comparison with
    limits that are rounded in the same way gives the tester's verdict.
    """
    decimals: npt.NDArray[np.float64] = pa.array(values).cast(pa.string()).cast(pa.float64()).to_numpy()
    return decimals


def generic_data(table: pa.Table) -> list[list[Any]]:
    """The fields of GDR records: numbers, texts, and bytes in hexadecimal; pad bytes are left out.

    A field that the record does not hold, because it ends early or its type is not defined, is None.
    """
    found: list[list[Any]] = []
    for lists in table["GEN_DATA"].chunks:
        fields = lists.flatten()
        types = fields.field("TYPE").to_pylist()
        columns = {name: fields.field(name).to_pylist() for name in GENERIC.intersection(types)}
        values = [_plain_value(kind, columns[kind][row]) if kind in columns else None for row, kind in enumerate(types)]
        ends = np.append(0, np.cumsum(lists.value_lengths().fill_null(0).to_numpy())).tolist()
        found += [
            [values[row] for row in range(start, end) if types[row] != PAD] for start, end in itertools.pairwise(ends)
        ]
    return found


GENERIC = frozenset({"U1", "U2", "U4", "I1", "I2", "I4", "R4", "R8", "Cn", "Bn", "Dn", "N1"})
PAD = "B0"


def _plain_value(kind: str, value: Any) -> Any:
    if isinstance(value, str):
        return _fix_text(value).replace("\0", "")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return value["bit_data"].hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return shortest(value) if kind == "R4" else value


@dataclass
class PartTexts:
    """Carries GDR and DTR records to the part that ends next after them.

    :ivar pending: what no part has ended after so far: name of the record type and content.
    """

    pending: list[tuple[str, Any]] = field(default_factory=list)

    def assign(self, tables: Mapping[str, pa.Table], ends: npt.NDArray[np.uint64]) -> list[list[tuple[str, Any]]]:
        """The texts of each part that ends in a run of records.

        :param ends: ``sequence_number`` of the PRRs of parts, ascending.
        """
        found: list[tuple[int, str, Any]] = []
        if "GDR" in tables:
            numbers = tables["GDR"]["sequence_number"].to_pylist()
            found += [(n, "GDR", data) for n, data in zip(numbers, generic_data(tables["GDR"]), strict=True)]
        if "DTR" in tables:
            numbers, texts = (tables["DTR"][name].to_pylist() for name in ("sequence_number", "TEXT_DAT"))
            found += [(n, "DTR", tidy(text) or "") for n, text in zip(numbers, texts, strict=True)]
        if not found and not (self.pending and len(ends)):
            return []
        parts: list[list[tuple[str, Any]]] = [[] for _ in range(len(ends) + 1)]
        parts[0] += self.pending
        found.sort(key=lambda entry: entry[0])
        for part, (_, name, content) in zip(
            np.searchsorted(ends, [entry[0] for entry in found]).tolist(), found, strict=True
        ):
            parts[part].append((name, content))
        self.pending = parts.pop()
        return parts


OF_PARTS = ("USER_TXT", "ROM_COD")
OF_FILE = {
    "MIR": (
        *("RTST_COD", "PROT_COD", "CMOD_COD", "TST_TEMP", "AUX_FILE", "DATE_COD", "OPER_FRQ", "SPEC_NAM", "SPEC_VER"),
        *("FLOW_ID", "SETUP_ID", "ENG_ID", "SUPR_NAM"),
    ),
    "MRR": ("DISP_COD", "USR_DESC", "EXC_DESC"),
    "WRR": ("WAFER_ID", "FRAME_ID", "USR_DESC", "EXC_DESC"),
}
"""Texts that have no column of their own."""


def texts_of_file(header: Header) -> tuple[dict[str, str], dict[str, Any]]:
    """The texts of a file that belong to all its parts, and those that its first part keeps."""
    mir = header.mir
    of_file: dict[str, Any] = {}
    for kind, records in (("MIR", [mir]), *((kind, header.summaries[kind]) for kind in ("MRR", "WRR"))):
        told = [{name: record[name] for name in OF_FILE[kind] if record.get(name)} for record in records]
        told = [texts for texts in told if texts.keys() - {"WAFER_ID"}]
        if told:
            of_file[kind] = told if kind == "WRR" else told[0]
    return {name: mir[name] for name in OF_PARTS if mir.get(name)}, of_file


def write_texts(entries: Sequence[tuple[str, Any]], texts: Mapping[str, Any]) -> str | None:
    """The JSON of a part: ``texts``, and the records of each type as a list; None without any."""
    whole = {name: value for name, value in texts.items() if value}
    for name, content in entries:
        whole.setdefault(name, []).append(content)
    return _write_json(whole) if whole else None


def append_texts(column: pa.ChunkedArray, entries: Sequence[tuple[str, Any]]) -> pa.Array:
    """Append records to the JSON of the last part."""
    texts = column.combine_chunks()
    if not entries or not len(texts):
        return texts
    last = texts[len(texts) - 1].as_py()
    return pa.concat_arrays(
        [texts.slice(0, len(texts) - 1), pa.array([write_texts(entries, json.loads(last or "{}"))], pa.string())]
    )


def tidy_column(column: pa.ChunkedArray) -> pa.Array:
    """Apply :func:`tidy` to a column of texts."""
    trimmed = pc.utf8_trim(column.combine_chunks(), " \t\r\n\0")
    if pc.any(pc.match_substring_regex(trimmed, "[\u0000\u0080-\u009f]")).as_py():
        return pa.array([tidy(text) for text in trimmed.to_pylist()], pa.string())
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)
