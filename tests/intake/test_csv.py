"""CSV files: what is loaded is what the file says, whatever its dialect; what is no CSV is refused with line and option."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.intake.csv import CsvOptions, csv_batches
from gpwarehouse.intake.expected_columns import Expected
from tests.intake.csv_files import Written, damaged, oracle_options, read, said, written_files

NUMBERS = Expected("the target", frozenset(["lot_id", "cd_nm", "spc_rule"]), frozenset(["cd_nm"]))
_BLOCKS = st.integers(1, 64) | st.just(1 << 20)


@settings(max_examples=200, deadline=None)
@given(written_files(), _BLOCKS, st.booleans())
def test_a_whole_file_is_read_exactly_in_any_dialect(file: Written, block: int, told: bool) -> None:
    assert read(file.content(), file.options(told=told), block) == list(map(list, file.rows))


@settings(max_examples=150, deadline=None)
@given(written_files(plain=True), _BLOCKS)
def test_a_whole_file_of_commas_and_utf_8_needs_no_options(file: Written, block: int) -> None:
    assert read(file.content(), CsvOptions(), block) == list(map(list, file.rows))


@settings(max_examples=300, deadline=None)
@given(st.data(), written_files(), _BLOCKS)
def test_a_damaged_file_is_read_as_it_stands_or_refused(data: st.DataObject, file: Written, block: int) -> None:
    content = data.draw(st.composite(damaged)(file.content()), "damaged")
    options = oracle_options(file)
    try:
        rows = read(content, options, block)
    except InvalidInputError:
        return
    assert [["" if value is None else value for value in row] for row in rows] == said(
        content, options, len(file.names)
    )


def test_a_byte_order_mark_within_the_file_is_a_character_of_its_value() -> None:
    """As ``cat`` leaves it where it joins two files."""
    content = "\ufefflot_id,spc_rule\n\ufeffL1,a\nL2,b\n".encode()
    assert read(content, CsvOptions(), 1) == [["\ufeffL1", "a"], ["L2", "b"]]


@pytest.mark.parametrize("block", range(1, 40))
def test_a_line_end_in_quotes_is_kept_wherever_a_block_ends(block: int) -> None:
    content = b'lot_id,spc_rule\r\nL1,"zz\r\nB"\r\nL2,x\r\n'
    assert read(content, CsvOptions(), block) == [["L1", "zz\r\nB"], ["L2", "x"]]


def test_an_empty_text_a_field_of_nothing_and_other_nulls_are_told_apart() -> None:
    content = b'lot_id,spc_rule\nL1,""\nL2,\nL3,NA\nL4,"NA"\n'
    assert read(content, CsvOptions()) == [["L1", ""], ["L2", None], ["L3", "NA"], ["L4", "NA"]]
    told = CsvOptions(null_values=("NA", "-"))
    assert read(content, told) == [["L1", ""], ["L2", None], ["L3", None], ["L4", "NA"]]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"sep=;\r\nlot_id;spc_rule\r\nL1;x,y\r\n", [["L1", "x,y"]]),
        (b'"sep=\t"\nlot_id\tspc_rule\nL1\tx\n', [["L1", "x"]]),
        (b"\n\nlot_id|spc_rule\nL1|x\n\n", [["L1", "x"]]),
        (b"\xef\xbb\xbflot_id ,\tspc_rule\nL1,x", [["L1", "x"]]),
        (b"\xef\xbb\xbfsep=,\nlot_id,spc_rule\nL1,x", [["L1", "x"]]),
        (b"lot_id\nL1;2\n", [["L1;2"]]),  # one heading is one under every delimiter
        (b"lot_id,spc_rule\n", []),
        (b"lot_id,spc_rule", []),
    ],
)
def test_what_most_programs_write_is_understood_unasked(content: bytes, rows: list[Any]) -> None:
    assert read(content, CsvOptions()) == rows


REFUSED: list[tuple[bytes, CsvOptions, str, str]] = [
    (b'lot_id,spc_rule\nL1,a\nL2,"b\nL3,c\n', CsvOptions(), "line 3", "--csv-quote none"),
    (b'lot_id,spc_rule\nL1,"a\nL2,"b"\n', CsvOptions(), "line 3", "after the quote that closes"),
    (b'lot_id,spc_rule\nL1,"a"b\n', CsvOptions(), "line 2", "after the quote that closes"),
    (b'lot_id,spc_rule\nL1,12" x\n', CsvOptions(), "line 2", "quote=None"),
    (b'lot_id,spc_rule\nL1, "a"\n', CsvOptions(), "line 2", "there is a quote within a field"),
    (b"lot_id,spc_rule\nL1,a\nL2,b,c\n", CsvOptions(), "line 3", "3 fields, but there are 2 headings"),
    (b'lot_id,spc_rule\nL1,"a\nb"\nL2\n', CsvOptions(), "line 4", "1 fields, but there are 2 headings"),
    (b"lot_id,spc_rule\nL1,a\nL2", CsvOptions(), "line 3", "cut off"),
    (b"lot_id,spc_rule\r\nL1,a\r\nL2,b\r", CsvOptions(), "line 3", "cut off"),
    (b"lot_id,spc_rule\nL1,a\rL2,b\n", CsvOptions(), "line 2", "a CR is not followed by LF"),
    (b"lot_id,spc_rule\rL1,a\rL2,b\r", CsvOptions(), "line 1", "a CR is not followed by LF"),
    (b"lot_id,spc_rule\nL1,a\x00\n", CsvOptions(), "line 2", "NUL"),
    (b"lot_id,spc_rule,lot_id\nL1,a,L2\n", CsvOptions(), "line 1", "'lot_id' occurs 2 times"),
    (b"lot_id,spc_rule\nL1,\xe9\n", CsvOptions(), "line 2", "encoding='cp1252'"),
    (b"lot_id,spc_rule\nL1,\x81\n", CsvOptions(encoding="cp1252"), "line 2", "encoding='cp1252'"),
    ("lot_id,spc_rule\nL1,a\n".encode("utf-16"), CsvOptions(), "line 1", "encoding='utf-16'"),
    ("lot_id,spc_rule\nL1,a\n".encode("utf-16-le"), CsvOptions(), "line 1", "encoding='utf-16-le'"),
    ("lot_id,spc_rule\nL1,a\n".encode("utf-16-be"), CsvOptions(), "line 1", "encoding='utf-16-be'"),
    (b"\xef\xbb\xbflot_id\nL1\n", CsvOptions(encoding="cp1252"), "line 1", "encoding='utf-8'"),
    ("lot_id,spc_rule\nL1,a\n".encode("utf-16")[:-1], CsvOptions(encoding="utf-16"), "line 2", "utf-16"),
    (b"sep=;\nlot_id;spc_rule\n", CsvOptions(delimiter=","), "line 1", "delimiter=','"),
    (b"Tool: A\n\nlot_id;spc_rule\nL1;a\n", CsvOptions(), "line 1", "give header_line=3"),
    (b"Tool: A\nlot_id:spc_rule\nL1:a\n", CsvOptions(), "line 1", "header_line="),
    (b"lot_id;spc_rule\nL1;a\n", CsvOptions(delimiter=","), "line 1", "delimiter=';'"),
    (b"L1,a\nL2,b\n", CsvOptions(), "line 1", "no heading"),
    (b"lot_id,spc_rule\nL1,a\n", CsvOptions(header_line=9), "header_line=9", "the file ends in line 3"),
    (b"", CsvOptions(), "the file is empty", "no headings"),
    (b"\n\n", CsvOptions(), "blank lines", "no headings"),
    (b"lot_id\nL1\n\nL2\n", CsvOptions(), "line 4", "blank lines stand before this line"),
    (b"lot_id;cd_nm\nL1;1,5\n", CsvOptions(), "line 2, column 'cd_nm'", "give decimal=','"),
    (b'lot_id,cd_nm\nL1,7\nL2,"1,5"\n', CsvOptions(), "line 3, column 'cd_nm'", "give decimal=','"),
    (b"lot_id;cd_nm\nL1;1,5\nL2;1.234\n", CsvOptions(decimal=","), "line 3, column 'cd_nm'", "thousands"),
]


@pytest.mark.parametrize(("content", "options", "line", "helps"), REFUSED)
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_what_is_no_csv_is_refused_with_line_and_cause(
    content: bytes, options: CsvOptions, line: str, helps: str, block: int
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        list(csv_batches(io.BytesIO(content), options, NUMBERS, block_bytes=block))
    assert line in str(caught.value)
    assert helps in str(caught.value)


def test_decimal_commas_are_read_in_columns_of_numbers_alone() -> None:
    content = b"lot_id;cd_nm;spc_rule\nL1;-1,5e3;1,5\nL2;7;a\nL3;,25;b\nL4;1,2,3;c\n"
    (batch,) = csv_batches(io.BytesIO(content), CsvOptions(decimal=","), NUMBERS)
    assert batch.column("cd_nm").to_pylist() == ["-1.5e3", "7", ".25", "1,2,3"]
    assert batch.column("spc_rule").to_pylist() == ["1,5", "a", "b", "c"]


def test_a_single_comma_among_points_is_the_fault_of_its_row() -> None:
    content = b'lot_id,cd_nm\nL1,1.5\nL2,"1,5"\nL3,2.5\n'
    (batch,) = csv_batches(io.BytesIO(content), CsvOptions(), NUMBERS)
    assert batch.column("cd_nm").to_pylist() == ["1.5", "1,5", "2.5"]


def test_the_headings_may_be_cut_by_any_block() -> None:
    content = b'Tool "A\nsays, "x\n"lot_id"; wafer_id ;"spc_rule"\nL1;7;a\n'
    for block in range(1, len(content)):
        assert read(content, CsvOptions(header_line=3), block) == [["L1", "7", "a"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"delimiter": ",,"},
        {"delimiter": "\n"},
        {"delimiter": "é"},
        {"delimiter": '"'},
        {"quote": ""},
        {"encoding": "latin-17"},
        {"encoding": "base64"},
        {"encoding": 7},
        {"decimal": ";"},
        {"header_line": 0},
        {"header_line": True},
        {"null_values": "NA"},
        {"null_values": (None,)},
    ],
)
def test_options_that_are_none_are_refused_where_they_are_written(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        CsvOptions(**wrong)


def test_options_are_values() -> None:
    options = CsvOptions(delimiter=";", encoding="cp1252", decimal=",", null_values=["NA"])  # type: ignore[arg-type]
    assert eval(repr(options)) == options
    assert len({options, CsvOptions(delimiter=";")}) == 2
