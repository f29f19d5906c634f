"""Batches: their rows in ``etl_load_batch``, their conflicts, and what happened to their rows since."""

from gpwarehouse.batches.ledger import DELETED, FAILED, LOADED, state
from gpwarehouse.batches.lost_commits import settled

__all__ = ["DELETED", "FAILED", "LOADED", "settled", "state"]
