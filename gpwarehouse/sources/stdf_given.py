"""What an STDF file does not say of its lot, wafer, time and place, and who says it instead.

What the file says stands. Where it says nothing, what the caller gave holds, then what the settings hold for all files
(``GPWAREHOUSE_STDF_GIVEN``). A caller who says another thing than the file gets a warning.
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
    """Keywords of :func:`gpwarehouse.sources.open_source` and of a load: what holds where the file says nothing."""

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
"""Option → the field of the file that goes before it."""


@dataclass
class Given:
    """What the caller and the settings say.

    :param options: of this file.
    :param defaults: of all files, from the settings.
    :param zone: of times that name none.
    """

    options: GivenOptions
    defaults: Mapping[str, str]
    zone: ZoneInfo
    findings: Findings

    def __post_init__(self) -> None:
        for name in {**self.defaults, **self.options}:
            if name not in GIVEN:
                raise InvalidInputError(
                    f"{name}= is nothing that an STDF file may lack; it may lack {', '.join(GIVEN)}"
                )
        self._time = self._moment(self._said("event_ts"))

    def _said(self, name: str) -> object:
        value = self.options.get(name)
        return self.defaults.get(name) if value is None else value

    def _moment(self, value: object) -> datetime | None:
        if value is None:
            return None
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            raise InvalidInputError(f"event_ts={value!r}: give a time such as 2026-03-04T06:30:00+08:00") from None
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=self.zone)).astimezone(UTC)

    def _warn(self, name: str, found: object) -> None:
        self.findings.tell(
            f"{GIVEN[name]} is {found!r}, and not {self.options.get(name)!r}, as {name}= says: the file's stands"
        )

    def _used(self, name: str, value: object) -> None:
        """Tell of what the settings said in place of the file: nobody looked at this one."""
        if self.options.get(name) is None:
            self.findings.tell(f"{GIVEN[name]} is not given; {str(value)!r} of GPWAREHOUSE_STDF_GIVEN stands for it")

    def text(self, name: str, found: str | None) -> str | None:
        """The file's word, else what was given."""
        value = self._said(name)
        said = str(value).strip() if value is not None else ""
        if found and said and said != found and self.options.get(name) is not None:
            self._warn(name, found)
        if said and not found:
            self._used(name, said)
        return found or said or None

    def needed(self, name: str, found: str | None) -> str:
        """The same, of what no row can do without.

        :raises SourceFormatError: neither the file nor anybody else says it.
        """
        value = self.text(name, found)
        if value is None:
            raise self._lacking(name, "is empty")
        return value

    def _lacking(self, name: str, how: str) -> SourceFormatError:
        return SourceFormatError(
            f"{self.findings.name}: {GIVEN[name]} {how}, and no row can be loaded without. Nothing of it was loaded. Give it: "
            f"{name}= (command line: --{name.replace('_', '-')}), or in GPWAREHOUSE_STDF_GIVEN"
        )

    def time(self, found: datetime | None) -> datetime | None:
        """When the file says it was begun, else the time given."""
        if found and self._time and self._time != found and self.options.get("event_ts") is not None:
            self._warn("event_ts", found.isoformat())
        if self._time and not found:
            self._used("event_ts", self._time.isoformat())
        return found or self._time

    def needed_time(self, found: datetime | None) -> datetime:
        """A time of a row, which none can do without.

        :raises SourceFormatError: there is none.
        """
        if found is None:
            raise self._lacking("event_ts", "is 0")
        return found

    def wafers(self, visits: list[WaferVisit], checksum: str) -> list[WaferVisit]:
        """The visits, each with an id: a wafer that nobody names is one of its own, known by the file's content.

        :raises SourceFormatError: the id given could be that of several wafers.
        """
        value = self._said("wafer_id")
        said = str(value).strip() if value is not None else ""
        nameless = [number for number, visit in enumerate(visits) if not visit.wafer_id]
        named = sorted({visit.wafer_id for visit in visits if visit.wafer_id})
        if named and self.options.get("wafer_id") is not None and (not nameless or said in named) and named != [said]:
            self._warn("wafer_id", ", ".join(named))
        if said and len(nameless) > 1:
            raise SourceFormatError(
                f"{self.findings.name}: {len(nameless)} wafers have no WAFER_ID, and wafer_id={said!r} can be one of them only. "
                "Nothing of it was loaded. Leave it out, and each is a wafer of its own"
            )
        if nameless and (not said or said in named):
            self.findings.tell(
                f"{len(nameless)} wafers have neither in WIR nor in WRR an id, and are wafers of this file alone; "
                "wafer_id= (command line: --wafer-id) gives it"
            )
        own = {number: nameless_wafer_id(f"{checksum[:12]}-{number + 1}") for number in nameless}
        if said and said not in named and nameless:
            self._used("wafer_id", said)
            own = dict.fromkeys(nameless, said)
        return [replace(visit, wafer_id=own.get(number, visit.wafer_id)) for number, visit in enumerate(visits)]

    def wafer_of_all(self) -> str | None:
        """The wafer of a file that has no WIR: what was given."""
        return self.text("wafer_id", None)
