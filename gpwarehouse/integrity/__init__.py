"""The data against its own rules: what a constraint cannot say on Greenplum, month by month."""

from gpwarehouse.integrity.check import check, months_named, months_of
from gpwarehouse.integrity.finding import CHECKS, COLUMNS, Problem

__all__ = ["CHECKS", "COLUMNS", "Problem", "check", "months_named", "months_of"]
