"""Texts and floats that break formats, and random ones."""

from __future__ import annotations

from hypothesis import strategies as st

NASTY_TEXTS = [
    *("", " ", "\t", "\n", "\r", "\r\n", '"', '""', "'", ",", "\\", "\\\\", "\\.", "\n\\.\n", "\\N", "NULL", "null"),
    *('a"b', 'a,"b"\n', "a\\", "\\x41", "{}", "\x01\x02\x1e\x7f", "\ufeffBOM", "e\u0301", "\u2028\u2029"),
    *("😀", "\U0001f469\u200d\U0001f467", "\U0010ffff"),
    *("a\rb", "a\nb", "a\r\nb", "\n\n\n", "$$", "--", "%s %(x)s", ":name", "x" * 100_000, "😀" * 25_000, '"' * 50_000),
]  # fmt: skip


NASTY_FLOATS = [
    *(0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 2.225073858507201e-308, 1.7976931348623157e308),
    *(0.1, 1 / 3, 1e22, 1e23, 9007199254740993.0, 2.0**53, 1e-5, 123456789.123456789, -273.15),
    *(8.41e21, 2.0**-1074, 4.35, 0.000001, 5e-5, 6.02214076e23, 9.5367431640625e-07, 1.1754943508222875e-38),
]  # fmt: skip


characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(NASTY_FLOATS)
