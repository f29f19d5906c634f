"""Runs SQLAlchemy's and Alembic's own dialect suites: loads SQLAlchemy's pytest plugin and gives it a server.

``pytest tests/suite`` runs both suites, on the embedded PostgreSQL or on the server that ``GPWAREHOUSE_TEST_URL`` names,
each run in a database of its own; ``--dburi`` names a database that is already prepared. ``run.py`` does the same for
a table of results.
"""

from __future__ import annotations

from contextlib import ExitStack, chdir
from tempfile import TemporaryDirectory

import pytest
import suite_server
from sqlalchemy.dialects.postgresql import provision as _postgresql  # noqa: F401  (or it registers after the removal below)
from sqlalchemy.testing import config as suite_config
from sqlalchemy.testing import provision
from sqlalchemy.testing.plugin import pytestplugin
from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: F403  (the plugin's hooks and fixtures)

_OURS = "suite_requirements:Requirements"
_UNTUNED = "suite_requirements:Untuned"
_cleanup = ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's options, and ours."""
    pytestplugin.pytest_addoption(parser)
    parser.addoption(
        "--untuned",
        action="store_true",
        help="use the requirements as SQLAlchemy and Alembic ship them, which is how the stock dialect is compared",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Prepare a database, then let the plugin configure itself; what it would read from a setup.cfg is said here."""
    # For --stock: not every server brings the extensions citext and hstore, which the stock provisioning creates; no
    # test of the suites uses them. For our dialect gpwarehouse.dialect.provision leaves them out.
    provision.post_configure_engine.fns.pop("postgresql", None)
    if not config.option.dburi:
        config.option.dburi = [_cleanup.enter_context(suite_server.database())]
    pytestplugin.pytest_configure(config)
    requirements = _UNTUNED if config.option.untuned else _OURS
    pytestplugin.plugin_base.file_config.read_dict(
        {"sqla_testing": {"requirement_cls": requirements, "profile_file": "profiles.txt"}}
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Alembic's suite writes a folder ``scratch`` where it stands, and two runs must not share it."""
    _cleanup.enter_context(chdir(_cleanup.enter_context(TemporaryDirectory())))
    pytestplugin.pytest_sessionstart(session)


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """The plugin's, then what is excluded test by test."""
    pytestplugin.pytest_collection_modifyitems(session, config, items)
    if config.option.untuned:
        return
    from suite_requirements import EXCLUDED  # not earlier: Alembic's part of it needs the plugin configured

    for item in items:
        suite_class = getattr(item.cls, "_sa_orig_cls_name", item.cls.__name__)
        excluded = EXCLUDED.get(f"{suite_class}.{item.originalname}")
        if excluded and excluded[0](suite_config.db.dialect):
            item.add_marker(pytest.mark.skip(reason=excluded[1]))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Drop the database that was made."""
    pytestplugin.pytest_unconfigure(config)
    _cleanup.close()
