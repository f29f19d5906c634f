"""The wafer under each head and site, as the records of an STDF file pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from gpwarehouse.sources.stdf_framing import Findings

__all__ = ["OpenWafers", "text_at"]

ALL_HEADS = (0, 255)
"""HEAD_NUM of a WIR for all heads: 255 in the specification, 0 on some testers."""


def text_at(body: bytes, at: int) -> bytes:
    """Read the Cn field at ``at`` (length byte, then the characters), stripped; empty if the record ends before it."""
    if at >= len(body):
        return b""
    return body[at + 1 : at + 1 + body[at]].strip(b" \t\r\n\0")


@dataclass
class OpenWafers:
    """Visits of wafers, numbered by their WIR.

    :ivar wir_of_wrr: for each WRR the visit that it closes, or -1.
    :ivar ids: visit → wafer id, empty if neither WIR nor WRR has one; that of the WRR supersedes (STDF V4, "WRR").
    :ivar overlapping: visits that were open at the same time as another one.
    """

    findings: Findings
    wir_of_wrr: list[int] = field(default_factory=list)
    ids: dict[int, bytes] = field(default_factory=dict)
    overlapping: set[int] = field(default_factory=set)
    _open: dict[int, dict[int, int]] = field(default_factory=dict)
    _sites: dict[tuple[int, int], bytes] = field(default_factory=dict)
    _guessed: Counter[tuple[int, int]] = field(default_factory=Counter)
    _unclosed: list[int] = field(default_factory=list)

    def site_group(self, body: bytes) -> None:
        """Process an SDR: head, group, count, sites."""
        self._sites[body[0], body[1]] = body[3 : 3 + body[2]]

    def begin(self, body: bytes) -> None:
        """Process a WIR."""
        visit, (head, group) = len(self.ids), body[:2]
        self.ids[visit] = text_at(body, 6)
        wafers = self._open.setdefault(head, {})
        if group in wafers:
            self._unclosed.append(wafers.pop(group))
        wafers[group] = visit
        if len(wafers) > 1:
            self.overlapping.update(wafers.values())

    def end(self, body: bytes, offset: int) -> None:
        """Process a WRR.

        :raises SourceFormatError: no wafer is open, and an incomplete file is not allowed.
        """
        head, group = body[:2]
        wafers = self._open.get(head) or next((self._open[h] for h in ALL_HEADS if self._open.get(h)), {})
        visit = wafers.pop(group, -1)
        if visit < 0 and len(wafers) == 1:  # on some testers the SITE_GRP of WIR and WRR differ
            visit = wafers.popitem()[1]
        if visit < 0 and len(only := list(self._list_places())) == 1:
            visit = self._open[only[0][0]].pop(only[0][1])
        self.wir_of_wrr.append(visit)
        name = text_at(body, 26)
        if visit < 0:
            what = f"wafer {_show(name)}" if name else "a wafer without an id"
            self.findings.refuse(f"at byte {offset} a WRR ends {what}, but no WIR began it")
        elif name:
            self.ids[visit] = name

    def _list_places(self) -> Iterator[tuple[int, int]]:
        return ((head, group) for head, wafers in self._open.items() for group in wafers)

    def at(self, head: int, site: int) -> int:
        """The visit under a site; -1 outside a wafer."""
        wafers = self._open.get(head)
        if not wafers:
            return self._find_elsewhere(head)
        if len(wafers) > 1:
            for group, visit in wafers.items():
                if site in self._sites.get((head, group), b""):
                    return visit
        return next(reversed(wafers.values()))

    def _find_elsewhere(self, head: int) -> int:
        for every in ALL_HEADS:
            if self._open.get(every):
                return next(reversed(self._open[every].values()))
        only = list(self._list_places())
        if len(only) != 1:
            return -1
        self._guessed[head, only[0][0]] += 1
        return self._open[only[0][0]][only[0][1]]

    def finish(self) -> None:
        """Warn of wafers without an end, and of parts on a head without a wafer of its own."""
        self._unclosed += [visit for wafers in self._open.values() for visit in wafers.values()]
        if self._unclosed:
            names = ", ".join(_show(self.ids[visit]) for visit in sorted(self._unclosed)[:10])
            self.findings.warn(f"{len(self._unclosed)} wafers have a WIR but no WRR: {names}")
        for (head, other), count in self._guessed.items():
            self.findings.warn(
                f"{count} parts on head {head}, which has no wafer, were assigned to the only open wafer, on head {other}"
            )


def _show(name: bytes) -> str:
    return repr(name.decode("latin-1")) if name else "(no id)"
