"""A generated fab as a folder of Parquet files: one file per fact and bridge, members and lists of parameters as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gpwarehouse.errors import InvalidInputError, SourceFormatError
from gpwarehouse.generate.fab import BATCH_ROWS, FACTS, Fab, FabSource
from gpwarehouse.generate.rows import TIMESTAMP
from gpwarehouse.models.parameter_sets import Parameter, ParameterSet

__all__ = ["GENEALOGY", "STAYS", "FabFolder", "is_fab_folder", "write_fab"]

_MARK = "fab.json"
_SETS = "parameter_sets.json"
GENEALOGY = pa.schema(
    [("parent_lot_id", pa.string()), ("child_lot_id", pa.string()), ("event_type", pa.string()), ("event_ts", TIMESTAMP),
     ("wafer_count", pa.int32())]
)  # fmt: skip
STAYS = pa.schema(
    [("root_lot_id", pa.string()), ("wafer_id", pa.string()), ("lot_id", pa.string()), ("from_ts", TIMESTAMP),
     ("to_ts", TIMESTAMP)]
)  # fmt: skip


def write_fab(fab: Fab, folder: str | PathLike[str]) -> Path:
    """Write a fab to a new folder, in constant memory except for the members and genealogy of its lots.

    :raises InvalidInputError: the folder exists and is not empty.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise InvalidInputError(f"{path} is not empty; give a new folder")
    for source in fab.sources():
        with pq.ParquetWriter(path / f"{source.target}.parquet", source.schema, compression="zstd") as writer:
            for batch in source.batches():
                writer.write_batch(batch)
    pq.write_table(pa.Table.from_pylist(fab.genealogy(), GENEALOGY), path / "bridge_lot_genealogy.parquet")
    pq.write_table(pa.Table.from_pylist(list(fab.stays()), STAYS), path / "bridge_wafer_lot.parquet")
    (path / "members.json").write_text(json.dumps(fab.members(), default=_encode), "utf-8")
    sets = {source.target: [list(map(asdict, one.parameters)) for one in source.sets] for source in fab.sources()}
    (path / _SETS).write_text(json.dumps(sets, indent=2) + "\n", "utf-8")
    told = {
        "kind": "gpwarehouse generated fab",
        "settings": asdict(fab.settings),
        "truth": _flatten(asdict(fab.truth())),
    }
    (path / _MARK).write_text(
        json.dumps(told, default=_encode, indent=2) + "\n", "utf-8"
    )  # last: the folder is complete
    return path


def _encode(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form here")


def _flatten(truth: dict[str, Any]) -> dict[str, Any]:
    truth["capability"] = {" ".join(key): value for key, value in truth["capability"].items()}
    return truth


def is_fab_folder(folder: Path) -> bool:
    """Whether :func:`write_fab` wrote the folder."""
    return (folder / _MARK).is_file()


class FabFolder:
    """A fab that was written to a folder, with the methods of :class:`Fab` that a load needs.

    :raises SourceFormatError: the folder is not such a folder.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        if not is_fab_folder(self.folder):
            raise SourceFormatError(
                f"{self.folder} holds no {_MARK}: gpwarehouse data generate did not write it, or did not complete it"
            )

    def sources(self, *, batch_rows: int = BATCH_ROWS) -> list[FabSource]:
        """The facts' rows; the first source also has all members."""
        return [self._open_source(name, batch_rows, with_members=number == 0) for number, name in enumerate(FACTS)]

    def members(self) -> dict[str, list[dict[str, Any]]]:
        """Dimension → members of the fab with attributes."""
        told: dict[str, list[dict[str, Any]]] = json.loads((self.folder / "members.json").read_text("utf-8"))
        for row in told["dim_lot"]:
            row |= {name: datetime.fromisoformat(row[name]) for name in ("start_ts", "complete_ts")}
        return told

    def genealogy(self) -> list[dict[str, Any]]:
        """Splits and merges."""
        rows: list[dict[str, Any]] = pq.read_table(self.folder / "bridge_lot_genealogy.parquet").to_pylist()
        return rows

    def stays(self) -> Iterator[dict[str, Any]]:
        """Which wafer was in which lot when."""
        yield from pq.read_table(self.folder / "bridge_wafer_lot.parquet").to_pylist()

    def _open_source(self, name: str, batch_rows: int, *, with_members: bool) -> FabSource:
        file = self.folder / f"{name}.parquet"

        def make() -> Iterator[pa.RecordBatch]:
            with pq.ParquetFile(file) as parquet:
                yield from parquet.iter_batches(batch_rows)

        def tell() -> Mapping[str, list[dict[str, Any]]]:
            return self.members() if with_members else {}

        lists = json.loads((self.folder / _SETS).read_text("utf-8")).get(name, ())
        sets = [ParameterSet.of(Parameter(**one) for one in parameters) for parameters in lists]
        return FabSource(name, pq.read_schema(file), make, tell, source_file="", sets=sets)
