"""STDF files with a block lost, zeroed or written twice, and what becomes of them.

By hand, with any file: ``python tests/sources/damaged.py FILE COUNT [SEED]`` prints what became of as many variants.
"""

from __future__ import annotations

import gzip
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gpwarehouse.errors import SourceFormatError
from gpwarehouse.sources.stdf import StdfSource

Kind = Literal["zeroed", "cut", "doubled"]
KINDS: tuple[Kind, ...] = ("zeroed", "cut", "doubled")
SIZES = (512, 512, 4096, 4096, 1024, 2048, 8192)


@dataclass(frozen=True)
class Damage:
    """A block of a file, and what is done to it."""

    kind: Kind
    at: int
    size: int

    def apply(self, whole: bytes) -> bytes:
        end = min(len(whole), self.at + self.size)
        block = whole[self.at : end]
        if self.kind == "zeroed":
            return whole[: self.at] + bytes(len(block)) + whole[end:]
        return whole[: self.at] + (block * 2 if self.kind == "doubled" else b"") + whole[end:]


def damages(length: int, count: int, seed: int) -> Iterator[Damage]:
    """As many, anywhere: half of them whole blocks of a disk, the others of any size at any byte."""
    rng = random.Random(seed)
    for number in range(count):
        kind = KINDS[number % 3]
        if number % 2:
            size = rng.choice(SIZES)
            yield Damage(kind, rng.randrange(0, max(1, length // size)) * size, size)
        else:
            size = rng.randrange(60, 6000)
            yield Damage(kind, rng.randrange(0, max(1, length - size)), size)


def read_all(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    """Rows, members, warnings."""
    source = StdfSource(path)
    rows = [row for batch in source.batches() for row in batch.to_pylist()]
    return rows, dict(source.members()), list(source.warnings())


def outcome(path: Path, whole: bytes, damage: Damage, right: tuple[Any, Any, Any]) -> tuple[str, str]:
    """``refused``, ``same`` (the rows and members of the whole file), ``told`` or ``silent``; and the words."""
    damaged = damage.apply(whole)
    if damaged == whole:
        return "same", "nothing was changed"
    path.write_bytes(damaged)
    try:
        rows, members, warnings = read_all(path)
    except SourceFormatError as error:
        return "refused", str(error)
    if (rows, members) == right[:2]:
        return "same", "; ".join(warnings)
    return ("told" if warnings != right[2] else "silent"), "; ".join(warnings)


def main(file: str, count: str, seed: str = "1") -> None:
    whole = Path(file).read_bytes()
    whole = gzip.decompress(whole) if whole[:2] == b"\x1f\x8b" else whole
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.stdf"
        path.write_bytes(whole)
        right = read_all(path)
        for damage in damages(len(whole), int(count), int(seed)):
            what, words = outcome(path, whole, damage, right)
            counts[damage.kind, what] += 1
            if what != "refused":
                sys.stdout.write(f"{what} {damage} {words[:300]}\n")
    total = Counter(what for _, what in counts.elements())
    sys.stdout.write(f"{dict(counts)} {dict(total)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
