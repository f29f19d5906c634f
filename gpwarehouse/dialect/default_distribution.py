"""The distribution of a table that says none.

A unique key must contain the distribution key, or uniqueness could not be checked on one segment. So a table that says
nothing is distributed

1. by its primary key, if every other unique key contains it;
2. else by the columns that all unique keys share, in the order of the first key;
3. else, if it has keys that share no column, on every segment (replicated): the only distribution on which all of them
   are checked. Dropping a key, or making its index non-unique, would be worse: wrong data instead of more disk. Tables
   like this are look-up tables in practice; a large one should say what it wants, and the error of a distribution that
   does not fit names the key that is in the way;
4. randomly, if it has no unique key.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpwarehouse.dialect.options import DistributedBy, DistributedRandomly, DistributedReplicated, Distribution

__all__ = ["implied_distribution"]


def implied_distribution(keys: Sequence[Sequence[str]]) -> Distribution:
    """The distribution that fits every unique key.

    :param keys: the columns of each unique key, the primary key first if there is one.
    """
    if not keys:
        return DistributedRandomly()
    shared = [name for name in keys[0] if all(name in key for key in keys[1:])]
    return DistributedBy(*shared) if shared else DistributedReplicated()
