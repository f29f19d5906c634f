"""Convert Arrow arrays to texts. A value has one text, whatever type, unit or time zone it came in."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["cut_to_microseconds", "text_of", "without_nan"]


def without_nan(array: pa.Array) -> pa.Array:
    """Replace NaN by NULL."""
    if not pa.types.is_floating(array.type):
        return array
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def cut_to_microseconds(array: pa.Array) -> pa.Array:
    """Convert times or timestamps to microseconds. Further digits are cut off, as Python and pandas do, also before 1970.

    :raises pyarrow.ArrowInvalid: a moment in seconds is too far away for microseconds.
    """
    kind = array.type
    if kind.unit == "us":
        return array
    if pa.types.is_time(kind):
        return array.cast(pa.time64("us"), safe=False)
    if kind.unit == "ns":  # Arrow's own cast rounds towards 1970
        clock = pc.floor_temporal(array.cast(pa.timestamp("ns")), unit="microsecond")
        return clock.cast(pa.timestamp("us"), safe=False).cast(pa.timestamp("us", kind.tz))
    return array.cast(pa.timestamp("us", kind.tz))


def text_of(array: pa.Array) -> pa.Array:
    """Convert values to text.

    Whole floats become integers. Moments are in UTC with microseconds. The result does not depend on their zone and unit, nor on
    the time zone database of the machine.
    """
    if pa.types.is_floating(array.type):
        return _format_floats(array)
    if pa.types.is_time(array.type):
        array = cut_to_microseconds(array)
    if pa.types.is_timestamp(array.type):
        clock = cut_to_microseconds(array).cast(pa.timestamp("us")).cast(pa.string())
        return clock if array.type.tz is None else pc.binary_join_element_wise(clock, "Z", "")
    return array.cast(pa.string())


def _format_floats(array: pa.Array) -> pa.Array:
    """Convert floats to text. Whole ones become integers: an id that came as 1e10 is ``10000000000``."""
    array = without_nan(array).cast(pa.float64())  # the text of a float32 is not always its value: 41970368 or …70
    whole = pc.and_(pc.equal(pc.floor(array), array), pc.less_equal(pc.abs(array), 2.0**53))
    whole = pc.and_(whole, pc.not_equal(array, 0.0))  # the negative zero keeps its sign
    integers = pc.if_else(whole, array, pa.scalar(None, pa.float64())).cast(pa.int64())
    return pc.coalesce(integers.cast(pa.string()), array.cast(pa.string()))
