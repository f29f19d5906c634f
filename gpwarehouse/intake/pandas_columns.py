"""Convert a column of a pandas frame to an Arrow array, if its dtype is on the list of supported dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from gpwarehouse.intake.arrow_layouts import not_understood
from gpwarehouse.intake.python_values import array_of

__all__ = ["array_of_series", "check_dtype"]

_UNFIT = (pa.ArrowException, UnicodeEncodeError, TypeError, ValueError, NotImplementedError)
"""Errors for values that pandas keeps as Python objects, and for time zones that Arrow does not know."""


def check_dtype(column: str, dtype: Any) -> None:
    """Refuse a column of a dtype that is not supported.

    Supported are pandas' own dtypes except periods and intervals, and numpy's booleans, integers, floats up to a double, times
    and objects. Only their own libraries know what other dtypes mean (units, geometries).

    :raises InvalidInputError: the dtype is not supported; the message names column and dtype, and what to give instead.
    """
    import pandas as pd

    if isinstance(dtype, np.dtype):
        if not (dtype.kind in "biuMmO" or (dtype.kind == "f" and dtype.itemsize <= 8)):
            raise not_understood(column, str(dtype))
    elif isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        raise not_understood(column, f"pandas.{dtype}")
    elif type(dtype).__module__.partition(".")[0] != "pandas":
        raise not_understood(column, str(dtype))
    elif isinstance(dtype, pd.CategoricalDtype):
        check_dtype(column, dtype.categories.dtype)
    elif isinstance(dtype, pd.SparseDtype):
        check_dtype(column, dtype.subtype)


def array_of_series(series: Any, *, is_json: bool) -> pa.Array:
    """Convert a column whose dtype :func:`check_dtype` accepts to an Arrow array."""
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.SparseDtype):
        return array_of_series(series.sparse.to_dense(), is_json=is_json)
    if str(dtype) == "object":
        texts = _convert_texts(series) if is_json else None
        return array_of(list(series), is_json=is_json) if texts is None else texts
    try:
        return _join_chunks(pa.Array.from_pandas(series))
    except _UNFIT:
        if isinstance(dtype, pd.DatetimeTZDtype):
            return _join_chunks(pa.Array.from_pandas(series.dt.tz_convert("UTC")))
        return array_of(list(series), is_json=is_json)


def _convert_texts(series: Any) -> pa.Array | None:
    """Convert a column of texts; None if it holds any other value."""
    try:
        array = _join_chunks(pa.array(series, pa.string(), from_pandas=True))
    except _UNFIT:
        return None
    return array if array.type == pa.string() else None


def _join_chunks(array: Any) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
