"""Frames with a word about their members, as readers of files have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpwarehouse import Warehouse
from gpwarehouse.load import FrameSource, Loader
from tests.load.rows import MEASUREMENTS, measurement


@dataclass
class File(FrameSource):
    """A frame with a word about its members, as the reader of a file has it."""

    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        return self.told


def load_file(wh: Warehouse, told: dict[str, list[dict[str, Any]]], **values: Any) -> Any:
    source = File([measurement(**values)], MEASUREMENTS, told=told)
    return Loader(wh.engine, wh.settings).load(source)
