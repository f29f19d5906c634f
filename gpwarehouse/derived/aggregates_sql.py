"""The statements that make ``agg_test_values`` and ``agg_process_values`` from the rows of a fact.

A group of rows gets a number that is hashed from what names it, so that values are grouped by three numbers and the names
are joined to the result. Values are unfolded in the select list, which costs Greenplum a third of an unfolding in FROM.
Squared deviations are summed from the mean itself: Greenplum 6 would subtract sums of squares. Tests stay where their rows
lie; values of processes go to the segment of their lot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gpwarehouse.models import fact_process_measurements, fact_test_results
from gpwarehouse.models.views.view import compose

__all__ = ["SHAPES", "Shape"]

MOST = "1e140"
"""From values so far from zero on, a group has no mean, squares and quartiles: a double would not hold their squares."""

LEAST = "1e-140"
"""Deviations so near to zero count as none: their squares would underflow, which the server refuses."""

_MONTH = "date_trunc('month', f.event_ts AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"


@dataclass(frozen=True)
class Shape:
    """How a fact is grouped.

    :ivar keys: column of the aggregate → SQL of the fact ``f``; the distribution key of the aggregate first.
    :ivar site: of them those that are NULL where sites are together.
    :ivar verdicts: whether the fact has the tester's verdicts.
    :ivar wafers: whether the wafers of a group are counted.
    """

    fact: str
    aggregate: str
    keys: Mapping[str, str]
    measures: Mapping[str, str]
    site: tuple[str, ...] = ()
    verdicts: bool = False
    wafers: bool = False

    @property
    def columns(self) -> list[str]:
        """Columns that are written, in the order of :meth:`select`."""
        statistics = ["n", "mean", "m2", "min_value", "q1", "median", "q3", "max_value"]
        more = ["n_executed", "n_failed"] if self.verdicts else []
        more += ["n_wafers"] if self.wafers else []
        named = ["parameter_set_key", "position", "parameter"]
        return [*self.keys, "batch_id", *named, *statistics, *more, "first_ts", "last_ts"]

    @property
    def has_named_values(self) -> str:
        """Whether a row of ``f`` has values that are not of an array."""
        return f"(coalesce({self._measured}) IS NOT NULL OR f.parameters IS NOT NULL)"

    @property
    def sites(self) -> str:
        """What tells sites of ``f`` apart, as one text."""
        return " || ' ' || ".join(f"coalesce(CAST(f.{name} AS text), '')" for name in self.site) or "''"

    def select(self, table: str, scope: str, *, of_array: bool = True, by_site: bool = False) -> str:
        """The SELECT whose rows are the aggregate of the rows of ``scope``.

        :param table: the fact; ``scope``: a condition on its alias ``f``.
        :param of_array: of the arrays, else of the values that have a name; ``by_site``: of wafers with several sites, a
            row a site.
        """
        where = f"{scope} AND {'f.parameter_set_key IS NOT NULL' if of_array else self.has_named_values}"
        listed = "f.parameter_set_key" if of_array else "CAST(-2 AS bigint)"
        group = {**self.keys, "batch_id": "f.batch_id", "parameter_set_key": listed}
        whole = {name: sql for name, sql in group.items() if name not in self.site}
        kept = group if by_site else whole
        names = {
            "distributed": next(iter(self.keys)),
            "table": table,
            "where": where,
            "number": _number(kept.values()),
        }
        # The server computes what stands beside an unnest once a value: a join computes the number once a row.
        names["groups"] = compose(
            "SELECT f.<<distributed>>, <<number>> AS g\nFROM <<table>> f\nWHERE <<where>>\nGROUP BY 1, 2", **names
        )
        values = self._of_array(names) if of_array else self._of_names(names)
        parts = [_statistics(values, names)]
        if self.verdicts and of_array:
            parts.append(_verdicts(names))
        return compose(
            """
            SELECT <<columns>>
            FROM (
                SELECT y.<<distributed>>, y.g, y.position, y.parameter, coalesce(max(y.n), 0) AS n, max(y.mean) AS mean,
                       max(y.m2) AS m2, max(y.min_value) AS min_value, max(y.quartiles[1]) AS q1,
                       max(y.quartiles[2]) AS median, max(y.quartiles[3]) AS q3, max(y.max_value) AS max_value,
                       CAST(sum(y.n_executed) AS bigint) AS n_executed, CAST(sum(y.n_failed) AS bigint) AS n_failed
                FROM (
                    <<parts>>
                ) y
                GROUP BY y.<<distributed>>, y.g, y.position, y.parameter
            ) x
            JOIN (
                SELECT d.*, count(*) OVER (PARTITION BY <<whole>>) AS sites
                FROM (
                    SELECT <<group>>, <<number>> AS g,
                           min(f.event_ts) AS first_ts, max(f.event_ts) AS last_ts<<wafers>>
                    FROM <<table>> f
                    WHERE <<where>>
                    GROUP BY <<grouped>>
                ) d
            ) g ON g.<<distributed>> = x.<<distributed>> AND g.g = x.g<<several>>
            """,
            **names,
            columns=", ".join(self._output(name, kept) for name in self.columns),
            parts="\nUNION ALL\n".join(parts),
            whole=", ".join(f"d.{name}" for name in whole),
            group=", ".join(f"{sql} AS {name}" for name, sql in kept.items()),
            grouped=", ".join(sql for sql in kept.values() if not sql.startswith("CAST(-2")),
            wafers=", count(DISTINCT f.wafer_key) AS n_wafers" if self.wafers else "",
            several=" AND g.sites > 1" if by_site else "",
        )

    def _output(self, name: str, group: Mapping[str, str]) -> str:
        if name in group or name in ("first_ts", "last_ts", "n_wafers"):
            return f"g.{name}"
        return f"CAST(NULL AS integer) AS {name}" if name in self.site else f"x.{name}"

    @property
    def _measured(self) -> str:
        return ", ".join(f"f.{name}" for name in self.measures)

    def _of_array(self, names: Mapping[str, str]) -> str:
        return compose(
            """
            SELECT f.<<distributed>>, r.g, generate_series(1, array_length(f.measured, 1)) AS position,
                   CAST(NULL AS text) AS parameter, unnest(f.measured) AS value
            FROM <<table>> f
            JOIN (
                <<groups>>
            ) r ON r.<<distributed>> = f.<<distributed>> AND r.g = <<number>>
            WHERE <<where>>
            """,
            **names,
        )

    def _of_names(self, names: Mapping[str, str]) -> str:
        return compose(
            """
            SELECT f.<<distributed>>, r.g, 0 AS position,
                   unnest(CAST(ARRAY[<<measures>>] AS text[])) AS parameter, unnest(ARRAY[<<values>>]) AS value
            FROM <<table>> f
            JOIN (
                <<groups>>
            ) r ON r.<<distributed>> = f.<<distributed>> AND r.g = <<number>>
            WHERE <<where>> AND coalesce(<<values>>) IS NOT NULL
            UNION ALL
            SELECT f.<<distributed>>, r.g, 0 AS position, j.key AS parameter,
                   CASE WHEN jsonb_typeof(j.value) = 'number'
                        THEN CAST(CAST(j.value AS text) AS double precision) END AS value
            FROM <<table>> f
            JOIN (
                <<groups>>
            ) r ON r.<<distributed>> = f.<<distributed>> AND r.g = <<number>>
            CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
            WHERE <<where>> AND jsonb_typeof(j.value) = 'number'
            """,
            **names,
            measures=", ".join(f"'{name}'" for name in self.measures),
            values=self._measured,
        )


def _number(keys: Iterable[str]) -> str:
    """A number for a group, from what names it: one column to group values by, and to join the names to later."""
    parts = ", ".join(f"coalesce(CAST({key} AS text), '')" for key in keys)
    return f"CAST(CAST('x' || substr(md5(concat_ws(chr(31), {parts})), 1, 16) AS bit(64)) AS bigint)"


def _statistics(values: str, names: Mapping[str, str]) -> str:
    return compose(
        """
        SELECT a.<<distributed>>, a.g, a.position, a.parameter, a.n, a.mean,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT sum(CASE WHEN abs(e.value - a.mean) > <<least>> THEN (e.value - a.mean) ^ 2 ELSE 0 END)
                          FROM unnest(a.elements) AS e (value)) END AS m2,
               a.min_value,
               CASE WHEN a.mean IS NOT NULL
                    THEN (SELECT percentile_cont(CAST(ARRAY[0.25, 0.5, 0.75] AS double precision[]))
                          WITHIN GROUP (ORDER BY e.value) FROM unnest(a.elements) AS e (value)) END AS quartiles,
               a.max_value, CAST(NULL AS bigint) AS n_executed, CAST(NULL AS bigint) AS n_failed
        FROM (
            SELECT v.<<distributed>>, v.g, v.position, v.parameter, count(*) AS n,
                   CASE WHEN min(v.value) <= -<<most>> OR max(v.value) >= <<most>> THEN NULL
                        WHEN min(v.value) = max(v.value) THEN min(v.value)
                        ELSE avg(CASE WHEN abs(v.value) < <<most>> THEN v.value END) END AS mean,
                   min(v.value) AS min_value, max(v.value) AS max_value, array_agg(v.value) AS elements
            FROM (
                <<values>>
            ) v
            WHERE v.value <> CAST('NaN' AS double precision)
            GROUP BY v.<<distributed>>, v.g, v.position, v.parameter
        ) a
        """,
        **names,
        values=values,
        most=MOST,
        least=LEAST,
    )


def _verdicts(names: Mapping[str, str]) -> str:
    """Verdicts are counted by their text first: most insertions of a wafer share one."""
    return compose(
        """
        SELECT e.<<distributed>>, e.g, e.position, CAST(NULL AS text), CAST(NULL AS bigint),
               CAST(NULL AS double precision), CAST(NULL AS double precision), CAST(NULL AS double precision),
               CAST(NULL AS double precision[]), CAST(NULL AS double precision),
               CAST(sum(CASE WHEN e.letter <> '-' THEN e.n ELSE 0 END) AS bigint),
               CAST(sum(CASE WHEN e.letter = 'F' THEN e.n ELSE 0 END) AS bigint)
        FROM (
            SELECT t.<<distributed>>, t.g, t.n, generate_series(1, length(t.verdicts)) AS position,
                   unnest(string_to_array(t.verdicts, NULL)) AS letter
            FROM (
                SELECT c.<<distributed>>, c.g, c.verdicts, count(*) AS n
                FROM (
                    SELECT f.<<distributed>>, <<number>> AS g, f.verdicts
                    FROM <<table>> f
                    WHERE <<where>> AND f.verdicts <> ''
                ) c
                GROUP BY c.<<distributed>>, c.g, c.verdicts
            ) t
        ) e
        GROUP BY e.<<distributed>>, e.g, e.position
        """,
        **names,
    )


def _plain(names: Sequence[str]) -> dict[str, str]:
    return {name: f"f.{name}" for name in names}


SHAPES: dict[str, Shape] = {
    shape.fact: shape
    for shape in (
        Shape(
            "fact_test_results",
            "agg_test_values",
            {
                "wafer_key": "f.wafer_key",
                "event_month": _MONTH,
                **_plain(("lot_key", "product_key", "process_step_key")),
                "is_final_result": "coalesce(f.is_final_result, true)",
                **_plain(("head_no", "site_no")),
            },
            fact_test_results.MEASURES,
            site=("head_no", "site_no"),
            verdicts=True,
        ),
        Shape(
            "fact_process_measurements",
            "agg_process_values",
            {
                "lot_key": "f.lot_key",
                "event_month": _MONTH,
                **_plain(("product_key", "process_step_key", "equipment_key", "chamber_key", "visit_no")),
            },
            fact_process_measurements.MEASURES,
            wafers=True,
        ),
    )
}
"""Fact → how it is grouped."""
