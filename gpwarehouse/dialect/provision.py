"""Hooks for SQLAlchemy's test suite under ``greenplum://`` URLs. SQLAlchemy loads this module when a run begins.

SQLAlchemy looks hooks up by the name in the URL, so those of PostgreSQL are registered under ours as well. One is left out:
it creates the extensions citext and hstore, which not every server has and no test of the suite uses.
"""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import provision as postgresql_provision
from sqlalchemy.testing import provision

__all__: list[str] = []

assert postgresql_provision  # its import registers PostgreSQL's hooks

for _hook in list(vars(provision).values()):
    if (
        isinstance(_hook, provision.register)
        and _hook is not provision.post_configure_engine
        and "postgresql" in _hook.fns
    ):
        _hook.fns["greenplum"] = _hook.fns["postgresql"]
