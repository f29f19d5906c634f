"""A wafer-sort lot as an STDF file of our own making: wafers, sites, retests, every kind of test, all summaries."""

from __future__ import annotations

import io
import random
from collections import Counter

from gpwarehouse.sources.stdf_writer import StdfWriter

START = 1_700_000_000
SITES = 4


def lot_bytes(wafers: int = 3, parts: int = 60, seed: int = 7, summaries: bool = True) -> bytes:
    """The file; the same arguments give the same bytes.

    :param parts: touchdowns times sites of a wafer, before retests.
    :param summaries: whether PCR, HBR and SBR stand at its end.
    """
    stream = io.BytesIO()
    lot = _Lot(StdfWriter(stream), random.Random(seed))
    lot.out.mir(
        lot_id="L4711.2", part_typ="CHIP-9", node_nam="T-07", job_nam="SORT", job_rev="B", test_cod="CP1", start_t=START
    )
    lot.out.sdr(sites=range(SITES), hand_typ="UF3000", hand_id="PB-2", card_id="PC-9")
    for wafer in range(wafers):
        lot.wafer(f"{wafer + 1:02d}", parts)
    if summaries:
        lot.summaries()
    lot.out.mrr(finish_t=START + 9000)
    return stream.getvalue()


class _Lot:
    def __init__(self, out: StdfWriter, rng: random.Random) -> None:
        self.out, self.rng = out, rng
        self.bins: Counter[int] = Counter()
        self.described: set[int] = set()
        self.number = 0

    def wafer(self, name: str, parts: int) -> None:
        before = self.bins.total()
        good = self.bins[1]
        self.out.wir(start_t=START + len(name), wafer_id=name)
        dice = [(die % 9, die // 9) for die in range(parts)]
        failed = self._touch(dice)
        again = self._touch(failed)
        self.out.wrr(
            part_cnt=self.bins.total() - before,
            rtst_cnt=len(failed),
            good_cnt=self.bins[1] - good,
            wafer_id=name,
        )
        assert again is not failed

    def _touch(self, dice: list[tuple[int, int]]) -> list[tuple[int, int]]:
        failed = []
        for start in range(0, len(dice), SITES):
            group = dice[start : start + SITES]
            for site in range(len(group)):
                self.out.pir(site=site)
            counts = [self._tests(site) for site in range(len(group))]
            for site, (x, y) in enumerate(group):
                hard = 1 if self.rng.random() < 0.8 else self.rng.choice([2, 3])
                self.bins[hard] += 1
                self.number += 1
                if hard != 1:
                    failed.append((x, y))
                flag = 0 if hard == 1 else 8
                self.out.prr(
                    site=site, num_test=counts[site], part_flg=flag, hard_bin=hard, soft_bin=hard * 10, x=x, y=y,
                    test_t=self.rng.randrange(100, 999), part_id=str(self.number),
                )  # fmt: skip
        return failed

    def _tests(self, site: int) -> int:
        for test in range(100, 112):
            value = self.rng.gauss(1.0, 0.1)
            if test in self.described:
                self.out.ptr(test, value, site=site)
            else:
                self.described.add(test)
                self.out.ptr(test, value, site=site, test_txt=f"V_{test}", lo_limit=0.5, hi_limit=1.5, units="V")
        pins = [self.rng.gauss(0.2, 0.01) for _ in range(6)]
        self.out.mpr(200, pins, site=site, test_txt="LEAK", lo_limit=0.0, hi_limit=1.0, units="uA")
        self.out.ftr(300, site=site, test_txt="SCAN")
        return 14

    def summaries(self) -> None:
        for test in range(100, 112):
            self.out.tsr(test, exec_cnt=self.bins.total(), test_nam=f"V_{test}")
        for number, count in sorted(self.bins.items()):
            self.out.hbr(number, count, "P" if number == 1 else "F", f"BIN{number}")
            self.out.sbr(number * 10, count, "P" if number == 1 else "F", f"SOFT{number}")
        self.out.pcr(self.bins.total(), good_cnt=self.bins[1])
