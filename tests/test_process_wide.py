"""What importing this package leaves in the process: nothing that engines, drivers and libraries of others would meet."""

from __future__ import annotations

import subprocess
import sys

# The snapshot is taken before any module of ours is imported, but for those that Alembic's plugin brings, and after all are.
SCRIPT = '''
import decimal, logging, os, pkgutil, signal, sys, warnings
from importlib import import_module

import alembic.op, numpy, pandas, psycopg2.extensions, pyarrow
import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import orm
from sqlalchemy.sql.visitors import Visitable


def state():
    return {
        "psycopg2's types": dict(psycopg2.extensions.string_types),
        "psycopg2's binary types": dict(psycopg2.extensions.binary_types),
        "psycopg2's adapters": set(psycopg2.extensions.adapters),
        "psycopg2's wait callback": psycopg2.extensions.get_wait_callback(),
        "signal handlers": [signal.getsignal(each) for each in sorted(signal.valid_signals())],
        "warning filters": [each[:3] for each in warnings.filters if "numpy" not in str(each)],
        "root logger": (logging.root.level, list(logging.root.handlers)),
        "environment": dict(os.environ),
        "decimal context": repr(decimal.getcontext()),
        "exception hooks": (sys.excepthook, sys.unraisablehook),
        "int digits": sys.get_int_max_str_digits(),
        "pandas' options": {name: pandas.get_option(name) for name in ("display.precision", "display.width")},
        "Arrow's threads": (pyarrow.cpu_count(), pyarrow.io_thread_count()),
        "Arrow's memory": pyarrow.default_memory_pool().backend_name,
    }


def ours(function):
    return str(getattr(function, "__module__", "")).startswith("gpwarehouse")


def listeners(target):
    """What sits on an object, and on the classes that it has its listeners from."""
    for name in target.dispatch._event_names:
        yield from ((name, function) for function in getattr(target.dispatch, name) if ours(function))


def subclasses(cls):
    for each in cls.__subclasses__():
        yield each
        yield from subclasses(each)


before = state()
for module in pkgutil.walk_packages(import_module("gpwarehouse").__path__, "gpwarehouse."):
    if module.name.rpartition(".")[2] not in ("__main__", "_alembic"):
        try:
            import_module(module.name)
        except ImportError:  # an orchestrator that is not installed
            assert module.name.startswith("gpwarehouse.jobs."), module.name
after = state()
for what in before:
    assert before[what] == after[what], (what, before[what], after[what])

foreign = orm.declarative_base()


class Thing(foreign):
    __tablename__ = "thing"
    key = sa.Column(sa.Integer, primary_key=True)


for url in ("sqlite://", "postgresql+psycopg2://nobody@localhost/nothing"):
    engine = sa.create_engine(url)
    for target in (engine, engine.pool, engine.dialect, orm.Session(engine), Thing.__table__, foreign.metadata,
                   Thing.__mapper__, Thing.key):
        assert list(listeners(target)) == [], target

for cls in subclasses(Visitable):
    hooks = vars(cls).get("_compiler_dispatcher")
    if hooks is not None and not ours(cls):
        assert not any(map(ours, hooks.specs.values())), cls
for (cls, qualifier), function in Operations._to_impl._registry.items():
    assert ours(cls) or qualifier == "postgresql" or not ours(function), cls
print("nothing")
'''


def test_importing_all_of_it_changes_nothing_that_others_use() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "nothing\n"), done.stderr
