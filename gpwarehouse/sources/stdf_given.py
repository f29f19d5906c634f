"""What an STDF file does not say of its lot, wafer, time and place, and the values that are used instead.

What the file says counts. Otherwise the caller's value is used, then that of the settings for all files
(``GPWAREHOUSE_STDF_GIVEN``). If the caller gives another value than the file, there is a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypedDict
from zoneinfo import ZoneInfo

from gpwarehouse.errors import InvalidInputError, SourceFormatError
from gpwarehouse.models.keys import nameless_wafer_id
from gpwarehouse.sources.stdf_framing import Findings
from gpwarehouse.sources.stdf_records import WaferVisit

__all__ = ["GIVEN", "Given", "GivenOptions"]


class GivenOptions(TypedDict, total=False):
    """Keywords of :func:`gpwarehouse.sources.open_source` and of a load, for what the file does not say."""

    facility: str | None
    lot_id: str | None
    wafer_id: str | None
    product_id: str | None
    test_program: str | None
    equipment_id: str | None
    event_ts: datetime | str | None


GIVEN = {
    "facility": "MIR.FACIL_ID",
    "lot_id": "MIR.LOT_ID",
    "wafer_id": "WIR.WAFER_ID",
    "product_id": "MIR.PART_TYP",
    "test_program": "MIR.JOB_NAM",
    "equipment_id": "MIR.NODE_NAM",
    "event_ts": "MIR.START_T",
}
"""Option → the field of the file that takes precedence over it."""


@dataclass
class Given:
    """The values of the caller and the settings.

    :param options: values for this file.
    :param defaults: values for all files, from the settings.
    :param zone: time zone of times without one.
    """

    options: GivenOptions
    defaults: Mapping[str, str]
    zone: ZoneInfo
    findings: Findings

    def __post_init__(self) -> None:
        for name in {**self.defaults, **self.options}:
            if name not in GIVEN:
                raise InvalidInputError(f"{name}= cannot be given for an STDF file; the options are {', '.join(GIVEN)}")
        self._time = self._parse_time(self._find_value("event_ts"))

    def _find_value(self, name: str) -> object:
        value = self.options.get(name)
        return self.defaults.get(name) if value is None else value

    def has(self, name: str) -> bool:
        """Whether the caller or the settings give a value."""
        return self._find_value(name) is not None

    def _parse_time(self, value: object) -> datetime | None:
        if value is None:
            return None
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            raise InvalidInputError(f"event_ts={value!r}: give a time such as 2026-03-04T06:30:00+08:00") from None
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=self.zone)).astimezone(UTC)

    def _warn(self, name: str, found: object) -> None:
        self.findings.warn(
            f"{GIVEN[name]} is {found!r}, not {self.options.get(name)!r} as given by {name}=; the file's value is used"
        )

    def _warn_of_default(self, name: str, value: object) -> None:
        """Warn that a value of the settings is used, because nobody has checked it for this file."""
        if self.options.get(name) is None:
            self.findings.warn(f"{GIVEN[name]} is missing; {str(value)!r} of GPWAREHOUSE_STDF_GIVEN is used for it")

    def text(self, name: str, found: str | None) -> str | None:
        """The file's value, else the given one."""
        value = self._find_value(name)
        said = str(value).strip() if value is not None else ""
        if found and said and said != found and self.options.get(name) is not None:
            self._warn(name, found)
        if said and not found:
            self._warn_of_default(name, said)
        return found or said or None

    def require_text(self, name: str, found: str | None) -> str:
        """The same for a value that every row needs.

        :raises SourceFormatError: neither the file nor anybody else gives it.
        """
        value = self.text(name, found)
        if value is None:
            raise self._make_missing_error(name, "is empty")
        return value

    def _make_missing_error(self, name: str, how: str) -> SourceFormatError:
        return SourceFormatError(
            f"{self.findings.name}: {GIVEN[name]} {how}, and every row needs it. Nothing of it was loaded. Give it by "
            f"{name}= (command line: --{name.replace('_', '-')}), or in GPWAREHOUSE_STDF_GIVEN"
        )

    def time(self, found: datetime | None) -> datetime | None:
        """The time at which the file says it was begun, else the given time."""
        if found and self._time and self._time != found and self.options.get("event_ts") is not None:
            self._warn("event_ts", found.isoformat())
        if self._time and not found:
            self._warn_of_default("event_ts", self._time.isoformat())
        return found or self._time

    def require_time(self, found: datetime | None) -> datetime:
        """The time of a row, which every row needs.

        :raises SourceFormatError: there is none.
        """
        if found is None:
            raise self._make_missing_error("event_ts", "is 0")
        return found

    def wafers(self, visits: list[WaferVisit], checksum: str) -> list[WaferVisit]:
        """The visits, each with a wafer id. A wafer without an id gets one of its own, derived from the file's content.

        :raises SourceFormatError: the given id could belong to several wafers.
        """
        value = self._find_value("wafer_id")
        said = str(value).strip() if value is not None else ""
        nameless = [number for number, visit in enumerate(visits) if not visit.wafer_id]
        named = sorted({visit.wafer_id for visit in visits if visit.wafer_id})
        if named and self.options.get("wafer_id") is not None and (not nameless or said in named) and named != [said]:
            self._warn("wafer_id", ", ".join(named))
        if said and len(nameless) > 1:
            raise SourceFormatError(
                f"{self.findings.name}: {len(nameless)} wafers have no WAFER_ID, but wafer_id={said!r} can be only one of them. "
                "Nothing of it was loaded. Leave wafer_id= out: then each is a wafer of its own"
            )
        if nameless and (not said or said in named):
            self.findings.warn(
                f"{len(nameless)} wafers have no id in WIR or WRR, and become wafers of this file alone; "
                "wafer_id= (command line: --wafer-id) gives the id"
            )
        own = {number: nameless_wafer_id(f"{checksum[:12]}-{number + 1}") for number in nameless}
        if said and said not in named and nameless:
            self._warn_of_default("wafer_id", said)
            own = dict.fromkeys(nameless, said)
        return [replace(visit, wafer_id=own.get(number, visit.wafer_id)) for number, visit in enumerate(visits)]

    def wafer_of_all(self) -> str | None:
        """The wafer of a file without a WIR: the given one."""
        return self.text("wafer_id", None)
