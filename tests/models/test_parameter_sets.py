"""Lists of parameters: one key for one content, in one order."""

from __future__ import annotations

import random

import pytest

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models.parameter_sets import MOST_PARAMETERS, Parameter, ParameterSet

VREF = Parameter("VREF", 7, "VREF", unit="V", lsl=0.9, usl=1.1)


def test_the_order_in_which_parameters_are_given_does_not_matter() -> None:
    given = [VREF, Parameter("IDD", 3, "IDD"), Parameter("temp_a"), Parameter("VREF#2", 7, "VREF", occurrence=2)]
    shuffled = random.Random(1).sample(given, len(given))
    assert ParameterSet.of(given) == ParameterSet.of(shuffled)
    assert [p.name for p in ParameterSet.of(shuffled).parameters] == ["IDD", "VREF", "VREF#2", "temp_a"]


def test_every_field_counts_in_the_key() -> None:
    others = [
        Parameter("VREF", 7, "VREF", unit="mV", lsl=0.9, usl=1.1),
        Parameter("VREF", 7, "VREF", unit="V", lsl=0.9, usl=1.2),
        Parameter("VREF", 7, "VREF", unit="V", lsl=0.9),
        Parameter("VREF", 7, "VREF", unit="V", usl=0.9, lsl=1.1),
        Parameter("VREF", 8, "VREF", unit="V", lsl=0.9, usl=1.1),
        Parameter("VREF", 7, "VREF", pin="A", unit="V", lsl=0.9, usl=1.1),
        Parameter("VREF", 7, "VREF", unit="V", lsl=0.9, usl=1.1, usl_inclusive=False),
        Parameter("VREF", 7, "VREF", kind="SCAN", unit="V", lsl=0.9, usl=1.1),
    ]
    keys = {ParameterSet.of([each]).key for each in (VREF, *others)}
    assert len(keys) == len(others) + 1


def test_the_key_stays_what_it_was() -> None:
    assert ParameterSet.of([VREF, Parameter("temp_a")]).key == 1887894255777793571


def test_two_parameters_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="two parameters are named 'VREF'"):
        ParameterSet.of([VREF, Parameter("VREF", 9)])
    assert len(ParameterSet.of([VREF, Parameter("VREF 9", 9)])) == 2


def test_a_list_that_is_too_wide_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="20000 parameters are more than"):
        ParameterSet.of(Parameter(f"p{n}") for n in range(20_000))
    assert MOST_PARAMETERS < 20_000


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"occurrence": 0}, {"lsl": float("inf")}, {"unit": "\x1f"}, {"kind": "?"}]
)
def test_a_field_without_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError) as raised:
        Parameter(**({"name": "VREF"} | wrong))  # type: ignore[arg-type]
    assert "parameter" in str(raised.value)
