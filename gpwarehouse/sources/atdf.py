"""Read ATDF, the text form of STDF, as the STDF V4 records that it stands for.

A record is a line: ``PTR:1000|1|0|0.5|P||VREF|||V|0.1|1.0``. The orders of the fields are ATDF's own; they are those of the ATDF
files at hand, and of the records that the library Semi-ATE STDF writes ("ATDF" specification, Teradyne). A line that begins with
a blank continues the last one. The records go through the reader of STDF, so checks, units and lists are the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources.stdf import StdfSource
from gpwarehouse.sources.stdf_framing import Findings
from gpwarehouse.sources.stdf_stream import WAY_OUT, Content, open_stream
from gpwarehouse.sources.stdf_writer import NO_COUNT, SDR_TEXTS, StdfWriter

__all__ = ["AtdfContent", "AtdfSource"]

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
ANY = 255
# Letters of a test's alarm flags → bits of TEST_FLG and of PARM_FLG.
TEST_LETTERS = {"A": 0x01, "U": 0x04, "T": 0x08, "N": 0x10, "X": 0x20}
PARAMETER_LETTERS = {"S": 0x01, "D": 0x02, "O": 0x04, "H": 0x08, "L": 0x10}
NO_VALUE, NO_VERDICT, TEST_FAILED = 0x02, 0x40, 0x80
ALTERNATE_LIMITS, LOW_PASSES, HIGH_PASSES = 0x20, 0x40, 0x80
PART_FLAGS = {"I": 0x01, "C": 0x02}  # the PRR supersedes the part of its PART_ID, of its coordinates
PART_ABORTED, PART_FAILED, PART_NO_VERDICT = 0x04, 0x08, 0x10

MIR_TEXTS_AFTER = (
    *("exec_typ", "exec_ver", "prot_cod", "cmod_cod", "burn_tim", "tst_temp", "user_txt", "aux_file", "pkg_typ"),
    *("famly_id", "date_cod", "facil_id", "floor_id", "proc_id", "oper_frq", "spec_nam", "spec_ver", "flow_id"),
    *("setup_id", "dsgn_rev", "eng_id", "rom_cod", "serl_num", "supr_nam"),
)
SKIPPED = frozenset({"ATR", "VUR", "PGR", "PLR", "BPS", "EPS", "PSR", "NMR", "CNR", "SSR", "CDR"})
"""Records without anything that the warehouse keeps."""
GENERIC = {"U": int, "M": int, "B": int, "I": int, "S": int, "L": int, "F": float, "D": float}


class AtdfSource(StdfSource):
    """An ATDF file as a source. Parameters, errors and columns are those of :class:`gpwarehouse.sources.stdf.StdfSource`.

    Its checksum is that of the text. Positions in messages are those of the STDF records that the lines stand for.
    """

    source_system = "ATDF"

    def _open(self, keep: int = 0) -> AbstractContextManager[Content]:
        return open_atdf(self.path, self._findings, keep)


@contextmanager
def open_atdf(path: Path, findings: Findings, keep: int = 0) -> Iterator[Content]:
    """Open an ATDF file as the STDF that it stands for."""
    with open_stream(path) as stream:
        yield AtdfContent(stream, path.name, findings, keep)


class _Fields:
    """The fields of a record, by their place from 0."""

    def __init__(self, texts: list[str], where: str) -> None:
        self.texts = texts
        self.where = where

    def text(self, at: int) -> str:
        """The field, stripped; empty if the record ends before it.

        :raises SourceFormatError: STDF cannot hold it.
        """
        text = self.texts[at].strip() if at < len(self.texts) else ""
        if len(text.encode()) > 255:
            raise SourceFormatError(
                f"{self.where}: field {at + 1} has more than 255 bytes, the most of STDF. {WAY_OUT}"
            )
        return text

    def number(self, at: int, missing: Any, kind: Callable[[str], Any] = int) -> Any:
        """The field as a number; ``missing`` if it is empty."""
        text = self.text(at)
        try:
            return kind(text) if text else missing
        except ValueError:
            raise SourceFormatError(f"{self.where}: field {at + 1}, {text!r}, is no number. {WAY_OUT}") from None

    def numbers(self, at: int, kind: Callable[[str], Any] = int) -> list[Any]:
        """The numbers of a field, separated by commas."""
        try:
            return [kind(text) for text in self.texts[at].split(",") if text.strip()] if at < len(self.texts) else []
        except ValueError:
            raise SourceFormatError(f"{self.where}: field {at + 1} has a text among its numbers. {WAY_OUT}") from None

    def time(self, at: int) -> int:
        """A time such as ``8:14:59 23-JUL-1992`` in seconds from 1970; 0 if the field is empty."""
        text = self.text(at)
        if not text:
            return 0
        try:
            clock, day = text.split()
            number, month, year = day.split("-")
            hour, minute, second = map(int, clock.split(":"))
            moment = datetime(int(year), MONTHS.index(month.upper()) + 1, int(number), hour, minute, second)
        except ValueError:
            raise SourceFormatError(
                f"{self.where}: field {at + 1}, {text!r}, is no time such as 8:14:59 23-JUL-1992. {WAY_OUT}"
            ) from None
        return int(moment.replace(tzinfo=UTC).timestamp())


class _Sink:
    def __init__(self) -> None:
        self.made = bytearray()

    def write(self, data: bytes) -> int:
        self.made += data
        return len(data)


class AtdfContent(Content):
    """The STDF records of an ATDF file. ``checksum`` is that of the text.

    :param stream: the text, decompressed.
    :param name: name of the file, for messages.
    :param findings: collects the warnings, and says whether records that ATDF does not define are skipped.
    :param keep: number of bytes up to which the records stay in memory.
    """

    def __init__(self, stream: IO[bytes], name: str, findings: Findings, keep: int = 0) -> None:
        super().__init__(stream, keep)
        self._name = name
        self._findings = findings
        self._sink = _Sink()
        self._out = StdfWriter(cast("IO[bytes]", self._sink))
        self._open: set[tuple[int, int]] = set()
        self._last = ""
        self._ended = self._has_end = False
        self._records = self._read_records()

    def read(self, count: int) -> bytes:
        """Read ``count`` bytes of STDF; fewer only at the end."""
        made = self._sink.made
        while len(made) < count and not self._ended:
            record = next(self._records, None)
            if record is None:
                self._finish()
            else:
                self._convert(*record)
        data = bytes(made[:count])
        del made[:count]
        self._add(data)
        return data

    def _read_lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of each record, with the lines that continue it."""
        begun, number = [""], 0
        for line_no, line in enumerate(iter(self._stream.readline, b""), start=1):
            self._digest.update(line)
            self._last = line[-1:].decode("latin-1")
            text = _decode(line).rstrip("\r\n\0")
            if text[:1] in (" ", "\t") and number:
                begun.append(text[1:])
                continue
            if number and begun != [""]:
                yield number, "".join(begun)
            begun, number = [text], line_no
        if begun != [""]:
            yield number, "".join(begun)

    def _read_records(self) -> Iterator[tuple[str, _Fields]]:
        separator = "|"
        for number, text in self._read_lines():
            kind, _, fields = text.partition(":")
            if kind == "FAR":
                separator = fields[1:2] or "|"
            if text.strip():
                yield kind, _Fields(fields.split(separator), f"{self._name}, line {number}: {kind}")

    def _convert(self, kind: str, fields: _Fields) -> None:
        convert = getattr(self, f"_write_{kind.lower()}", None)
        if convert is not None and len(kind) == 3:
            try:
                convert(fields)
            except (ValueError, OverflowError, struct.error) as error:
                raise SourceFormatError(f"{fields.where}: a number is out of range ({error}). {WAY_OUT}") from error
        elif kind not in SKIPPED:
            self._findings.refuse(f"{fields.where[:80]!r} begins no record that ATDF defines")

    def _finish(self) -> None:
        self._ended = True
        if self._has_end or self._open or self._last != "\n":
            return
        self._findings.warn("there is no MRR, which is the last record of a complete file; no part is open at its end")
        self._out.mrr()

    def _write_far(self, fields: _Fields) -> None:
        pass  # the writer has made its own

    def _write_mir(self, fields: _Fields) -> None:
        texts = {
            name: fields.text(at)
            for name, at in (
                *(("lot_id", 0), ("part_typ", 1), ("job_nam", 2), ("node_nam", 3), ("tstr_typ", 4), ("oper_nam", 7)),
                *(("sblot_id", 10), ("test_cod", 11), ("job_rev", 13)),
            )
        }
        texts |= {name: fields.text(at) for at, name in enumerate(MIR_TEXTS_AFTER, start=14)}
        del texts["prot_cod"], texts["cmod_cod"], texts["burn_tim"]
        self._out.mir(
            setup_t=fields.time(5),
            start_t=fields.time(6),
            mode_cod=fields.text(8),
            stat_num=fields.number(9, 0),
            rtst_cod=fields.text(12),
            prot_cod=fields.text(16),
            cmod_cod=fields.text(17),
            burn_tim=fields.number(18, 65535),
            **texts,
        )

    def _write_mrr(self, fields: _Fields) -> None:
        self._has_end = True
        self._out.mrr(
            finish_t=fields.time(0), disp_cod=fields.text(1), usr_desc=fields.text(2), exc_desc=fields.text(3)
        )

    def _write_sdr(self, fields: _Fields) -> None:
        texts = {name: fields.text(at) for at, name in enumerate(SDR_TEXTS, start=3)}
        self._out.sdr(head=fields.number(0, 1), site_grp=fields.number(1, ANY), sites=fields.numbers(2), **texts)

    def _write_pmr(self, fields: _Fields) -> None:
        self._out.pmr(
            fields.number(0, 0),
            chan_typ=fields.number(1, 0),
            chan_nam=fields.text(2),
            phy_nam=fields.text(3),
            log_nam=fields.text(4),
            head=fields.number(5, 1),
            site=fields.number(6, 1),
        )

    def _write_rdr(self, fields: _Fields) -> None:
        self._out.rdr(fields.numbers(0))

    def _write_wcr(self, fields: _Fields) -> None:
        self._out.wcr(
            wf_flat=fields.text(0),
            pos_x=fields.text(1),
            pos_y=fields.text(2),
            wafr_siz=fields.number(3, 0.0, float),
            die_ht=fields.number(4, 0.0, float),
            die_wid=fields.number(5, 0.0, float),
            wf_units=fields.number(6, 0),
            center_x=fields.number(7, -32768),
            center_y=fields.number(8, -32768),
        )

    def _write_wir(self, fields: _Fields) -> None:
        self._out.wir(
            head=fields.number(0, 1),
            start_t=fields.time(1),
            site_grp=fields.number(2, ANY),
            wafer_id=fields.text(3),
        )

    def _write_wrr(self, fields: _Fields) -> None:
        counts: dict[str, Any] = {
            name: fields.number(at, NO_COUNT)
            for name, at in (("part_cnt", 2), ("rtst_cnt", 5), ("abrt_cnt", 6), ("good_cnt", 7), ("func_cnt", 8))
        }
        names = ("fabwf_id", "frame_id", "mask_id", "usr_desc", "exc_desc")
        texts = {name: fields.text(at) for at, name in enumerate(names, start=9)}
        self._out.wrr(
            head=fields.number(0, 1),
            finish_t=fields.time(1),
            wafer_id=fields.text(3),
            site_grp=fields.number(4, ANY),
            **(counts | texts),
        )

    def _place(self, fields: _Fields, at: int = 0) -> dict[str, Any]:
        return {"head": fields.number(at, 1), "site": fields.number(at + 1, 1)}

    def _write_pir(self, fields: _Fields) -> None:
        place = self._place(fields)
        self._open.add((place["head"], place["site"]))
        self._out.pir(**place)

    def _write_prr(self, fields: _Fields) -> None:
        place = self._place(fields)
        self._open.discard((place["head"], place["site"]))
        verdict = fields.text(4)
        flag = 0 if verdict == "P" else PART_FAILED if verdict == "F" else PART_NO_VERDICT
        flag |= sum(PART_FLAGS.get(letter, 0) for letter in set(fields.text(9)))
        self._out.prr(
            **place,
            part_flg=flag | (PART_ABORTED if fields.text(10) == "Y" else 0),
            num_test=fields.number(3, 65535),
            hard_bin=fields.number(5, 65535),
            soft_bin=fields.number(6, None),
            x=fields.number(7, None),
            y=fields.number(8, None),
            test_t=fields.number(11, 0),
            part_id=fields.text(2),
            part_txt=fields.text(12),
        )

    def _flags(self, fields: _Fields, at: int, compare: int | None = None) -> dict[str, Any]:
        """TEST_FLG and PARM_FLG from the verdict, the letters after it, and the comparison with the limits."""
        verdict, letters = fields.text(at), set(fields.text(at + 1))
        flag = TEST_FAILED if "F" in verdict else 0 if verdict else NO_VERDICT
        flag |= sum(TEST_LETTERS.get(letter, 0) for letter in letters)
        if compare is None:
            return {"test_flg": flag}
        parameter = sum(PARAMETER_LETTERS.get(letter, 0) for letter in letters)
        parameter |= ALTERNATE_LIMITS if "A" in verdict else 0
        equal = fields.text(compare)
        parameter |= (LOW_PASSES if "L" in equal else 0) | (HIGH_PASSES if "H" in equal else 0)
        return {"test_flg": flag, "parm_flg": parameter}

    def _limits(self, fields: _Fields, text: int, units: int) -> dict[str, Any]:
        """Text, unit and limits; what is empty is that of the first record."""
        low, high = (fields.number(at, None, float) for at in (units + 1, units + 2))
        unit = fields.text(units) or None
        given = any(value is not None for value in (low, high, unit))
        inherited = (0x10 if low is None else 0) | (0x20 if high is None else 0)
        return {
            "test_txt": fields.text(text) or None,
            "units": unit,
            "lo_limit": low,
            "hi_limit": high,
            "opt_flag": 0x0E | inherited if given else None,
        }

    def _write_ptr(self, fields: _Fields) -> None:
        flags = self._flags(fields, 4, compare=8)
        result = fields.number(3, None, float)
        if result is None:
            flags["test_flg"] |= NO_VALUE
        self._out.ptr(
            fields.number(0, 0), result or 0.0, **self._place(fields, 1), **flags, **self._limits(fields, 6, 9)
        )

    def _write_mpr(self, fields: _Fields) -> None:
        self._out.mpr(
            fields.number(0, 0),
            fields.numbers(4, float),
            **self._place(fields, 1),
            **self._flags(fields, 5, compare=9),
            **self._limits(fields, 7, 10),
            rtn_indx=fields.numbers(16) or None,
        )

    def _write_ftr(self, fields: _Fields) -> None:
        self._out.ftr(
            fields.number(0, 0),
            **self._place(fields, 1),
            **self._flags(fields, 3),
            test_txt=fields.text(20),
        )

    def _write_tsr(self, fields: _Fields) -> None:
        self._out.tsr(
            fields.number(2, 0),
            head=fields.number(0, ANY),
            site=fields.number(1, 0),
            test_nam=fields.text(3),
            test_typ=fields.text(4),
            exec_cnt=fields.number(5, NO_COUNT),
            fail_cnt=fields.number(6, NO_COUNT),
            test_tim=fields.number(10, None, float),
        )

    def _write_pcr(self, fields: _Fields) -> None:
        self._out.pcr(
            fields.number(2, NO_COUNT),
            head=fields.number(0, ANY),
            site=fields.number(1, 0),
            rtst_cnt=fields.number(3, NO_COUNT),
            abrt_cnt=fields.number(4, NO_COUNT),
            good_cnt=fields.number(5, NO_COUNT),
            func_cnt=fields.number(6, NO_COUNT),
        )

    def _write_hbr(self, fields: _Fields) -> None:
        self._write_bin(self._out.hbr, fields)

    def _write_sbr(self, fields: _Fields) -> None:
        self._write_bin(self._out.sbr, fields)

    def _write_bin(self, write: Callable[..., None], fields: _Fields) -> None:
        write(
            fields.number(2, 65535),
            fields.number(3, NO_COUNT),
            fields.text(4),
            fields.text(5),
            head=fields.number(0, ANY),
            site=fields.number(1, 0),
        )

    def _write_gdr(self, fields: _Fields) -> None:
        values: list[int | float | str] = []
        for at in range(len(fields.texts)):
            text = fields.text(at)
            read = GENERIC.get(text[:1])
            values.append(read(text[1:]) if read is not None else text[1:])
        self._out.gdr(*values)

    def _write_dtr(self, fields: _Fields) -> None:
        self._out.dtr(fields.text(0))


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace")
