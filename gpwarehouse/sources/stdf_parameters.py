"""The parameters of an STDF file: which tests, pins and repetitions it holds, under which names, within which limits.

A test is its number *and* its text: testers of one large family give one number to dozens of tests. An MPR has a value per pin
(RTN_INDX, which PMR names). STDF V4, "PTR" and "MPR": the first record of a test sets the defaults of limits and units, and
later records may omit them, or mark them as not valid (OPT_FLAG bits 4 and 5). Names and limits may come late, so the list is
made when the whole file was seen.

RESULT, limits and UNITS are all in the base unit (``v``, ``a``; ``%`` with RES_SCAL 2 is a fraction). RES_SCAL, LLM_SCAL and
HLM_SCAL only say how to *print* them, so no value is scaled here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.models.parameter_sets import MOST_PARAMETERS, Parameter, ParameterKind, ParameterSet
from gpwarehouse.sources.stdf_texts import clean_key, flag_bytes, shortest, tidy

__all__ = ["HIGH_EQUAL", "LOW_EQUAL", "ParameterBook", "ParameterList", "encode", "name_some"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NO_LOW_SPEC, NO_HIGH_SPEC = 0x04, 0x08  # PTR and MPR OPT_FLAG bits 2 and 3
LOW_EQUAL, HIGH_EQUAL = 1, 2
"""A value that equals the low or high limit passes (STDF V4, "PTR", PARM_FLG bits 6 and 7)."""
KINDS = {kind: rank for rank, kind in enumerate(get_args(ParameterKind))}
"""Of two results with one name, a parametric one keeps it."""
NEVER = np.iinfo(np.int64).max
CODE_BITS = 24  # distinct texts or pins of a run of records: fewer than 16 million


def encode(values: npt.NDArray[Any]) -> tuple[Ints, list[int]]:
    """Number the distinct values in the order in which they come first."""
    encoded = pa.array(values).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


class _First:
    """The first value that is given for each identity, and the record that gave it."""

    def __init__(self, kind: type[np.generic]) -> None:
        self.value: npt.NDArray[Any] = np.zeros(0, kind)
        self.record: Ints = np.zeros(0, np.int64)

    def see(self, count: int, ids: Ints, given: Bools, values: npt.NDArray[Any], records: Ints) -> None:
        """Take what is given for identities that had nothing so far.

        :param count: number of identities.
        :param records: number of each entry's record, ascending.
        """
        missing = count - len(self.value)
        if missing:
            self.value = np.append(self.value, np.zeros(missing, self.value.dtype))
            self.record = np.append(self.record, np.full(missing, NEVER))
        rows = np.flatnonzero(given & (self.record[ids] == NEVER))[::-1]
        self.value[ids[rows]] = values[
            rows
        ]  # of several values for one place, numpy keeps the last: the first record's
        self.record[ids[rows]] = records[rows]


@dataclass
class ParameterBook:
    """What is known of each test, collected as the records pass.

    :ivar pin_names: (HEAD_NUM, SITE_NUM, PMR_INDX) → name of the pin.
    """

    pin_names: Mapping[tuple[int, int, int], str] = field(default_factory=dict)
    tests: dict[tuple[ParameterKind, int, str], int] = field(default_factory=dict)
    identities: dict[tuple[int, str], int] = field(default_factory=dict)
    low: _First = field(default_factory=lambda: _First(np.float32))
    high: _First = field(default_factory=lambda: _First(np.float32))
    equal: _First = field(default_factory=lambda: _First(np.uint8))
    units: dict[int, tuple[int, str]] = field(default_factory=dict)
    pins: dict[int, Ints] = field(default_factory=dict)
    """MPR: test → its first RTN_INDX."""
    several_pins: set[int] = field(default_factory=set)
    """MPR: tests with different RTN_INDX; a record that omits it does not say its pins."""
    other_units: set[int] = field(default_factory=set)
    specs: dict[int, dict[str, float]] = field(default_factory=dict)
    """Test → LO_SPEC and HI_SPEC of the first record that has any."""
    _plain: list[int] = field(default_factory=list)

    def find_tests(self, kind: ParameterKind, table: pa.Table) -> Ints:
        """The test of each record, by number and text."""
        texts = table["TEST_TXT"].combine_chunks().dictionary_encode()
        names = [clean_key(text) for text in texts.dictionary.to_pylist()]
        numbers = table["TEST_NUM"].to_numpy().astype(np.int64)
        at = texts.indices.fill_null(0).to_numpy().astype(np.int64)
        codes, pairs = encode(numbers << CODE_BITS | at)
        found = []
        for pair in pairs:
            name = names[pair & ((1 << CODE_BITS) - 1)] if names else ""
            test = self.tests.setdefault((kind, pair >> CODE_BITS, name), len(self.tests))
            if test == len(self._plain):
                self._plain.append(-1)
            found.append(test)
        return np.array(found, np.int64)[codes]

    def find_plain(self, tests: Ints) -> Ints:
        """The identity of each record of a test without pins."""
        for test in np.flatnonzero(np.bincount(tests)).tolist():
            if self._plain[test] < 0:
                self._plain[test] = self.identities.setdefault((test, ""), len(self.identities))
        return np.array(self._plain, np.int64)[tests]

    def find_pins(self, tests: Ints, places: Ints, pins: Ints) -> Ints:
        """The identity of each result of a test with pins.

        :param places: HEAD_NUM << 8 | SITE_NUM of each result.
        :param pins: PMR index of each result; negative where it is not known: the position in the record.
        """
        codes, triples = encode(places << 32 | (pins & 0xFFFFFFFF))
        names = [self._name_pin(triple) for triple in triples]
        distinct = {name: number for number, name in enumerate(dict.fromkeys(names))}
        name_codes = np.array([distinct[name] for name in names], np.int64)[codes]
        ordered = list(distinct)
        at, pairs = encode(tests << CODE_BITS | name_codes)
        found = [
            self.identities.setdefault(
                (pair >> CODE_BITS, ordered[pair & ((1 << CODE_BITS) - 1)]), len(self.identities)
            )
            for pair in pairs
        ]
        return np.array(found, np.int64)[at]

    def _name_pin(self, triple: int) -> str:
        place, pin = triple >> 32, triple & 0xFFFFFFFF
        if pin >= 1 << 31:
            return str((1 << 32) - pin)
        return self.pin_names.get((place >> 8, place & 0xFF, pin)) or str(pin)

    def see_limits(
        self,
        ids: Ints,
        records: Ints,
        low: tuple[Bools, npt.NDArray[Any]],
        high: tuple[Bools, npt.NDArray[Any]],
        equal: tuple[Bools, npt.NDArray[Any]],
    ) -> None:
        """Take defaults from results, in the order of their records.

        :param low: whether the record gives a low limit, and which; NaN is "no limit".
        :param high: likewise.
        :param equal: whether the test was executed, and :data:`LOW_EQUAL`, :data:`HIGH_EQUAL`.
        """
        for first, (given, values) in ((self.low, low), (self.high, high), (self.equal, equal)):
            first.see(len(self.identities), ids, given, values, records)

    def see_units(self, tests: Ints, records: Ints, texts: pa.ChunkedArray) -> None:
        """Take the unit of each test from the first record that has one."""
        encoded = texts.combine_chunks().dictionary_encode()
        names = [tidy(text) for text in encoded.dictionary.to_pylist()]
        if not any(names):
            return
        known = np.array([name is not None for name in names])
        at = encoded.indices.fill_null(0).to_numpy()
        rows = np.flatnonzero(encoded.is_valid().to_numpy(zero_copy_only=False) & known[at])
        codes, pairs = encode(tests[rows] << CODE_BITS | at[rows])
        first = np.full(len(pairs), NEVER)
        first[codes[::-1]] = records[rows][::-1]
        for pair, record in zip(pairs, first.tolist(), strict=True):
            test, name = pair >> CODE_BITS, names[pair & ((1 << CODE_BITS) - 1)]
            if self.units.setdefault(test, (record, str(name)))[1] != name:
                self.other_units.add(test)

    def see_specs(self, tests: Ints, table: pa.Table) -> None:
        """Take the specification limits of each test from the first record that has any."""
        low, high = table["LO_SPEC"], table["HI_SPEC"]
        if low.null_count == high.null_count == len(low):
            return
        rows = np.flatnonzero(pc.or_(low.is_valid(), high.is_valid()).to_numpy())
        flags = flag_bytes(table["OPT_FLAG"])
        for row in rows[np.unique(tests[rows], return_index=True)[1]].tolist():
            fields = (("lo_spec", low, NO_LOW_SPEC), ("hi_spec", high, NO_HIGH_SPEC))
            found = {key: shortest(column[row].as_py()) for key, column, none in fields if not flags[row] & none}
            self.specs.setdefault(int(tests[row]), {key: value for key, value in found.items() if value is not None})

    def finish(self, test_names: Mapping[int, str]) -> ParameterList:
        """Decide the names, and join what has the same one.

        :param test_names: names of TSR records, for numbers that no record names.
        """
        return ParameterList(self, test_names)


class ParameterList:
    """The parameters of a whole file. :meth:`number` completes it.

    :ivar final: identity of the book → parameter, regardless of the occurrence.
    :ivar low: low limit of each parameter; NaN is none.
    :ivar high: high limit.
    :ivar equal: :data:`LOW_EQUAL` and :data:`HIGH_EQUAL` of each parameter.
    :ivar parameters: the list.
    :ivar warnings: what was guessed or is contradictory, one sentence each.
    """

    def __init__(self, book: ParameterBook, test_names: Mapping[int, str]) -> None:
        self.warnings: list[str] = []
        self.parameters = ParameterSet.of(())
        self._slots = self._positions = np.zeros(0, np.int64)
        keys = self._decide_names(book, test_names)
        places: dict[tuple[ParameterKind, int, str, str], int] = {}
        tests = list(book.tests)
        self.final: Ints = np.array(
            [places.setdefault((*keys[test], pin), len(places)) for test, pin in book.identities], np.int64
        )
        self.keys = list(places)
        numbers = {key: number for number, key in enumerate(dict.fromkeys(key[:3] for key in self.keys))}
        groups = np.array([numbers[key[:3]] for key in self.keys], np.int64)
        self.low = self._join(book.low, groups)
        self.high = self._join(book.high, groups)
        self.equal = np.nan_to_num(self._join(book.equal, groups)).astype(np.uint8)
        self.units: dict[tuple[ParameterKind, int, str], str] = {}
        for test, (_, unit) in sorted(book.units.items(), key=lambda item: item[1]):
            self.units.setdefault(keys[test], unit)
        self.specs = {_name_test(*keys[test][1:]): spec for test, spec in book.specs.items() if spec}
        """Name of the test → its specification limits."""
        self._tell(book, tests)

    def _decide_names(self, book: ParameterBook, test_names: Mapping[int, str]) -> list[tuple[ParameterKind, int, str]]:
        """The final (kind, number, name) of each test of the book: a test without a text is the only one of its number."""
        named: dict[tuple[str, int], set[str]] = defaultdict(set)
        for kind, number, name in book.tests:
            if name:
                named[kind, number].add(name)
                named["", number].add(name)
        keys, unnamed = [], set()
        for kind, number, name in book.tests:
            choice = named[kind, number] or named["", number]
            if not name and len(choice) == 1:
                name = next(iter(choice))
            elif not name and choice:
                unnamed.add(number)
            keys.append((kind, number, name or test_names.get(number, "")))
        if unnamed:
            self.warnings.append(
                f"tests {name_some(unnamed)} have several texts, but not in all records; results without one are kept under "
                "the number alone"
            )
        return keys

    def _join(self, first: _First, groups: Ints) -> npt.NDArray[np.float32]:
        """What the first record gives of each parameter; of a pin without any, what the test's first record gives."""
        values = np.full(len(self.keys), np.nan, np.float32)
        records = np.full(len(self.keys), NEVER)
        for identity in np.argsort(first.record, kind="stable")[::-1].tolist():
            if first.record[identity] != NEVER:
                values[self.final[identity]] = first.value[identity]
                records[self.final[identity]] = first.record[identity]
        earliest: dict[int, int] = {}
        for parameter in np.argsort(records, kind="stable").tolist():
            source = earliest.setdefault(int(groups[parameter]), parameter)
            if records[parameter] == NEVER and records[source] != NEVER:
                values[parameter] = values[source]
        return values

    def _tell(self, book: ParameterBook, tests: Sequence[tuple[ParameterKind, int, str]]) -> None:
        crossed = {key[1] for key, low, high in zip(self.keys, self.low, self.high, strict=True) if low > high}
        if crossed:
            self.warnings.append(
                f"the low limit of {len(crossed)} tests is above the high one ({name_some(crossed)}); no value is within"
            )
        if book.other_units:
            numbers = {tests[test][1] for test in book.other_units}
            self.warnings.append(
                f"UNITS of {len(numbers)} tests changes within the file ({name_some(numbers)}); the first one is kept"
            )

    def number(self, most: Ints, where: str) -> None:
        """Make the list, when it is known how often each parameter comes in one insertion.

        :param most: for each parameter the most occurrences in one insertion; 0 leaves it out.
        :param where: name of the file, for the message.
        :raises SourceFormatError: the list is too long.
        """
        if most.sum() > MOST_PARAMETERS:
            raise SourceFormatError(
                f"{where}: its parts have {most.sum()} results (tests, pins and repetitions), more than the {MOST_PARAMETERS} "
                "that a list of parameters may have. Nothing of it was loaded. Have the tester log fewer pins or repetitions, "
                "or split the file by tests."
            )
        slots = [
            (key, occurrence, parameter)
            for parameter, key in enumerate(self.keys)
            for occurrence in range(1, int(most[parameter]) + 1)
        ]
        made: dict[str, Parameter] = {}
        names: dict[tuple[int, int], str] = {}
        for key, occurrence, parameter in sorted(slots, key=lambda slot: (*slot[0][1:], slot[1], KINDS[slot[0][0]])):
            entry = self._make(key, occurrence, parameter, made)
            made[entry.name] = entry
            names[parameter, occurrence] = entry.name
        self.parameters = ParameterSet.of(made.values())
        position = {entry.name: number for number, entry in enumerate(self.parameters.parameters, start=1)}
        self._slots = np.cumsum(most) - most
        self._positions = np.array(
            [position[names[parameter, occurrence]] for _, occurrence, parameter in slots], np.int64
        )

    def _make(
        self, key: tuple[ParameterKind, int, str, str], occurrence: int, parameter: int, made: Mapping[str, Parameter]
    ) -> Parameter:
        kind, number, name, pin = key
        text = _name_test(number, name) + (f" [{pin}]" if pin else "") + (f" #{occurrence}" if occurrence > 1 else "")
        if text in made:
            text = f"{text} ({kind.lower()})"
        while text in made:
            text += "'"
        low, high = shortest(self.low[parameter]), shortest(self.high[parameter])
        equal = int(self.equal[parameter])
        return Parameter(
            name=text,
            test_number=number,
            test_name=name or None,
            pin=pin,
            occurrence=occurrence,
            kind=kind,
            unit=self.units.get(key[:3]),
            lsl=low,
            usl=high,
            lsl_inclusive=low is None or bool(equal & LOW_EQUAL),
            usl_inclusive=high is None or bool(equal & HIGH_EQUAL),
        )

    def find_positions(self, parameters: Ints, occurrences: Ints) -> Ints:
        """Position in the list, from 1, of each result."""
        found: Ints = self._positions[self._slots[parameters] + occurrences - 1]
        return found


def _name_test(number: int, name: str) -> str:
    return f"{number} {name}".strip()


def name_some(tests: Iterable[int]) -> str:
    """The first ten numbers, for messages."""
    numbers = sorted(tests)
    return ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")
