"""Blocks of CSV for Arrow's reader, which treats each block as the beginning of a file."""

from __future__ import annotations

import codecs

import pyarrow as pa

__all__ = ["csv_block"]


def csv_block(block: bytes) -> pa.BufferReader:
    """Open a block of whole CSV records in UTF-8 for Arrow.

    Arrow drops a byte order mark at the beginning of its input. If the block begins with the text U+FEFF, a mark is put before
    it that Arrow may drop.
    """
    return pa.BufferReader(codecs.BOM_UTF8 + block if block.startswith(codecs.BOM_UTF8) else block)
