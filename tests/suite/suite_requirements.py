"""What the suites may expect of a server. Only what a server cannot do is excluded, with the reason.

SQLAlchemy's and Alembic's base classes close many requirements until a dialect opens them; most of what stands here
is therefore ``_YES``. A requirement is asked by its name, so the names are theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alembic.testing.requirements import SuiteRequirements as AlembicRequirements
from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements


class _Rule:
    """A requirement. Each access makes it anew: decorating a test with several adds the others to the first."""

    def __init__(self, able: Callable[[Any], bool] = lambda dialect: True, reason: str = "") -> None:
        self.able = able
        self.reason = reason

    def __get__(self, instance: object, owner: type) -> Any:
        unable = exclusions.LambdaPredicate(lambda config: not self.able(config.db.dialect), self.reason)
        return exclusions.skip_if(unable)


_YES = _Rule()


def _no(reason: str) -> _Rule:
    """Excluded on every server."""
    return _Rule(lambda dialect: False, reason)


def _needs(postgres: int | tuple[int, ...], feature: str) -> _Rule:
    """Excluded on servers that are built on an older PostgreSQL."""
    least = (postgres,) if isinstance(postgres, int) else postgres
    number = ".".join(map(str, least))
    return _Rule(lambda dialect: dialect.server_version_info >= least, f"{feature} came with PostgreSQL {number}")


def _cluster(dialect: Any) -> bool:
    return bool(dialect.capabilities.distribution)


_UNORDERED = (_cluster, "the test expects rows in an order it does not ask for; segments answer in any")

EXCLUDED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ComponentReflectionTestExtra.test_reflect_expression_based_indexes": (
        lambda dialect: dialect.server_version_info < (10,),
        "COALESCE in an index comes back in parentheses, which the test does not expect, before PostgreSQL 10",
    ),
    "TableViaSelectTest.test_create_table_as_if_not_exists": (
        lambda dialect: not dialect.capabilities.create_table_as_if_not_exists,
        "CREATE TABLE IF NOT EXISTS … AS came with PostgreSQL 9.5",
    ),
    "EnumTest.test_round_trip_executemany_returning": _UNORDERED,
    "PercentSchemaNamesTest.test_executemany_returning_roundtrip": _UNORDERED,
    "ReturningGuardsTest.test_insert_many": _UNORDERED,
    "ReturningTest.test_insertmanyvalues_returning": _UNORDERED,
    "WindowFunctionTest.test_window_range": _UNORDERED,
    "WindowFunctionTest.test_window_range_numeric": _UNORDERED,
    "WindowFunctionTest.test_window_rows_between_w_caching": _UNORDERED,
}
"""Single tests that no requirement covers: on which servers they are excluded, and why."""


def _virtual(dialect: Any) -> bool:
    return dialect.server_version_info >= (18,) and hasattr(dialect, "supports_virtual_generated_columns")


class Untuned(SuiteRequirements, AlembicRequirements):
    """As shipped: for the comparison with PostgreSQL's stock dialect."""


