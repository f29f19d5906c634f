"""Batches: their rows in ``etl_load_batch``, their conflicts, and what happened to their rows since."""
