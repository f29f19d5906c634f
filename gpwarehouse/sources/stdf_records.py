"""Parse runs of STDF records as Arrow tables, and the records that are not per part as plain objects."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from gpwarehouse.errors import MissingExtraError, SourceFormatError
from gpwarehouse.sources.stdf_survey import SMALL_TYPES, Survey
from gpwarehouse.sources.stdf_texts import clean_key, tidy

__all__ = ["Header", "Site", "WaferVisit", "header_of", "record_tables"]

ANY = 255  # HEAD_NUM, SITE_GRP: "all heads", "all sites"


def record_tables(records: bytes | memoryview, far: bytes, types: Iterable[str], where: str) -> dict[str, pa.Table]:
    """Parse a run of whole records.

    stdf_convert reads only files, and returns its batches one record type at a time (the rest of every type at the end of the
    file). So an MIR would come last, and a part's results long before the part. A run that is given as a file of its own comes
    back completely, and ``sequence_number`` restores the order: one parse, and the memory of one run.

    :param records: whole records, without FAR.
    :param far: the FAR of their file.
    :param types: record types that are wanted.
    :param where: place for the error message, e.g. ``lot.stdf.gz, bytes 6 to 8388612``.
    """
    try:
        import stdf_convert
    except ImportError as error:
        raise MissingExtraError(
            "Reading STDF needs the package stdf-convert: pip install 'gpwarehouse[stdf]'"
        ) from error
    with tempfile.TemporaryDirectory(prefix="gpwarehouse-stdf-") as folder:
        file = Path(folder) / "records.stdf"
        with file.open("wb") as out:
            out.write(far)
            out.write(records)
        try:
            return dict(stdf_convert.tables(file, list(types)))
        except stdf_convert.StdfError as error:
            raise SourceFormatError(
                f"{where}: a record cannot be read ({error}). Nothing of it was loaded. Check the file with "
                "`stdf-convert`, and have the tester write it again."
            ) from error


@dataclass(frozen=True)
class Site:
    """What an SDR says of its sites."""

    head: int
    sites: frozenset[int]
    record: dict[str, str | None]


@dataclass(frozen=True)
class WaferVisit:
    """One WIR with its WRR."""

    wafer_id: str | None
    start_t: int
    start: datetime | None
    fab_id: str | None
    mask_id: str | None

    @property
    def shown(self) -> str:
        """The id, for messages."""
        return repr(self.wafer_id) if self.wafer_id else "(no id)"


@dataclass(frozen=True)
class Header:
    """The records of a file that are not per part."""

    mir: dict[str, Any]
    sites: list[Site]
    wafers: list[WaferVisit]
    wafer_map: dict[str, Any]
    hard_bins: dict[int, str]
    soft_bins: dict[int, str]
    hard_bin_pass: dict[int, bool]
    test_names: dict[int, str]
    """Of TSR, for numbers that have one name there."""
    test_seconds: dict[int, float]
    start: datetime | None
    summaries: dict[str, list[dict[str, Any]]]
    """Record type (PCR, WRR, HBR, SBR, MRR) → its records."""
    pin_names: dict[tuple[int, int, int], str]
    """(HEAD_NUM, SITE_NUM, PMR_INDX) → name of the pin."""
    retested_bins: list[int] | None
    """Hard bins whose parts the file tests again (RDR); empty for all bins, None without an RDR."""

    def guesses(self, zone: ZoneInfo) -> list[str]:
        """What was guessed of times, or not understood, one sentence each."""
        guesses = []
        if not self.mir["START_T"] and self.mir["SETUP_T"]:
            guesses.append("MIR.START_T is 0; SETUP_T is used for it")
        late = [wafer.shown for wafer in self.wafers if wafer.start is None]
        if late and self.start is not None:
            guesses.append(f"WIR.START_T of wafers {', '.join(late[:10])} is 0; that of the MIR is used")
        seconds = {self.mir["START_T"] or self.mir["SETUP_T"], *(wafer.start_t for wafer in self.wafers)}
        for number in sorted(filter(None, seconds)):
            wall = datetime.fromtimestamp(number, UTC).replace(tzinfo=None)
            if wall.replace(tzinfo=zone, fold=0).utcoffset() != wall.replace(tzinfo=zone, fold=1).utcoffset():
                guesses.append(
                    f"the time {wall} occurs twice or never in {zone.key}, because its clocks change; "
                    f"{moment(number, zone)} is used for it"
                )
        if self.mir["TST_TEMP"] and self.temperature_c is None:
            guesses.append(
                f"MIR.TST_TEMP {self.mir['TST_TEMP']!r} is not a temperature in °C, so temperature_c is empty"
            )
        return guesses

    def site(self, head: int, site: int) -> dict[str, str | None]:
        """The SDR of a site: one that names the site, else one that names no sites, else nothing."""
        mine = [s for s in self.sites if s.head in (head, ANY)]
        for found in mine:
            if site in found.sites:
                return found.record
        return next((s.record for s in mine if not s.sites), {})

    @property
    def temperature_c(self) -> float | None:
        """MIR.TST_TEMP if it is a number, alone or followed by C or °C; other texts, e.g. ``85F``, are not interpreted."""
        text = self.mir["TST_TEMP"] or ""
        found = re.fullmatch(r"([+-]?\d+(?:[.,]\d+)?)\s*(?:°|deg\.?\s*)?C?", text, re.IGNORECASE)
        return float(found[1].replace(",", ".")) if found else None


def header_of(survey: Survey, zone: ZoneInfo, name: str) -> Header:
    """Parse the small records that the survey kept.

    :param survey: survey of the file.
    :param zone: time zone in which the file's epoch seconds are local time.
    :param name: name of the file, for messages.
    """
    tables = record_tables(survey.small, survey.far, SMALL_TYPES, f"{name}, header and summary records")
    rows = {kind: [_tidy_row(row) for row in table.to_pylist()] for kind, table in tables.items()}
    mir = rows["MIR"][0]
    names, seconds = _read_test_summaries(rows.get("TSR", []))
    bins = _read_bins(rows.get("HBR", []), "H")
    soft = _read_bins(rows.get("SBR", []), "S")
    return Header(
        mir=mir,
        sites=[Site(row["HEAD_NUM"], frozenset(row["SITE_NUM"] or ()), row) for row in rows.get("SDR", [])],
        wafers=_read_wafers(rows.get("WIR", []), rows.get("WRR", []), survey.wir_of_wrr, zone),
        wafer_map=next(iter(rows.get("WCR", [])), {}),
        hard_bins=bins[0],
        soft_bins=soft[0],
        hard_bin_pass=bins[1],
        test_names=names,
        test_seconds=seconds,
        start=moment(mir["START_T"], zone) or moment(mir["SETUP_T"], zone),
        summaries={kind: rows.get(kind, []) for kind in ("PCR", "WRR", "HBR", "SBR", "MRR")},
        pin_names=_read_pins(rows.get("PMR", [])),
        retested_bins=next((list(row["RTST_BIN"] or ()) for row in rows.get("RDR", [])), None),
    )


class _PinNames(dict[tuple[int, int, int], str]):
    """Names by head, site and index. An index that the place does not define is looked up at the other places."""

    def get(self, key: tuple[int, int, int], default: Any = None) -> Any:
        return super().get(key) or super().get((ANY, ANY, key[2]), default)


def _read_pins(rows: list[dict[str, Any]]) -> dict[tuple[int, int, int], str]:
    """The logical name of each pin, else its physical name, else that of its channel (STDF V4, "PMR")."""
    names = _PinNames()
    for row in rows:
        name = row["LOG_NAM"] or row["PHY_NAM"] or row["CHAN_NAM"]
        if name:
            names[row["HEAD_NUM"], row["SITE_NUM"], row["PMR_INDX"]] = clean_key(name)
            names.setdefault((ANY, ANY, row["PMR_INDX"]), clean_key(name))
    return names


def moment(seconds: int | None, zone: ZoneInfo) -> datetime | None:
    """Convert an STDF time to UTC; 0 is "not known".

    STDF V4 counts the seconds from 1 January 1970 in "local time"; most testers write real epoch seconds. With UTC as the zone
    the number is used unchanged. With another zone it is local time of that zone: in the hour that is repeated in autumn the
    first occurrence, in the hour that is skipped in spring the time before the change.
    """
    if not seconds:
        return None
    wall = datetime.fromtimestamp(seconds, UTC)
    return wall.replace(tzinfo=zone).astimezone(UTC)


def _tidy_row(row: dict[str, Any]) -> dict[str, Any]:
    return {key: tidy(value) if isinstance(value, str) else value for key, value in row.items()}


def _read_wafers(
    wirs: list[dict[str, Any]], wrrs: list[dict[str, Any]], wir_of_wrr: list[int], zone: ZoneInfo
) -> list[WaferVisit]:
    # "A WAFER_ID in the WRR supersedes any WAFER_ID found in the WIR" (STDF V4, "WRR").
    ends = dict(zip(wir_of_wrr, wrrs, strict=True))
    visits = []
    for number, wir in enumerate(wirs):
        end = ends.get(number, {})
        visits.append(
            WaferVisit(
                wafer_id=end.get("WAFER_ID") or wir["WAFER_ID"],
                start_t=wir["START_T"] or 0,
                start=moment(wir["START_T"], zone),
                fab_id=end.get("FABWF_ID"),
                mask_id=end.get("MASK_ID"),
            )
        )
    return visits


def _read_bins(rows: list[dict[str, Any]], kind: str) -> tuple[dict[int, str], dict[int, bool]]:
    """Bin number → name and pass/fail. The summary over all sites (HEAD_NUM 255) takes precedence over those per site."""
    names: dict[int, str] = {}
    passes: dict[int, bool] = {}
    for row in sorted(rows, key=lambda row: row["HEAD_NUM"] != ANY):
        number = row[f"{kind}BIN_NUM"]
        if row[f"{kind}BIN_NAM"]:
            names.setdefault(number, row[f"{kind}BIN_NAM"])
        if row[f"{kind}BIN_PF"] in ("P", "F"):
            passes.setdefault(number, row[f"{kind}BIN_PF"] == "P")
    return names, passes


def _read_test_summaries(rows: list[dict[str, Any]]) -> tuple[dict[int, str], dict[int, float]]:
    """Test number → name, if there is one, and mean seconds (TSR.TEST_TIM, weighted over sites by EXEC_CNT)."""
    names: dict[int, set[str]] = {}
    whole: dict[int, float] = {}
    parts: dict[int, list[tuple[int, float]]] = {}
    for row in rows:
        number, seconds = row["TEST_NUM"], row["TEST_TIM"]
        if row["TEST_NAM"]:
            names.setdefault(number, set()).add(clean_key(row["TEST_NAM"]))
        # OPT_FLAG bit 2: "TEST_TIM value is invalid" (STDF V4, "TSR"). A tester without a clock writes 0.
        flag = row["OPT_FLAG"]
        if not seconds or seconds < 0 or (flag and flag[0] & 0x04):
            continue
        if row["HEAD_NUM"] == ANY:
            whole.setdefault(number, seconds)
        elif row["EXEC_CNT"] not in (None, 0, 4294967295):
            parts.setdefault(number, []).append((row["EXEC_CNT"], seconds))
    for number, counted in parts.items():
        total = sum(count for count, _ in counted)
        whole.setdefault(number, sum(count * seconds for count, seconds in counted) / total)
    sure = {number: min(found) for number, found in names.items() if len(found) == 1}
    return sure, {number: round(value, 9) for number, value in whole.items()}