class Requirements(SuiteRequirements, AlembicRequirements):
    """Greenplum 6 and 7 and PostgreSQL, through ``greenplum+psycopg2``."""

    # Types
    array_type = _YES
    date_historic = _YES
    datetime_historic = _YES
    datetime_interval = _YES
    datetime_literals = _YES
    datetime_timezone = _YES
    datetime_timezone_historic = _YES
    infinity_floats = _YES
    json_type = _YES
    json_array_indexes = _YES
    json_deserializer_binary = _no("psycopg2 hands JSON to the deserializer as text")
    legacy_unconditional_json_extract = _YES
    nvarchar_types = _no("PostgreSQL has no NVARCHAR")
    precision_numerics_many_significant_digits = _YES
    precision_numerics_retains_significant_digits = _YES
    cast_precision_numerics_many_significant_digits = _YES
    time_timezone = _YES
    timestamp_microseconds = _YES
    timestamp_microseconds_implicit_bound = _YES
    unicode_ddl = _YES
    uuid_data_type = _YES
    float_or_double_precision_behaves_generically = _YES

    # Statements
    ctes = _YES
    ctes_with_update_delete = _YES
    ctes_with_values = _YES
    ctes_on_dml = _YES
    dbapi_lastrowid = _no("psycopg2's lastrowid is an OID, which tables no longer have; keys come by RETURNING")
    delete_from = _YES
    update_from = _YES
    expression_server_defaults = _YES
    server_defaults = _YES
    fetch_expression = _YES
    fetch_first = _YES
    fetch_no_order_by = _YES
    fetch_offset_with_options = _YES
    fetch_percent = _no("PostgreSQL has no FETCH … PERCENT")
    fetch_ties = _needs(13, "FETCH … WITH TIES")
    percent_schema_names = _YES
    regexp_match = _YES
    regexp_replace = _YES
    supports_bitwise_and = _YES
    supports_bitwise_not = _YES
    supports_bitwise_or = _YES
    supports_bitwise_shift = _YES
    supports_bitwise_xor = _YES
    supports_distinct_on = _YES
    table_value_constructor = _YES
    tuple_in = _YES
    tuple_in_w_empty = _YES
    intersect = _YES
    except_ = _YES
    nullsordering = _YES
    boolean_col_expressions = _YES
    mod_operator_as_percent_sign = _YES
    window_functions = _YES
    window_range = _needs(11, "RANGE with offsets in window frames")
    window_range_numeric = _needs(11, "RANGE with offsets in window frames")
    window_range_non_numeric = _needs(11, "RANGE with offsets in window frames")

    def get_order_by_collation(self, config: Any) -> str:
        """A collation that every database has."""
        return "POSIX"

    # Connections
    autocommit = _YES
    isolation_level = _YES
    savepoints = _YES
    default_schema_name_switch = _YES
    skip_autocommit_rollback = _YES
    independent_connections = _YES

    def get_isolation_levels(self, config: Any) -> dict[str, Any]:
        """The default, and all that can be set."""
        levels = ["AUTOCOMMIT", "READ COMMITTED", "READ UNCOMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
        if _cluster(config.db.dialect):
            levels.remove("SERIALIZABLE")  # Greenplum takes it and gives REPEATABLE READ; the dialect refuses it
        return {"default": "READ COMMITTED", "supported": levels}

    # DDL
    computed_columns = _needs(12, "generated columns")
    computed_columns_stored = _needs(12, "generated columns")
    computed_columns_virtual = _Rule(
        _virtual,
        "virtual generated columns came with PostgreSQL 18 and SQLAlchemy 2.1",
    )
    computed_columns_default_persisted = _Rule(
        lambda dialect: dialect.server_version_info >= (12,) and not _virtual(dialect),
        "a generated column for which neither is said is virtual since PostgreSQL 18, stored before",
    )
    computed_columns_reflect_persisted = _needs(12, "generated columns")
    create_or_replace_view = _YES
    create_table_as = _YES
    create_temp_table_as = _YES
    identity_columns = _needs(10, "identity columns")
    identity_columns_standard = _needs(10, "identity columns")
    index_ddl_if_exists = _needs((9, 5), "CREATE INDEX IF NOT EXISTS")
    indexes_with_expressions = _YES
    materialized_views = _YES
    schemas = _YES
    schema_create_delete = _YES
    sequences = _YES
    sequences_optional = _YES
    table_ddl_if_exists = _YES
    temporary_tables = _YES
    temporary_views = _YES
    views = _YES

    # Reflection
    check_constraint_reflection = _YES
    column_collation_reflection = _YES
    comment_reflection = _YES
    comment_reflection_full_unicode = _YES
    constraint_comment_reflection = _YES
    cross_schema_fk_reflection = _YES
    fk_constraint_option_reflection_ondelete_noaction = _YES
    fk_constraint_option_reflection_ondelete_restrict = _YES
    fk_constraint_option_reflection_onupdate_restrict = _YES
    foreign_key_constraint_name_reflection = _YES
    foreign_key_constraint_option_reflection_ondelete = _YES
    foreign_key_constraint_option_reflection_onupdate = _YES
    foreign_key_constraint_reflection = _YES
    foreign_keys_reflect_as_index = _no("PostgreSQL makes no index for a foreign key")
    has_temp_table = _YES
    implicit_default_schema = _YES
    index_reflects_included_columns = _needs(11, "INCLUDE columns of an index")
    indexes_check_column_order = _YES
    inline_check_constraint_reflection = _YES
    materialized_views_reflect_pk = _no("a materialized view has no primary key")
    reflect_indexes_with_ascdesc_as_expression = _no("a DESC column of an index is a column, only Oracle makes it one")
    reflect_indexes_with_expressions = _YES
    reflect_table_options = _YES
    reflect_tables_no_columns = _YES
    reflects_pk_names = _YES
    repeated_column_foreign_keys = _YES
    repeated_remote_col_foreign_keys = _no("PostgreSQL refuses a foreign key that names a referenced column twice")
    schema_reflection = _YES
    temp_table_comment_reflection = _YES
    temp_table_names = _YES
    temp_table_reflect_indexes = _YES
    temp_table_reflection = _YES
    unique_constraint_reflection = _YES
    unique_constraints_reflect_as_index = _YES
    unique_index_reflect_as_unique_constraints = _no("a unique index is no constraint in PostgreSQL's catalogs")
    view_column_reflection = _YES
    view_reflection = _YES

    # Alembic
    autocommit_isolation = _YES
    autoincrement_on_composite_pk = _YES
    fk_deferrable = _YES
    fk_deferrable_is_reflected = _YES
    fk_initially = _YES
    fk_ondelete_is_reflected = _YES
    fk_onupdate_is_reflected = _YES
    identity_columns_alter = _needs(10, "identity columns")
