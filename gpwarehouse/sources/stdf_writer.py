"""Write STDF V4 files, for the demo, tests and generators. It needs only the standard library.

>>> with StdfWriter("lot.stdf.gz") as out:                      # doctest: +SKIP
...     out.mir(lot_id="L1", part_typ="CHIP", job_nam="PROG", start_t=1_700_000_000)
...     out.pir(head=1, site=0)
...     out.ptr(1000, 0.5, head=1, site=0, lo_limit=0.0, hi_limit=1.0, units="V")
...     out.prr(head=1, site=0, hard_bin=1, soft_bin=1, part_id="1")
...     out.mrr(finish_t=1_700_000_900)

Field names are those of the specification in lower case. A field that is ``None`` is written as its "missing" mark.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from struct import pack
from types import TracebackType
from typing import IO, Literal, Self, cast

__all__ = ["BIG_ENDIAN", "LITTLE_ENDIAN", "MIR_TEXTS", "StdfWriter"]

BIG_ENDIAN: Literal[">"] = ">"
"""FAR.CPU_TYPE 1: Sun, most testers of the nineties."""
LITTLE_ENDIAN: Literal["<"] = "<"
"""FAR.CPU_TYPE 2: PC."""

NO_COORDINATE, NO_COUNT, NO_BIN = -32768, 4294967295, 65535

MIR_TEXTS = [
    "lot_id",
    "part_typ",
    "node_nam",
    "tstr_typ",
    "job_nam",
    "job_rev",
    "sblot_id",
    "oper_nam",
    "exec_typ",
    "exec_ver",
    "test_cod",
    "tst_temp",
    "user_txt",
    "aux_file",
    "pkg_typ",
    "famly_id",
    "date_cod",
    "facil_id",
    "floor_id",
    "proc_id",
    "oper_frq",
    "spec_nam",
    "spec_ver",
    "flow_id",
    "setup_id",
    "dsgn_rev",
    "eng_id",
    "rom_cod",
    "serl_num",
    "supr_nam",
]
"""The text fields of the MIR, in file order."""

SDR_TEXTS = [
    "hand_typ",
    "hand_id",
    "card_typ",
    "card_id",
    "load_typ",
    "load_id",
    "dib_typ",
    "dib_id",
    "cabl_typ",
    "cabl_id",
    "cont_typ",
    "cont_id",
    "lasr_typ",
    "lasr_id",
    "extr_typ",
    "extr_id",
]


def _encode_cn(text: str | None) -> bytes:
    """Encode a Cn field: length byte and up to 255 characters."""
    data = (text or "").encode("utf-8")
    if len(data) > 255:
        raise ValueError(f"an STDF text holds at most 255 bytes, but this one has {len(data)}: {text!r:.60}")
    return bytes((len(data),)) + data


def _encode_c1(text: str | None) -> bytes:
    """Encode a C1 field: one character; a blank if it is missing."""
    return (text or " ").encode("latin-1")[:1]


class StdfWriter:
    """Writes records in the order of the calls. FAR is written at once. A name that ends in ``.gz`` is compressed.

    The same calls write the same bytes, compressed or not.

    :param target: path, or a binary stream opened for writing (it is left open).
    :param byte_order: :data:`LITTLE_ENDIAN` (default) or :data:`BIG_ENDIAN`.
    """

    def __init__(self, target: str | PathLike[str] | IO[bytes], byte_order: Literal["<", ">"] = LITTLE_ENDIAN) -> None:
        self.byte_order = byte_order
        self._close: list[IO[bytes]] = []
        self._out = self._open(target)
        self.record(0, 10, bytes((2 if byte_order == LITTLE_ENDIAN else 1, 4)))

    def _open(self, target: str | PathLike[str] | IO[bytes]) -> IO[bytes]:
        if not isinstance(target, str | PathLike):
            return target
        path = Path(target)
        raw = path.open("wb")
        self._close.append(raw)
        if path.suffix != ".gz":
            return raw
        # The gzip header has no name and no time, so that the same content is the same file.
        packed = cast("IO[bytes]", gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
        self._close.insert(0, packed)
        return packed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that this writer opened. It writes no MRR: a file without one is incomplete."""
        while self._close:
            self._close.pop(0).close()

    def record(self, typ: int, sub: int, body: bytes) -> None:
        """Write any record from its body."""
        if len(body) > 65535:
            raise ValueError(f"an STDF record holds at most 65535 bytes, but this one has {len(body)}")
        self._out.write(pack(self.byte_order + "HBB", len(body), typ, sub) + body)

    def _pack(self, layout: str, *values: int | float | bytes) -> bytes:
        return pack(self.byte_order + layout, *values)

    def mir(
        self,
        *,
        start_t: int = 0,
        setup_t: int | None = None,
        stat_num: int = 1,
        mode_cod: str = "P",
        rtst_cod: str = " ",
        prot_cod: str = " ",
        burn_tim: int = 65535,
        cmod_cod: str = " ",
        **texts: str,
    ) -> None:
        """Master information: times in epoch seconds, texts by the names in :data:`MIR_TEXTS`."""
        body = self._pack("IIB", start_t if setup_t is None else setup_t, start_t, stat_num)
        body += _encode_c1(mode_cod) + _encode_c1(rtst_cod) + _encode_c1(prot_cod) + self._pack("H", burn_tim)
        body += _encode_c1(cmod_cod)
        self.record(1, 10, body + self._encode_texts(MIR_TEXTS, texts))

    def _encode_texts(self, names: Sequence[str], texts: dict[str, str]) -> bytes:
        """Encode text fields in order; those after the last given one are omitted."""
        if unknown := texts.keys() - set(names):
            raise TypeError(f"there is no field {', '.join(sorted(unknown))}; the fields are {', '.join(names)}")
        last = max((names.index(name) + 1 for name in texts), default=0)
        return b"".join(_encode_cn(texts.get(name)) for name in names[:last])

    def mrr(self, *, finish_t: int = 0, disp_cod: str = " ", usr_desc: str = "", exc_desc: str = "") -> None:
        """Master results: the last record of every complete file."""
        texts = _encode_cn(usr_desc) + _encode_cn(exc_desc) if usr_desc or exc_desc else b""
        self.record(1, 20, self._pack("I", finish_t) + _encode_c1(disp_cod) + texts)

    def pmr(
        self,
        index: int,
        *,
        chan_typ: int = 0,
        chan_nam: str = "",
        phy_nam: str = "",
        log_nam: str = "",
        head: int = 1,
        site: int = 1,
    ) -> None:
        """Pin map: the names of a pin by the index that MPR and FTR use."""
        names = _encode_cn(chan_nam) + _encode_cn(phy_nam) + _encode_cn(log_nam)
        self.record(1, 60, self._pack("HH", index, chan_typ) + names + bytes((head, site)))

    def rdr(self, bins: Sequence[int] = ()) -> None:
        """Retest data: the hard bins whose parts the file tests again; none for all bins."""
        self.record(1, 70, self._pack(f"H{len(bins)}H", len(bins), *bins))

    def sdr(self, *, head: int = 1, site_grp: int = 255, sites: Sequence[int] = (), **texts: str) -> None:
        """Site description: texts ``hand_typ``, ``hand_id``, ``card_id``, ``load_id`` ..."""
        body = bytes((head, site_grp, len(sites), *sites))
        self.record(1, 80, body + self._encode_texts(SDR_TEXTS, texts))

    def wcr(
        self,
        *,
        wafr_siz: float = 0.0,
        die_ht: float = 0.0,
        die_wid: float = 0.0,
        wf_units: int = 3,
        wf_flat: str = " ",
        center_x: int = NO_COORDINATE,
        center_y: int = NO_COORDINATE,
        pos_x: str = " ",
        pos_y: str = " ",
    ) -> None:
        """Wafer configuration; ``wf_units`` 1 inch, 2 cm, 3 mm, 4 mil."""
        body = self._pack("fffB", wafr_siz, die_ht, die_wid, wf_units) + _encode_c1(wf_flat)
        self.record(2, 30, body + self._pack("hh", center_x, center_y) + _encode_c1(pos_x) + _encode_c1(pos_y))

    def wir(self, *, head: int = 1, site_grp: int = 255, start_t: int = 0, wafer_id: str = "") -> None:
        """Beginning of a wafer."""
        self.record(2, 10, self._pack("BBI", head, site_grp, start_t) + _encode_cn(wafer_id))

    def wrr(
        self,
        *,
        head: int = 1,
        site_grp: int = 255,
        finish_t: int = 0,
        part_cnt: int = NO_COUNT,
        rtst_cnt: int = NO_COUNT,
        abrt_cnt: int = NO_COUNT,
        good_cnt: int = NO_COUNT,
        func_cnt: int = NO_COUNT,
        wafer_id: str = "",
        fabwf_id: str = "",
        frame_id: str = "",
        mask_id: str = "",
        usr_desc: str = "",
        exc_desc: str = "",
    ) -> None:
        """End of a wafer."""
        counts = (finish_t, part_cnt, rtst_cnt, abrt_cnt, good_cnt, func_cnt)
        body = self._pack("BBIIIIII", head, site_grp, *counts)
        self.record(
            2, 20, body + b"".join(map(_encode_cn, (wafer_id, fabwf_id, frame_id, mask_id, usr_desc, exc_desc)))
        )

    def pir(self, *, head: int = 1, site: int = 0) -> None:
        """Beginning of a part."""
        self.record(5, 10, bytes((head, site)))

    def prr(
        self,
        *,
        head: int = 1,
        site: int = 0,
        part_flg: int = 0,
        num_test: int = 0,
        hard_bin: int = 1,
        soft_bin: int | None = None,
        x: int | None = None,
        y: int | None = None,
        test_t: int = 0,
        part_id: str = "",
        part_txt: str = "",
    ) -> None:
        """End of a part; ``part_flg`` 0x08 = failed, ``test_t`` in milliseconds, 0 = not known."""
        body = self._pack(
            "BBBHHHhhI",
            head,
            site,
            part_flg,
            num_test,
            hard_bin,
            NO_BIN if soft_bin is None else soft_bin,
            NO_COORDINATE if x is None else x,
            NO_COORDINATE if y is None else y,
            test_t,
        )
        self.record(5, 20, body + _encode_cn(part_id) + (_encode_cn(part_txt) if part_txt else b""))

    def ptr(
        self,
        test_num: int,
        result: float,
        *,
        head: int = 1,
        site: int = 0,
        test_flg: int = 0,
        parm_flg: int = 0,
        test_txt: str | None = None,
        lo_limit: float | None = None,
        hi_limit: float | None = None,
        units: str | None = None,
        scale: int = 0,
        opt_flag: int | None = None,
        lo_spec: float | None = None,
        hi_spec: float | None = None,
    ) -> None:
        """A parametric test. Without text, limits and units the record ends after RESULT and inherits them."""
        body = self._pack("IBBBBf", test_num, head, site, test_flg, parm_flg, result)
        given = (test_txt, lo_limit, hi_limit, units, opt_flag, lo_spec, hi_spec)
        if any(value is not None for value in given):
            body += _encode_cn(test_txt) + _encode_cn("")
        if any(value is not None for value in given[1:]):
            body += self._encode_limits(lo_limit, hi_limit, opt_flag, lo_spec, hi_spec, scale) + _encode_cn(units)
            if lo_spec is not None or hi_spec is not None:
                body += _encode_cn("") * 3 + self._pack("ff", lo_spec or 0.0, hi_spec or 0.0)
        self.record(15, 10, body)

    def _encode_limits(
        self,
        lo: float | None,
        hi: float | None,
        opt_flag: int | None,
        lo_spec: float | None,
        hi_spec: float | None,
        scale: int,
    ) -> bytes:
        flag = opt_flag
        if flag is None:  # bit 1 is reserved and always set
            missing = ((lo, 0x40), (hi, 0x80), (lo_spec, 0x04), (hi_spec, 0x08))
            flag = 0x02 | sum(bit for value, bit in missing if value is None)
        return self._pack("Bbbbff", flag, scale, scale, scale, lo or 0.0, hi or 0.0)

    def mpr(
        self,
        test_num: int,
        results: Sequence[float],
        *,
        head: int = 1,
        site: int = 0,
        test_flg: int = 0,
        parm_flg: int = 0,
        test_txt: str | None = None,
        lo_limit: float | None = None,
        hi_limit: float | None = None,
        units: str | None = None,
        opt_flag: int | None = None,
        rtn_indx: Sequence[int] | None = None,
    ) -> None:
        """A test with a result per pin; ``rtn_indx`` has the PMR indexes of the pins.

        Without text, limits, units and pins the record ends after the results and inherits them.
        """
        pins = rtn_indx or ()
        body = self._pack("IBBBBHH", test_num, head, site, test_flg, parm_flg, len(pins), len(results))
        body += bytes((len(pins) + 1) // 2)  # RTN_STAT: a nibble a pin
        body += self._pack(f"{len(results)}f", *results)
        given = (test_txt, lo_limit, hi_limit, units, opt_flag, rtn_indx)
        if any(value is not None for value in given):
            body += _encode_cn(test_txt) + _encode_cn("")
        if any(value is not None for value in given[1:]):
            body += self._encode_limits(lo_limit, hi_limit, opt_flag, None, None, 0) + self._pack("ff", 0.0, 0.0)
            body += self._pack(f"{len(pins)}H", *pins) + _encode_cn(units)
        self.record(15, 15, body)

    def ftr(self, test_num: int, *, head: int = 1, site: int = 0, test_flg: int = 0, test_txt: str = "") -> None:
        """A functional test; ``test_flg`` 0x80 = failed."""
        body = self._pack("IBBBB", test_num, head, site, test_flg, 0xFF)
        body += self._pack("IIIIiihHH", 0, 0, 0, 0, 0, 0, 0, 0, 0)  # counters and addresses, none valid
        body += self._pack("H", 0) + _encode_cn("") * 3 + _encode_cn(test_txt)  # FAIL_PIN; VECT_NAM, TIME_SET, OP_CODE
        self.record(15, 20, body)

    def scan(
        self, test_num: int, *, head: int = 1, site: int = 0, test_flg: int = 0, test_txt: str = "", cont_flg: int = 0
    ) -> None:
        """A scan test (STR of STDF V4-2007); ``cont_flg`` 1 = the next STR continues it."""
        body = self._pack("BIBBHB", cont_flg, test_num, head, site, 0, test_flg) + _encode_cn("") + _encode_cn(test_txt)
        self.record(15, 30, body)

    def gdr(self, *values: int | float | str | bytes) -> None:
        """Generic data: integers as I*4 (or R*8 beyond it), other numbers as R*8, texts, bytes."""
        body = self._pack("H", len(values))
        for value in values:
            if isinstance(value, str):
                body += b"\x0a" + _encode_cn(value)
            elif isinstance(value, bytes):
                body += b"\x0b" + bytes((len(value),)) + value
            elif isinstance(value, int) and abs(value) < 1 << 31:
                body += b"\x06" + self._pack("i", value)
            else:
                body += b"\x08" + self._pack("d", value)
        self.record(50, 10, body)

    def dtr(self, text: str) -> None:
        """Datalog text."""
        self.record(50, 30, _encode_cn(text))

    def hbr(self, number: int, count: int, pf: str = " ", name: str = "", *, head: int = 255, site: int = 0) -> None:
        """Hard bin summary; ``pf`` is ``P``, ``F`` or blank."""
        self.record(1, 40, self._pack("BBHI", head, site, number, count) + _encode_c1(pf) + _encode_cn(name))

    def sbr(self, number: int, count: int, pf: str = " ", name: str = "", *, head: int = 255, site: int = 0) -> None:
        """Soft bin summary; ``pf`` is ``P``, ``F`` or blank."""
        self.record(1, 50, self._pack("BBHI", head, site, number, count) + _encode_c1(pf) + _encode_cn(name))

    def pcr(
        self,
        part_cnt: int,
        *,
        rtst_cnt: int = NO_COUNT,
        abrt_cnt: int = NO_COUNT,
        good_cnt: int = NO_COUNT,
        func_cnt: int = NO_COUNT,
        head: int = 255,
        site: int = 0,
    ) -> None:
        """Part counts."""
        self.record(1, 30, self._pack("BBIIIII", head, site, part_cnt, rtst_cnt, abrt_cnt, good_cnt, func_cnt))

    def tsr(
        self,
        test_num: int,
        *,
        test_typ: str = "P",
        exec_cnt: int = 0,
        fail_cnt: int = 0,
        test_nam: str = "",
        test_tim: float | None = None,
        head: int = 255,
        site: int = 0,
    ) -> None:
        """Test summary; ``test_tim`` is the mean time of one execution in seconds."""
        body = bytes((head, site)) + _encode_c1(test_typ) + self._pack("IIII", test_num, exec_cnt, fail_cnt, NO_COUNT)
        body += _encode_cn(test_nam) + _encode_cn("") * 2
        # OPT_FLAG: bits 3, 6, 7 reserved (set); min, max, sums, squares not valid; bit 2 = no TEST_TIM
        body += self._pack("Bf", 0xFB if test_tim is not None else 0xFF, test_tim or 0.0)
        self.record(10, 30, body)
