"""The views over the star schema: ratios, limits in force, histories; one text for every server."""

from gpwarehouse.models.views.capability import PROCESS_CAPABILITY
from gpwarehouse.models.views.equipment import EQUIPMENT_OEE, EQUIPMENT_OEE_MONTHLY, EQUIPMENT_STATE
from gpwarehouse.models.views.fails import TEST_FAILS
from gpwarehouse.models.views.inspection import INSPECTION_SUMMARY
from gpwarehouse.models.views.lots import LOT_GENEALOGY, LOT_STATUS, genealogy_sql
from gpwarehouse.models.views.trace import WAFER_TRACE
from gpwarehouse.models.views.values import PROCESS_VALUES, TEST_VALUES
from gpwarehouse.models.views.view import View
from gpwarehouse.models.views.yields import LOT_YIELD, WAFER_YIELD

__all__ = ["VIEWS", "View", "genealogy_sql"]

VIEWS: tuple[View, ...] = (
    WAFER_YIELD,
    LOT_YIELD,
    TEST_VALUES,
    TEST_FAILS,
    PROCESS_VALUES,
    PROCESS_CAPABILITY,
    INSPECTION_SUMMARY,
    EQUIPMENT_OEE,
    EQUIPMENT_OEE_MONTHLY,
    EQUIPMENT_STATE,
    LOT_GENEALOGY,
    LOT_STATUS,
    WAFER_TRACE,
)
"""All views, in order of creation: none reads a later one."""
