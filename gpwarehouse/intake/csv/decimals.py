"""Numbers with a decimal comma: read if the caller gave ``decimal=","``, otherwise refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.intake.csv.options import CsvOptions
from gpwarehouse.intake.expected_columns import Expected

__all__ = ["AmbiguousNumber", "Decimals"]

_COMMA_DECIMAL = r"^\s*[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?\s*$"


class AmbiguousNumber(Exception):
    """A number that can be read in two ways: its row in the batch, and its column."""

    def __init__(self, row: int, column: str, words: str) -> None:
        super().__init__(words)
        self.row = row
        self.column = column


class Decimals:
    """Converts the columns that hold numbers."""

    def __init__(self, options: CsvOptions, expected: Expected | None) -> None:
        self._has_comma = options.decimal == ","
        self._expected = expected

    def convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Replace each decimal comma by a point.

        :raises AmbiguousNumber: a number has a point already, or most numbers have commas although no decimal comma was given.
        """
        for at, name in enumerate(batch.schema.names):
            if self._expected is None or not self._expected.is_number(name):
                continue
            if self._has_comma:
                batch = batch.set_column(at, name, _replace_commas(name, batch.column(at)))
            else:
                _refuse_commas(name, batch.column(at))
        return batch


def _replace_commas(name: str, texts: pa.Array) -> pa.Array:
    points = _find_rows(pc.match_substring(texts, "."))
    if len(points):
        text = texts[points[0]].as_py()
        words = f"{text!r} has a point, but decimal=',' was given; thousands separators are not supported"
        raise AmbiguousNumber(int(points[0]), name, words)
    commas = pc.match_substring_regex(texts, _COMMA_DECIMAL)
    return pc.if_else(commas, pc.replace_substring(texts, ",", "."), texts)


def _refuse_commas(name: str, texts: pa.Array) -> None:
    """Refuse a file full of decimal commas. If commas are the exception, their rows become rejects instead."""
    if not pc.any(pc.match_substring(texts, ",")).as_py():
        return
    commas = _find_rows(pc.match_substring_regex(texts, _COMMA_DECIMAL))
    if len(commas) > len(_find_rows(pc.match_substring(texts, "."))):
        words = (
            f"{texts[commas[0]].as_py()!r} has a comma; give decimal=',' if it is the decimal mark. Thousands separators are not "
            "supported"
        )
        raise AmbiguousNumber(int(commas[0]), name, words)


def _find_rows(mask: pa.Array) -> np.ndarray[Any, Any]:
    return np.flatnonzero(np.asarray(pc.fill_null(mask, False)))
