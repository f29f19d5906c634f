"""The statements that make ``agg_test_values`` and ``agg_process_values`` from the rows of a fact.

Rows are put into groups; what a group is named by stands once (``g``), so that values are grouped by three numbers. Values
are unfolded in the select list, which costs Greenplum a third of an unfolding in FROM. Squared deviations are summed from the
mean itself: Greenplum 6 would subtract sums of squares. Everything stays where the fact's rows lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpwarehouse.models import fact_process_measurements, fact_test_results
from gpwarehouse.models.views.view import compose

__all__ = ["SHAPES", "Shape"]

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
        """Columns that are written, in the order of :meth:`selects`."""
        statistics = ["n", "mean", "m2", "min_value", "q1", "median", "q3", "max_value"]
        more = ["n_executed", "n_failed"] if self.verdicts else []
        more += ["n_wafers"] if self.wafers else []
        named = ["parameter_set_key", "position", "parameter"]
        return [*self.keys, "batch_id", *named, *statistics, *more, "first_ts", "last_ts"]

    def selects(self, table: str, scope: str) -> list[str]:
        """The SELECTs whose rows are the aggregate of the rows of ``scope``: of arrays, of named values, and by site.

        :param table: the fact; ``scope``: a condition on its alias ``f``.
        """
        made = []
        for by_site in (False, True) if self.site else (False,):
            for of_array in (True, False):
                made.append(self._select(table, scope, of_array=of_array, by_site=by_site))
        return made

    def _select(self, table: str, scope: str, *, of_array: bool, by_site: bool) -> str:
        where = f"{scope} AND {self._has_values(of_array)}"
        keys = {name: sql for name, sql in self.keys.items() if by_site or name not in self.site}
        listed = "f.parameter_set_key" if of_array else "CAST(-2 AS bigint)"
        group = {**keys, "batch_id": "f.batch_id", "parameter_set_key": listed}
        distributed = next(iter(self.keys))
        same = " AND ".join(f"g.{name} IS NOT DISTINCT FROM {sql}" for name, sql in group.items() if name in self.site)
        same = " AND ".join(
            [*(f"g.{name} = {sql}" for name, sql in group.items() if name not in self.site), *([same] if same else [])]
        )
        values = self._of_array(table, where, same) if of_array else self._of_names(table, where, same)
        parts = [self._statistics(values, distributed)]
        if self.verdicts and of_array:
            parts.append(self._verdicts(table, where, same, distributed))
        several = f"WHERE {self._several(table, where, group)}" if by_site else ""
        return compose(
            """
            WITH g AS (
                SELECT row_number() OVER (PARTITION BY d.<<distributed>>) AS g, d.*
                FROM (
                    SELECT <<group>>, min(f.event_ts) AS first_ts, max(f.event_ts) AS last_ts<<wafers>>
                    FROM <<table>> f
                    WHERE <<where>>
                    GROUP BY <<grouped>>
                ) d
                <<several>>
            )
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
            JOIN g ON g.<<distributed>> = x.<<distributed>> AND g.g = x.g
            """,
            distributed=distributed,
            group=", ".join(f"{sql} AS {name}" for name, sql in group.items()),
            grouped=", ".join(sql for sql in group.values() if not sql.startswith("CAST(-2")),
            wafers=", count(DISTINCT f.wafer_key) AS n_wafers" if self.wafers else "",
            table=table,
            where=where,
            several=several,
            columns=", ".join(self._output(name, group) for name in self.columns),
            parts="\nUNION ALL\n".join(parts),
        )

    def _output(self, name: str, group: Mapping[str, str]) -> str:
        if name in group or name in ("first_ts", "last_ts", "n_wafers"):
            return f"g.{name}"
        return f"CAST(NULL AS integer) AS {name}" if name in self.site else f"x.{name}"

    def _has_values(self, of_array: bool) -> str:
        if of_array:
            return "f.parameter_set_key IS NOT NULL"
        return f"(coalesce({self._measured()}) IS NOT NULL OR f.parameters IS NOT NULL)"

    def _measured(self) -> str:
        return ", ".join(f"f.{name}" for name in self.measures)

    def _several(self, table: str, where: str, group: Mapping[str, str]) -> str:
        """Whether the group's rows come from several sites: only then there are rows by site."""
        whole = [name for name in group if name not in self.site and name != "parameter_set_key"]
        apart = ", ".join(f"d.{name}" for name in (*whole, "parameter_set_key"))
        return f"({apart}) IN (<<sites>>)".replace("<<sites>>", self._sites(table, where, group))

    def _sites(self, table: str, where: str, group: Mapping[str, str]) -> str:
        whole = {name: sql for name, sql in group.items() if name not in self.site}
        sites = "CAST(coalesce({0}, -1) AS text) || ' ' || CAST(coalesce({1}, -1) AS text)"
        site = sites.format(*(f"f.{name}" for name in self.site))
        grouped = ", ".join(sql for sql in whole.values() if not sql.startswith("CAST(-2"))
        listed = ", ".join(whole.values())
        return f"SELECT {listed} FROM {table} f WHERE {where} GROUP BY {grouped} HAVING count(DISTINCT {site}) > 1"

    def _of_array(self, table: str, where: str, same: str) -> str:
        return compose(
            """
            SELECT g.<<distributed>>, g.g, generate_series(1, array_length(f.measured, 1)) AS position,
                   CAST(NULL AS text) AS parameter, unnest(f.measured) AS value
            FROM <<table>> f
            JOIN g ON <<same>>
            WHERE <<where>>
            """,
            distributed=next(iter(self.keys)),
            table=table,
            same=same,
            where=where,
        )

    def _of_names(self, table: str, where: str, same: str) -> str:
        measures = ", ".join(f"'{name}'" for name in self.measures)
        return compose(
            """
            SELECT g.<<distributed>>, g.g, 0 AS position, unnest(CAST(ARRAY[<<measures>>] AS text[])) AS parameter,
                   unnest(ARRAY[<<values>>]) AS value
            FROM <<table>> f
            JOIN g ON <<same>>
            WHERE <<where>> AND coalesce(<<values>>) IS NOT NULL
            UNION ALL
            SELECT g.<<distributed>>, g.g, 0 AS position, j.key AS parameter,
                   CASE WHEN jsonb_typeof(j.value) = 'number'
                        THEN CAST(CAST(j.value AS text) AS double precision) END AS value
            FROM <<table>> f
            JOIN g ON <<same>>
            CROSS JOIN LATERAL jsonb_each(f.parameters) AS j (key, value)
            WHERE <<where>> AND jsonb_typeof(j.value) = 'number'
            """,
            distributed=next(iter(self.keys)),
            measures=measures,
            values=self._measured(),
            table=table,
            same=same,
            where=where,
        )

    def _statistics(self, values: str, distributed: str) -> str:
        return compose(
            """
            SELECT a.<<distributed>>, a.g, a.position, a.parameter, a.n, a.mean,
                   (SELECT sum((e.value - a.mean) ^ 2) FROM unnest(a.elements) AS e (value)) AS m2,
                   a.min_value,
                   (SELECT percentile_cont(CAST(ARRAY[0.25, 0.5, 0.75] AS double precision[]))
                           WITHIN GROUP (ORDER BY e.value) FROM unnest(a.elements) AS e (value)) AS quartiles,
                   a.max_value, CAST(NULL AS bigint) AS n_executed, CAST(NULL AS bigint) AS n_failed
            FROM (
                SELECT v.<<distributed>>, v.g, v.position, v.parameter, count(*) AS n,
                       CASE WHEN min(v.value) = max(v.value) THEN min(v.value) ELSE avg(v.value) END AS mean,
                       min(v.value) AS min_value, max(v.value) AS max_value, array_agg(v.value) AS elements
                FROM (
                    <<values>>
                ) v
                WHERE v.value <> CAST('NaN' AS double precision)
                GROUP BY v.<<distributed>>, v.g, v.position, v.parameter
            ) a
            """,
            distributed=distributed,
            values=values,
        )

    def _verdicts(self, table: str, where: str, same: str, distributed: str) -> str:
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
                    SELECT g.<<distributed>>, g.g, f.verdicts, count(*) AS n
                    FROM <<table>> f
                    JOIN g ON <<same>>
                    WHERE <<where>> AND f.verdicts <> ''
                    GROUP BY g.<<distributed>>, g.g, f.verdicts
                ) t
            ) e
            GROUP BY e.<<distributed>>, e.g, e.position
            """,
            distributed=distributed,
            table=table,
            same=same,
            where=where,
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
