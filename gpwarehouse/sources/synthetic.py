"""Write a generated wafer-sort lot as an STDF file, with known answers. It needs only the standard library.

Wafers are round; four sites are tested in parallel; a first pass covers all die, and a retest the failed ones. Three
signatures are built in: a ring of leakage at the edge of every wafer, a scratch (functional fails) across one wafer, and a
cluster of threshold shifts on another. There are also random fails, and bad contacts that a retest cures. The same seed gives
the same bytes.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

from gpwarehouse.sources.stdf_writer import StdfWriter

__all__ = ["DEMO_TESTS", "DemoLot", "DemoTest", "DemoWafer", "write_demo_lot"]

SITES = 4
DEFAULT_START = datetime(2024, 3, 4, 6, 30, tzinfo=UTC)
FAILED, SUPERSEDES_XY = 0x08, 0x02


@dataclass(frozen=True)
class DemoTest:
    """A test of the program. The limits are six sigma around the mean; ``sigma`` 0 marks a functional test."""

    number: int
    name: str
    unit: str
    mean: float
    sigma: float
    seconds: float
    fail_bin: int


DEMO_TESTS = (
    DemoTest(1000, "CONT_VDD", "V", -0.62, 0.012, 0.0011, 5),
    DemoTest(1010, "CONT_IO", "V", -0.65, 0.014, 0.0024, 5),
    DemoTest(1100, "ILEAK_IO", "A", 4.0e-9, 4.5e-10, 0.0062, 6),
    DemoTest(1110, "ILEAK_VDD", "A", 2.2e-7, 2.0e-8, 0.0058, 6),
    DemoTest(1200, "IDD_STBY", "A", 1.8e-5, 1.5e-6, 0.0095, 7),
    DemoTest(1210, "IDD_ACT", "A", 4.2e-2, 2.1e-3, 0.0121, 7),
    DemoTest(1300, "VTH_N", "V", 0.42, 0.011, 0.0043, 8),
    DemoTest(1310, "VTH_P", "V", -0.44, 0.012, 0.0043, 8),
    DemoTest(1400, "VREF", "V", 1.205, 0.004, 0.0088, 9),
    DemoTest(1410, "VREF_TC", "V", 0.0, 0.0008, 0.0091, 9),
    DemoTest(1500, "OSC_FREQ", "Hz", 3.2e7, 2.4e5, 0.0312, 10),
    DemoTest(1510, "PLL_LOCK", "s", 8.0e-5, 6.0e-6, 0.0207, 10),
    DemoTest(1600, "VOH", "V", 1.62, 0.018, 0.0037, 11),
    DemoTest(1610, "VOL", "V", 0.11, 0.009, 0.0037, 11),
    DemoTest(1620, "SLEW", "V/s", 2.4e9, 1.3e8, 0.0066, 11),
    DemoTest(1700, "ADC_INL", "LSB", 0.0, 0.11, 0.1840, 12),
    DemoTest(1710, "ADC_DNL", "LSB", 0.0, 0.07, 0.0420, 12),
    DemoTest(1720, "ADC_OFFSET", "V", 0.0, 0.0009, 0.0155, 12),
    DemoTest(1800, "RDS_ON", "ohm", 0.18, 0.008, 0.0079, 13),
    DemoTest(1810, "FMAX", "Hz", 4.1e8, 9.0e6, 0.0264, 13),
    DemoTest(5000, "SCAN_CHAIN", "", 0.0, 0.0, 0.0580, 20),
    DemoTest(5010, "MBIST", "", 0.0, 0.0, 0.0940, 21),
)
"""The program: 20 parametric tests and two functional ones; ADC_INL is by far the slowest."""

BIN_NAMES = {
    1: "PASS",
    5: "CONTACT",
    6: "LEAKAGE",
    7: "SUPPLY",
    8: "THRESHOLD",
    9: "REFERENCE",
    10: "CLOCK",
    11: "IO",
    12: "ADC",
    13: "DRIVE",
    20: "SCAN",
    21: "MEMORY",
}


@dataclass(frozen=True)
class DemoWafer:
    """The answers for a wafer: numbers of die, of good die at first and in the end, of insertions including retests."""

    wafer_id: str
    die: int
    first_pass_good: int
    last_good: int
    insertions: int


@dataclass(frozen=True)
class DemoLot:
    """What :func:`write_demo_lot` wrote."""

    path: Path
    lot_id: str
    wafers: tuple[DemoWafer, ...]
    parametric_tests: int
    parametric_values: int
    slowest_test: str
    slowest_test_number: int
    slowest_test_seconds: float

    @property
    def insertions(self) -> int:
        """Number of rows of the file."""
        return sum(wafer.insertions for wafer in self.wafers)


@dataclass
class _Tally:
    """Counts for the summary records at the end of the file."""

    runs: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    fails: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    seconds: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    bins: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    described: set[int] = field(default_factory=set)
    values: int = 0


Die = tuple[int, int]


def die_map(radius: int) -> list[Die]:
    """The whole die on a round wafer, row by row, every second row backwards, like a prober."""
    rows: list[Die] = []
    for y in range(-radius, radius + 1):
        row = [(x, y) for x in range(-radius, radius + 1) if x * x + y * y <= (radius + 0.3) ** 2]
        rows += row if y % 2 else row[::-1]
    return rows


def _choose_defects(dice: list[Die], wafer: int, radius: int, rng: random.Random) -> tuple[dict[Die, int], set[Die]]:
    """Choose the test that each bad die always fails, and the die with a bad contact at the first touch."""
    bad: dict[Die, int] = {}
    parametric = [test.number for test in DEMO_TESTS if test.sigma and test.fail_bin not in (5, 6, 8)]
    for x, y in dice:
        distance = math.hypot(x, y) / radius
        if distance > 0.86 and rng.random() < 0.42 * (distance - 0.76) / 0.24:
            bad[x, y] = 1100 if rng.random() < 0.7 else 1110
        elif rng.random() < 0.012:
            bad[x, y] = rng.choice([*parametric, 5000, 5010])
        if wafer % 5 == 2 and abs(0.55 * x - y + 1.5) < 0.6 and -0.7 * radius < x < 0.6 * radius:
            bad[x, y] = 5000
        if wafer % 5 == 3 and math.hypot(x - 0.35 * radius, y + 0.3 * radius) < 0.22 * radius and rng.random() < 0.8:
            bad[x, y] = 1300
    contact = {die for die in dice if die not in bad and rng.random() < 0.035}
    return bad, contact


class _Prober:
    """Tests touchdowns of four die and writes their records, interleaved like a parallel tester."""

    def __init__(self, out: StdfWriter, rng: random.Random, radius: int) -> None:
        self.out, self.rng, self.radius = out, rng, radius
        self.tally = _Tally()
        self.part_no = 0

    def run(self, dice: list[Die], fails: dict[Die, int], retest: bool) -> None:
        """Test all die, four at a time; ``fails`` has the test that a die fails."""
        for start in range(0, len(dice), SITES):
            self._test_touchdown(dice[start : start + SITES], fails, retest)

    def _test_touchdown(self, dice: list[Die], fails: dict[Die, int], retest: bool) -> None:
        tally, spent, runs = self.tally, [0.0] * SITES, [0] * SITES
        for site in range(len(dice)):
            self.out.pir(site=site)
        alive = dict(enumerate(dice))
        bins = dict.fromkeys(alive, 1)
        for test in DEMO_TESTS:
            for site, die in list(alive.items()):
                failed = fails.get(die) == test.number
                seconds = test.seconds * self.rng.uniform(0.95, 1.05)
                tally.runs[test.number] += 1
                tally.seconds[test.number] += seconds
                spent[site] += seconds
                runs[site] += 1
                self._write_result(test, site, die, failed)
                if failed:  # stop on first fail
                    tally.fails[test.number] += 1
                    bins[site] = test.fail_bin
                    del alive[site]
        for site, (x, y) in enumerate(dice):
            self.part_no += 1
            tally.bins[bins[site]] += 1
            self.out.prr(
                site=site,
                part_flg=(FAILED if bins[site] != 1 else 0) | (SUPERSEDES_XY if retest else 0),
                num_test=runs[site],
                hard_bin=bins[site],
                soft_bin=bins[site],
                x=x,
                y=y,
                test_t=round(spent[site] * 1000),
                part_id=str(self.part_no),
            )

    def _write_result(self, test: DemoTest, site: int, die: Die, failed: bool) -> None:
        if not test.sigma:
            self.out.ftr(test.number, site=site, test_flg=0x80 if failed else 0, test_txt=test.name)
            return
        self.tally.values += 1
        # A bowl over the wafer, with noise well inside the limits: only die that are meant to fail do fail.
        bowl = (die[0] ** 2 + die[1] ** 2) / self.radius**2
        deviation = bowl + max(-4.0, min(4.0, self.rng.gauss(0.0, 1.0)))
        if failed:
            deviation = 9.0 + 3.0 * self.rng.random()
        value = test.mean + deviation * test.sigma
        flag = 0x80 if failed else 0
        if test.number in self.tally.described:  # limits and units are inherited from the first record
            self.out.ptr(test.number, value, site=site, test_flg=flag)
            return
        self.tally.described.add(test.number)
        low, high = test.mean - 6 * test.sigma, test.mean + 6 * test.sigma
        text, unit = test.name, test.unit
        self.out.ptr(
            test.number, value, site=site, test_flg=flag, test_txt=text, lo_limit=low, hi_limit=high, units=unit
        )


def _probe_wafer(prober: _Prober, number: int, radius: int, start: int, retests: int) -> DemoWafer:
    rng, out, wafer_id = prober.rng, prober.out, f"{number + 1:02d}"
    dice = die_map(radius)
    bad, contact = _choose_defects(dice, number, radius, rng)
    out.wir(start_t=start, wafer_id=wafer_id)
    fails = bad | dict.fromkeys(contact, 1000)
    prober.run(dice, fails, retest=False)
    first_good, insertions = len(dice) - len(fails), len(dice)
    for _ in range(retests):
        again = [die for die in dice if die in fails]
        insertions += len(again)
        cured = {die for die in again if die in contact and rng.random() < 0.75}
        fails = {die: test for die, test in fails.items() if die not in cured}
        prober.run(again, fails, retest=True)
    good = len(dice) - len(fails)
    out.wrr(
        finish_t=start + 1500, part_cnt=insertions, rtst_cnt=insertions - len(dice), good_cnt=good, wafer_id=wafer_id
    )
    return DemoWafer(wafer_id, len(dice), first_good, good, insertions)


def _write_summaries(out: StdfWriter, tally: _Tally, insertions: int, good: int, finish: int) -> None:
    for test in DEMO_TESTS:
        runs = tally.runs[test.number]
        out.tsr(
            test.number,
            test_typ="P" if test.sigma else "F",
            exec_cnt=runs,
            fail_cnt=tally.fails[test.number],
            test_nam=test.name,
            test_tim=tally.seconds[test.number] / runs if runs else None,
        )
    for number, count in sorted(tally.bins.items()):
        verdict = "P" if number == 1 else "F"
        out.hbr(number, count, verdict, BIN_NAMES[number])
        out.sbr(number, count, verdict, BIN_NAMES[number])
    out.pcr(insertions, good_cnt=good)
    out.mrr(finish_t=finish)


def _write_header(out: StdfWriter, lot_id: str, begin: int) -> None:
    out.mir(
        start_t=begin,
        setup_t=begin - 600,
        mode_cod="E",
        lot_id=lot_id,
        part_typ="GPW-DEMO",
        node_nam="TESTER-01",
        tstr_typ="J750",
        job_nam="DEMO_SORT",
        job_rev="1.0",
        oper_nam="demo",
        exec_typ="DEMO",
        exec_ver="1",
        test_cod="CP1",
        tst_temp="25",
        facil_id="DEMOFAB",
    )
    out.sdr(sites=range(SITES), hand_typ="PROBER", hand_id="PROBER-01", card_id="CARD-07", load_id="LOAD-02")
    out.wcr(wafr_siz=200.0, die_ht=9.0, die_wid=9.0, wf_units=3, wf_flat="D", center_x=0, center_y=0)


def write_demo_lot(
    path: str | PathLike[str],
    *,
    lot_id: str = "DEMO-0001",
    wafers: int = 5,
    seed: int = 20240304,
    radius: int = 10,
    retests: int = 1,
    start: datetime = DEFAULT_START,
) -> DemoLot:
    """Write a wafer-sort lot.

    :param path: file to write; gzip if it ends in ``.gz``.
    :param lot_id: LOT_ID of the file.
    :param wafers: number of wafers, with ids ``01``, ``02`` ...
    :param seed: seed of all random numbers; the same arguments write the same bytes.
    :param radius: radius of the wafer in die; 10 gives 341 die.
    :param retests: number of passes over the die that failed.
    :param start: start of the lot, with a time zone; a wafer takes 30 minutes.
    """
    begin = int(start.timestamp())
    with StdfWriter(path) as out:
        _write_header(out, lot_id, begin)
        prober = _Prober(out, random.Random(seed), radius)
        done = tuple(_probe_wafer(prober, number, radius, begin + 1800 * number, retests) for number in range(wafers))
        tally = prober.tally
        insertions = sum(wafer.insertions for wafer in done)
        _write_summaries(out, tally, insertions, sum(w.last_good for w in done), begin + 1800 * wafers)
    means = {
        test: tally.seconds[test.number] / tally.runs[test.number] for test in DEMO_TESTS if tally.runs[test.number]
    }
    slowest = max(means, key=lambda test: means[test])
    return DemoLot(
        path=Path(path),
        lot_id=lot_id,
        wafers=done,
        parametric_tests=sum(1 for test in DEMO_TESTS if test.sigma),
        parametric_values=tally.values,
        slowest_test=slowest.name,
        slowest_test_number=slowest.number,
        slowest_test_seconds=means[slowest],
    )
