"""Statements → frames."""

from gpwarehouse.read.frames import read_arrow, to_pandas

__all__ = ["read_arrow", "to_pandas"]
