"""Alembic's dialect suite."""

from alembic.testing.suite import *  # noqa: F403
