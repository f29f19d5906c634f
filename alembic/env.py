"""Alembic's environment; all of it is gpwarehouse.migrate.run_environment, so the wheel and the tree run the same."""

from logging.config import fileConfig

from alembic import context

from gpwarehouse.migrate import run_environment

if context.config.config_file_name is not None and context.config.get_section("formatters"):
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

run_environment(context)
