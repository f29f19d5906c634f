"""Alembic: operations, autogenerate, rendering. Loaded by the entry point ``alembic.plugins``; nothing to configure.

The plugin's name begins with ``alembic.autogenerate.`` so that Alembic's default ``autogenerate_plugins`` takes it in.
It does nothing for connections of other dialects. This package alone of the dialect imports Alembic.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

__all__ = ["PLUGIN_NAME", "register", "setup"]

PLUGIN_NAME = "alembic.autogenerate.greenplum"


def setup(plugin: Any) -> None:
    """Called by Alembic with its :class:`~alembic.runtime.plugins.Plugin`."""
    from gpwarehouse.dialect.migration import columns, compare, external, operations, render

    operations.setup()
    columns.setup()
    render.setup()
    compare.setup(plugin)
    external.setup(plugin)


def register() -> None:
    """Register the plugin where no entry point did (a source tree that is not installed); a second time it does nothing."""
    if PLUGIN_NAME not in plugins._all_plugins:
        plugins.Plugin.setup_plugin_from_module(sys.modules[__name__], PLUGIN_NAME)


class _Plugin(ModuleType):
    """This module, as Alembic up to 1.19.0 needs it: it takes an entry point for a collection of modules."""

    def __iter__(self) -> Iterator[ModuleType]:
        yield self


sys.modules[__name__].__class__ = _Plugin

from alembic.runtime import plugins  # noqa: E402 (after setup: importing Alembic loads its plugins, and so calls it)
