"""The ways of rows to a server that are measured beside each other."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import pyarrow as pa
from sqlalchemy import Table, insert, text
from sqlalchemy.engine import URL, Engine

from gpwarehouse.intake.frames import BATCH_ROWS, record_batches
from gpwarehouse.transport import Address, copy_rows, insert_rows
from gpwarehouse.transport.columns import slices
from gpwarehouse.transport.copy import wires_of
from gpwarehouse.transport.copy_binary import HEADER, TRAILER, encode_binary
from gpwarehouse.transport.copy_text import encode_text
from gpwarehouse.transport.gpfdist_load import _make_external

__all__ = ["Path", "greenplum_paths", "postgresql_paths"]

Load = Callable[[], Any]
Prepare = Callable[[ExitStack, Engine, Table, pa.Table], Load]


@dataclass(frozen=True)
class Path:
    """A way to load: ``prepare`` does what is not timed.

    :ivar share: it gets one row of so many; its time is scaled up.
    :ivar in_process: its memory is that of this process.
    """

    name: str
    prepare: Prepare
    share: int = 1
    in_process: bool = True


def batches(data: pa.Table) -> Iterator[pa.RecordBatch]:
    return record_batches(data, frozenset())


def in_transaction(engine: Engine, work: Callable[[Any], Any]) -> Load:
    def load() -> None:
        with engine.begin() as connection:
            work(connection)

    return load


def ready_file(stack: ExitStack, table: Table, data: pa.Table, form: str, columns: list[str], exact: bool) -> str:
    """A file of the rows: binary by us, text by polars, as short as the server reads it right."""
    folder = FilePath(stack.enter_context(tempfile.TemporaryDirectory()))
    path = folder / "rows"
    if form == "binary":
        wires = wires_of(table, columns)
        with path.open("wb") as sink:
            sink.write(HEADER)
            sink.writelines(encode_binary(batch, wires) for batch in slices(batches(data)))
            sink.write(TRAILER)
    else:
        write_text(data.select(columns), path, exact)
    folder.chmod(0o755)
    return str(path)


def write_text(data: pa.Table, path: FilePath, exact: bool) -> None:
    import polars

    frame = polars.from_arrow(data)
    assert isinstance(frame, polars.DataFrame)
    flags = polars.when(polars.col(polars.Boolean)).then(polars.lit("t")).otherwise(polars.lit("f"))
    frame.with_columns(polars.when(polars.col(polars.Boolean).is_not_null()).then(flags).name.keep()).write_csv(
        path,
        include_header=False,
        separator="\t",
        quote_style="never",
        null_value="\\N",
        datetime_format="%Y-%m-%d %H:%M:%S%.6f+00",
        float_scientific=None if exact else True,
        float_precision=None if exact else 16,
    )


def copy_file(form: str) -> Prepare:
    def prepare(stack: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
        path = ready_file(stack, table, data, form, table.columns.keys(), True)

        def copy(connection: Any) -> None:
            with FilePath(path).open("rb") as source, connection.connection.cursor() as cursor:
                cursor.copy_expert(f"COPY loaded FROM STDIN WITH (FORMAT {form})", source, 1 << 16)

        return in_transaction(engine, copy)

    return prepare


def ours(form: Any = None) -> Prepare:
    def prepare(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
        columns = tuple(table.columns.keys())
        return in_transaction(engine, lambda connection: copy_rows(connection, table, batches(data), columns, form))

    return prepare


def ours_twice(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    """Two halves on two connections, each in a transaction of its own."""
    columns, middle = tuple(table.columns.keys()), data.num_rows // 2

    def load() -> None:
        halves = [data.slice(0, middle), data.slice(middle)]
        loads = [
            in_transaction(engine, lambda c, half=half: copy_rows(c, table, batches(half), columns))  # type: ignore[misc]
            for half in halves
        ]
        threads = [threading.Thread(target=each) for each in loads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return load


def ours_from_pandas(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    frame, columns = data.to_pandas(), tuple(table.columns.keys())
    return in_transaction(engine, lambda c: copy_rows(c, table, record_batches(frame, frozenset()), columns))


def pgpq(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    """As its README does: encode, then COPY; in a thread beside it the peer would gain what we gain."""
    from pgpq import ArrowToPostgresBinaryEncoder
    from pgpq.encoders import StringEncoderBuilder
    from pgpq.schema import Jsonb

    from gpwarehouse.transport.copy_stream import EncodedStream

    def chunks() -> Iterator[bytes]:
        chosen = {field.name: ArrowToPostgresBinaryEncoder.infer_encoder(field) for field in data.schema}
        chosen["attributes"] = StringEncoderBuilder.new_with_output(data.schema.field("attributes"), Jsonb())
        encoder = ArrowToPostgresBinaryEncoder.new_with_encoders(data.schema, chosen)
        yield encoder.write_header()
        for batch in data.to_batches(max_chunksize=BATCH_ROWS // 4):
            yield encoder.write_batch(batch)
        yield encoder.finish()

    def copy(connection: Any) -> None:
        with EncodedStream(chunks()) as stream, connection.connection.cursor() as cursor:
            cursor.copy_expert("COPY loaded FROM STDIN WITH (FORMAT binary)", stream, 1 << 18)

    return in_transaction(engine, copy)


def plain(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def adbc(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    from adbc_driver_postgresql import dbapi

    def load() -> None:
        with dbapi.connect(plain(engine.url)) as connection, connection.cursor() as cursor:
            # It writes text for what is jsonb: into a table it may not, so that column is left to its default.
            cursor.adbc_ingest("loaded", data.drop_columns(["attributes"]), mode="append")
            connection.commit()

    return load


def psycopg3(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    import psycopg

    rows = list(zip(*(column.to_pylist() for column in data.columns), strict=True))

    def load() -> None:
        with psycopg.connect(plain(engine.url)) as connection, connection.cursor() as cursor:
            with cursor.copy("COPY loaded FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

    return load


def polars_adbc(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    import polars

    frame = polars.from_arrow(data.drop_columns(["attributes"]))
    return lambda: frame.write_database("loaded", plain(engine.url), if_table_exists="append", engine="adbc")


def to_csv(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    import pandas

    frame = data.to_pandas(types_mapper={pa.int32(): pandas.Int32Dtype()}.get)

    def copy(connection: Any) -> None:
        sink = io.StringIO()
        frame.to_csv(sink, header=False, index=False)
        sink.seek(0)
        with connection.connection.cursor() as cursor:
            cursor.copy_expert("COPY loaded FROM STDIN WITH (FORMAT csv)", sink)

    return in_transaction(engine, copy)


def to_sql(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    frame = data.to_pandas()
    kinds = {"attributes": table.columns["attributes"].type}
    frame["attributes"] = frame["attributes"].map(json.loads)
    return lambda: frame.to_sql("loaded", engine, if_exists="append", index=False, dtype=kinds)


def execute_values(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    from psycopg2.extras import execute_values as send

    rows = list(zip(*(column.to_pylist() for column in data.columns), strict=True))

    def copy(connection: Any) -> None:
        with connection.connection.cursor() as cursor:
            send(cursor, "INSERT INTO loaded VALUES %s", rows, page_size=1000)

    return in_transaction(engine, copy)


def insertmanyvalues(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    rows = data.to_pylist()
    for row in rows:
        row["attributes"] = json.loads(row["attributes"])
    return in_transaction(engine, lambda connection: connection.execute(insert(table), rows))


def psql(order: str) -> Prepare:
    """``\\copy`` of a ready text file."""

    def prepare(stack: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
        columns = table.columns.keys()
        columns = columns if order == "first" else [*columns[2:], *columns[:2]]
        path = ready_file(stack, table, data, "text", columns, exact_of(engine))
        command = f"\\copy loaded ({', '.join(columns)}) from '{path}'"
        return lambda: subprocess.run(
            ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", command, plain(engine.url)],
            check=True,
            capture_output=True,
            timeout=600,
        )

    return prepare


def exact_of(engine: Engine) -> bool:
    return bool(engine.dialect.capabilities.exact_float_text)  # type: ignore[attr-defined]


def segments_fetch(_: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    columns = tuple(table.columns.keys())
    return in_transaction(engine, lambda c: insert_rows(c, table, batches(data), columns, Address("127.0.0.1")))


def segments_fetch_ready(stack: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    """Our server with texts made before."""
    from gpwarehouse.transport import gpfdist_load

    columns = tuple(table.columns.keys())
    cut = list(slices(batches(data)))
    wires, exact = wires_of(table, columns), exact_of(engine)
    texts = {id(batch): encode_text(batch, wires, exact_floats=exact) for batch in cut}

    def load() -> None:
        encode, cutting = gpfdist_load.encode_text, gpfdist_load.slices
        gpfdist_load.encode_text = lambda batch, _, exact_floats: texts[id(batch)]
        gpfdist_load.slices = lambda given: iter(given)
        try:
            with engine.begin() as connection:
                insert_rows(connection, table, cut, columns, Address("127.0.0.1"))
        finally:
            gpfdist_load.encode_text, gpfdist_load.slices = encode, cutting

    return load


def gpfdist_program(stack: ExitStack, engine: Engine, table: Table, data: pa.Table) -> Load:
    """The program that comes with Greenplum, serving a ready file."""
    columns = list(table.columns.keys())
    path = FilePath(ready_file(stack, table, data, "text", columns, exact_of(engine)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = subprocess.Popen(
        ["gpfdist", "-d", str(path.parent), "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(program.wait)
    stack.callback(program.terminate)
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
    gpfdist_load = _make_external(table, columns, f"gpfdist://127.0.0.1:{port}/rows")

    def work(connection: Any) -> None:
        from sqlalchemy import select
        from sqlalchemy.schema import CreateTable, DropTable

        connection.execute(text("SET LOCAL gp_autostats_mode = none"))
        connection.execute(CreateTable(gpfdist_load))
        chosen = select(*(gpfdist_load.c[name] for name in columns))
        connection.execute(insert(table).from_select(columns, chosen, include_defaults=False))
        connection.execute(DropTable(gpfdist_load))

    return in_transaction(engine, work)


def postgresql_paths() -> list[Path]:
    """The floor first."""
    return [
        Path("floor: psycopg2 copies a ready BINARY file", copy_file("binary")),
        Path("gpwarehouse, Arrow, BINARY", ours()),
        Path("gpwarehouse, Arrow, BINARY, two connections (not atomic)", ours_twice),
        Path("gpwarehouse, pandas, BINARY", ours_from_pandas),
        Path("pgpq, a thread beside copy_expert", pgpq),
        Path("gpwarehouse, Arrow, TEXT", ours("text")),
        Path("psycopg2 copies a ready TEXT file", copy_file("text")),
        Path("ADBC ingest (27 columns: it cannot write jsonb)", adbc),
        Path("polars write_database, ADBC (27 columns)", polars_adbc),
        Path("psycopg 3 COPY, row by row", psycopg3, 10),
        Path("pandas to_csv, then COPY", to_csv, 10),
        Path("psycopg2 execute_values", execute_values, 50),
        Path("SQLAlchemy insertmanyvalues", insertmanyvalues, 50),
        Path("pandas to_sql", to_sql, 50),
    ]


def greenplum_paths() -> list[Path]:
    """The floor first."""
    return [
        Path("floor: psql \\copy of a ready TEXT file, keys first", psql("first"), in_process=False),
        Path("psql \\copy of a ready TEXT file, keys last", psql("last"), in_process=False),
        Path("gpwarehouse, COPY BINARY", ours("binary")),
        Path("gpwarehouse, COPY TEXT, keys first", ours("text")),
        Path("gpfdist, the program, ready file", gpfdist_program, in_process=False),
        Path("gpwarehouse, gpfdist, ready texts", segments_fetch_ready),
        Path("gpwarehouse, gpfdist, encoding on the fly", segments_fetch),
        Path("psycopg2 execute_values", execute_values, 50),
        Path("pandas to_sql", to_sql, 100),
    ]
