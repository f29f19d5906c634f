"""Batches: their rows in ``etl_load_batch``, their conflicts, and later changes of their rows."""

from gpwarehouse.batches.ledger import DELETED, FAILED, LOADED
from gpwarehouse.batches.lost_commits import commit_once

__all__ = ["DELETED", "FAILED", "LOADED", "commit_once"]
