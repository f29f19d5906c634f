"""Every argument of an operation changes something: what is run on some server, or what undoes it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from gpwarehouse.dialect import (
    DistributedBy,
    Encoding,
    ExternalTable,
    GreenplumDialect,
    Heap,
    OptionError,
    RangePartition,
    UnsupportedByServerError,
)
from gpwarehouse.dialect.migration import operations
from gpwarehouse.dialect.rewrite import RewriteTable, SetEncoding, SetEncodings, SetStorage
from gpwarehouse.dialect.server import SERVER_NAMES
from tests.dialect.alembic_project import BY_C, BY_K, COLUMNAR, DAYS, NUMBERS, RLE

PART = RangePartition("a", 1, 2)
ZLIB = Encoding(compresstype="zlib", compresslevel=3)
CALLS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "add_partition": ([PART], {"storage": COLUMNAR}),
    "drop_partition": ([PART], {"storage": COLUMNAR}),
    "rename_partition": (["a", "b"], {}),
    "exchange_partition": ([PART, "u"], {"validation": False}),
    "attach_partition": (["u", PART], {}),
    "detach_partition": (["u"], {"partition": PART}),
    "set_distribution": ([BY_C], {"existing": BY_K}),
    "set_storage": ([COLUMNAR], {"existing": COLUMNAR, "encodings": {"k": RLE}, "existing_encodings": {"k": ZLIB}}),
    "set_encoding": ([{"k": RLE}], {"existing": {"k": ZLIB}}),
    "repartition_table": (
        [NUMBERS],
        {"existing": DAYS, "distributed_by": BY_C, "storage": COLUMNAR, "encodings": {"k": RLE},
         "existing_options": {"storage": Heap()}},
    ),
    "create_external_table": (
        [Column("k", Integer)],
        {"external": ExternalTable(location="gpfdist://h:1/x", writable=True), "distributed_by": DistributedBy("k"),
         "comment": "It is."},
    ),
    "drop_external_table": ([], {"if_exists": True}),
    "create_view": (["SELECT 1"], {}),
    "drop_view": ([], {"body": "SELECT 1"}),
}  # fmt: skip


def made(cls: Any, args: list[Any], options: dict[str, Any]) -> Any:
    """The operation that a call makes, without running it."""
    recorded: list[Any] = []
    recorder = type("Recorder", (), {"invoke": lambda _, operation: recorded.append(operation)})()
    getattr(cls, cls.operation)(recorder, "t", *args, **options)
    return recorded[0]


def effects(cls: Any, args: list[Any], options: dict[str, Any]) -> list[str]:
    """The SQL of the operation and of its reverse, on each server, or why there is none."""
    found = []
    for server in SERVER_NAMES:
        for reverse in (False, True):
            try:
                operation = made(cls, args, options)
                operation = operation.reverse() if reverse else operation
                dialect = GreenplumDialect(server=server)
                found += [str(element.compile(dialect=dialect)) for element in operation.elements()]
            except (OptionError, UnsupportedByServerError, KeyError) as error:
                found.append(str(error))
    return found


@pytest.mark.parametrize("cls", operations.OPERATIONS, ids=lambda cls: cls.operation)
def test_no_argument_changes_nothing(cls: Any) -> None:
    args, options = CALLS[cls.operation]
    signature = inspect.signature(getattr(cls, cls.operation))
    optional = {name for name, each in signature.parameters.items() if each.default is not each.empty} - {"schema"}
    required = {name for name, each in signature.parameters.items() if each.kind is each.KEYWORD_ONLY} - {"schema"}
    assert {*options} == optional | required
    whole = effects(cls, args, options)
    for name in options:
        if name in optional:
            without = {key: value for key, value in options.items() if key != name}
            assert effects(cls, args, without) != whole, name


VALUES: dict[str, tuple[Any, Any]] = {
    "storage": (COLUMNAR, Heap()),
    "column": ("k", "c"),
    "encoding": (RLE, ZLIB),
    "encodings": ({"k": RLE}, {"k": ZLIB}),
    "repartition": (True, False),
}


@pytest.mark.parametrize("cls", [SetEncoding, SetEncodings, SetStorage, RewriteTable])
def test_no_argument_of_a_rewriting_statement_changes_nothing(cls: Any) -> None:
    def on_all_servers(given: dict[str, Any]) -> list[str]:
        found = []
        for server in SERVER_NAMES:
            table = Table("t", MetaData(), Column("k", Integer), Column("c", Integer), greenplum_partition_by=NUMBERS)
            try:
                found.append(str(cls(table, **given).compile(dialect=GreenplumDialect(server=server))))
            except UnsupportedByServerError as error:
                found.append(str(error))
        return found

    names = list(inspect.signature(cls.__init__).parameters)[2:]
    given = {name: VALUES[name][0] for name in names}
    for name in names:
        assert on_all_servers(given | {name: VALUES[name][1]}) != on_all_servers(given), name
