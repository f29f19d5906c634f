"""Blocks of CSV for Arrow's reader, which takes each of them for the beginning of a file."""

from __future__ import annotations

import codecs

import pyarrow as pa

__all__ = ["csv_block"]


def csv_block(block: bytes) -> pa.BufferReader:
    """A block of whole CSV records in UTF-8, to be read by Arrow.

    Arrow drops a byte order mark at the beginning of what it reads. There the block has the text U+FEFF, so it gets a mark
    that Arrow may drop.
    """
    return pa.BufferReader(codecs.BOM_UTF8 + block if block.startswith(codecs.BOM_UTF8) else block)
