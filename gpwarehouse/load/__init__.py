"""Frames and files → rows: validate, resolve keys, make months and members, COPY, once."""

from gpwarehouse.load.loader import FrameSource, Loader, LoadResult, Source
from gpwarehouse.load.target import Target, target_named
from gpwarehouse.load.validate import Reject

__all__ = ["FrameSource", "LoadResult", "Loader", "Reject", "Source", "Target", "target_named"]
