from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from tests.partitions.fab import EXPORT, with_policy


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.fixture
def fab(wh: Warehouse, archive: Path) -> Iterator[Warehouse]:
    """A warehouse that exports what is older than a year."""
    with with_policy(wh, retention=EXPORT, archive_dir=archive, partition_premake=0) as fab:
        yield fab
