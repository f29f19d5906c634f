"""Durable keys: Python and SQL agree, what cannot be a key is refused, wafer and lot names are read as they should."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Text, bindparam, create_engine, select
from sqlalchemy.dialects import postgresql

from gpwarehouse.embedded import EmbeddedServer
from gpwarehouse.errors import NaturalKeyError
from gpwarehouse.models.keys import (
    BLANKS,
    KEY_SEPARATOR,
    NOT_APPLICABLE_KEY,
    PLACEHOLDER_WAFER_ID,
    UNKNOWN_KEY,
    durable_key,
    durable_key_sql,
    natural_key_part,
    normalise_wafer_id,
    root_lot,
)

# Everything a key may hold, with what trips the two forms apart made frequent: blanks of Unicode that only one of
# str.strip() and btrim() would take, the separator's neighbours, quotes, backslashes, combining and astral characters.
NASTY = "\x1c\x1d\x1e\x85\xa0\u2003\u2028\u3000\ufeff\u200b\\'\"%:$;|e\u0301é😀\U0010ffffA0 " + BLANKS
PART = st.text(
    st.one_of(st.sampled_from(NASTY), st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x1f")),
    max_size=20,
)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with EmbeddedServer.start() as server:
        engine = create_engine(server.url())
        with engine.connect() as connection:
            yield connection
        engine.dispose()


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(PART, min_size=1, max_size=4))
def test_python_and_sql_give_the_same_key(connection: Connection, parts: list[str]) -> None:
    columns = [bindparam(None, part, Text) for part in parts]
    assert connection.scalar(select(durable_key_sql(*columns))) == durable_key(*parts)


def test_the_sql_form_binds_nothing_and_needs_nothing_newer_than_postgresql_9_4() -> None:
    from sqlalchemy import column

    compiled = durable_key_sql(column("a", Text), column("b", Text)).compile(dialect=postgresql.dialect())
    assert compiled.params == {}
    assert str(compiled) == (
        r"CAST(CAST('x' || substr(md5(btrim(a, E' \t\n\013\f\r') || chr(31) || btrim(b, E' \t\n\013\f\r')), 1, 16) "
        "AS BIT(64)) AS BIGINT)"
    )


def test_a_null_part_makes_the_sql_key_null(connection: Connection) -> None:
    assert connection.scalar(select(durable_key_sql(bindparam(None, "a", Text), bindparam(None, None, Text)))) is None


@given(parts=st.lists(PART, min_size=1, max_size=4))
def test_key_is_the_first_64_bits_of_the_md5_as_a_signed_integer(parts: list[str]) -> None:
    digest = hashlib.md5("\x1f".join(part.strip(" \t\n\v\f\r") for part in parts).encode()).hexdigest()
    unsigned = int(digest[:16], 16)
    key = durable_key(*parts)
    assert key % 2**64 == unsigned
    assert -(2**63) <= key < 2**63


@given(part=PART, blanks=st.text(st.sampled_from(BLANKS), max_size=4))
def test_blanks_at_the_ends_do_not_count_and_case_does(part: str, blanks: str) -> None:
    assert durable_key(blanks + part + blanks, "x") == durable_key(part, "x")
    assert durable_key("lot") != durable_key("LOT")


def test_parts_do_not_run_into_each_other() -> None:
    assert durable_key("ab", "c") != durable_key("a", "bc")
    assert durable_key("a", "") != durable_key("a")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (None, "NULL"),
        (7, "int"),
        ("a" + KEY_SEPARATOR, "U\\+001F"),
        ("a\x00b", "NUL"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_what_cannot_be_a_key_part_is_refused_by_name(bad: object, said: str) -> None:
    with pytest.raises(NaturalKeyError, match=f"lot_id is .*{said}"):
        durable_key("FAB", bad, names=["facility", "lot_id"])  # type: ignore[arg-type]
    with pytest.raises(NaturalKeyError, match="part 2"):
        durable_key("FAB", bad)  # type: ignore[arg-type]


def test_no_part_is_no_key() -> None:
    with pytest.raises(NaturalKeyError, match="at least one"):
        durable_key()
    with pytest.raises(NaturalKeyError, match="at least one"):
        durable_key_sql()


@pytest.mark.parametrize("reserved", [UNKNOWN_KEY, NOT_APPLICABLE_KEY])
def test_a_hash_that_is_a_reserved_key_is_refused(monkeypatch: pytest.MonkeyPatch, reserved: int) -> None:
    # No text with such a hash is known (one in 2**63), so the hash itself is replaced.
    class Hash:
        def digest(self) -> bytes:
            return reserved.to_bytes(8, "big", signed=True) + bytes(8)

    monkeypatch.setattr(hashlib, "md5", lambda *_, **__: Hash())
    with pytest.raises(NaturalKeyError, match=f"hashes to {reserved}, which is reserved"):
        durable_key("a", "b")


def test_a_stored_part_is_stripped_as_it_is_hashed() -> None:
    assert natural_key_part(" LOT1 \r\n", "lot_id") == "LOT1"
    assert natural_key_part("\xa0LOT1", "lot_id") == "\xa0LOT1"


@pytest.mark.parametrize(
    ("raw", "lot", "wafer"),
    [
        ("GAL-LOT-02", "GAL-LOT", "02"),
        ("GAL-LOT - 2", "GAL-LOT ", "02"),
        ("2", "L1", "02"),
        (" 12 ", "L1", "12"),
        ("125", "L1", "125"),
        ("LOT12", "LOT1", "LOT12"),
        ("L1_W3", "L1", "W3"),
        ("L1", "L1", "L1"),
        ("L1-", "L1", "L1-"),
        ("A12.01", "A12.01", "A12.01"),
        ("A12-05", "A12.01", "05"),
        ("A12.01-05", "A12.01", "05"),
        ("7", "", "07"),
        ("٣", "L1", "٣"),
        ("", "L1", PLACEHOLDER_WAFER_ID),
        ("  ", "L1", PLACEHOLDER_WAFER_ID),
        (None, "L1", PLACEHOLDER_WAFER_ID),
    ],
)
def test_wafer_ids_lose_their_lot_and_gain_a_zero(raw: str | None, lot: str, wafer: str) -> None:
    assert normalise_wafer_id(raw, lot) == wafer


@given(
    wafer=st.integers(0, 99), lot=st.from_regex(r"[A-Z][A-Z0-9]{0,6}([-_][A-Z0-9]{1,4})?(\.[0-9]{2})?", fullmatch=True)
)
def test_a_wafer_has_one_id_however_the_tool_writes_it(wafer: int, lot: str) -> None:
    written = [
        f"{wafer}",
        f"{wafer:02}",
        f" {wafer} ",
        f"{lot}-{wafer:02}",
        f"{lot}.{wafer}",
        f"{root_lot(lot)}_{wafer}",
    ]
    ids = {normalise_wafer_id(raw, lot) for raw in written}
    assert ids == {f"{wafer:02}"}
    assert normalise_wafer_id(ids.copy().pop(), lot) == f"{wafer:02}"


def test_a_wafer_id_pattern_goes_before_the_rule() -> None:
    assert normalise_wafer_id("X9W7Q", "L1", r"W(\d)") == "07"
    assert normalise_wafer_id("X9W7Q", "L1", r"(X)\dW(?P<wafer>\w+)") == "7Q"
    assert normalise_wafer_id("X9W7Q", "L1", r"W\d") == "W7"
    assert normalise_wafer_id("L1-3", "L1", r"W(\d)") == "03"
    with pytest.raises(NaturalKeyError, match="no regular expression"):
        normalise_wafer_id("X", "L1", "(")


@pytest.mark.parametrize(
    ("lot", "pattern", "root"),
    [
        ("A1234.07", None, "A1234"),
        ("A1234.07.1", None, "A1234"),
        ("A1234", None, "A1234"),
        (" A1234 ", None, "A1234"),
        (".7", None, ".7"),
        ("A1234-07", r"^(\w+)-", "A1234"),
        ("A1234-07", r"^(?P<x>.)(?P<root>\w+)", "1234"),
        ("A1234.07", r"^(\w+)-", "A1234.07"),
    ],
)
def test_root_lots_are_found_in_the_name(lot: str, pattern: str | None, root: str) -> None:
    assert root_lot(lot, pattern) == root
