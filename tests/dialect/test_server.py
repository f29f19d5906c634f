from __future__ import annotations

import pytest

from gpwarehouse.dialect import Brand, Capabilities, OptionError, ServerInfo

BANNERS = [
    ("PostgreSQL 18.4 on x86_64-pc-linux-gnu, compiled by gcc", Brand.POSTGRESQL, (18, 4), (18, 4)),
    ("PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64", Brand.POSTGRESQL, (15, 18), (15, 18)),
    ("PostgreSQL 9.4.26 (Greenplum Database 6.24.3 build commit:25d) on x86", Brand.GREENPLUM, (6, 24, 3), (9, 4, 26)),
    (
        "PostgreSQL 12.12 (Greenplum Database 7.0.0-beta.0+dev.1 build dev) on x86, compiled Nov 22 2026 Bhuvnesh C.",
        Brand.GREENPLUM,
        (7, 0, 0),
        (12, 12),
    ),
    ("PostgreSQL 9.4.26 (Greengage Database 6.27.0 build commit:1) on x86", Brand.GREENPLUM, (6, 27, 0), (9, 4, 26)),
    ("PostgreSQL 14.4 (Cloudberry Database 1.6.0 build commit:1) on x86", Brand.CLOUDBERRY, (1, 6, 0), (14, 4)),
    (
        "PostgreSQL 14.4 (Apache Cloudberry 2.0.0-incubating build 1) on x86_64",
        Brand.CLOUDBERRY,
        (2, 0, 0),
        (14, 4),
    ),
    (
        "PostgreSQL 12.12 (Greenplum Database 7.5.0-WHPG build dev) on x86 WarehousePG",
        Brand.GREENPLUM,
        (7, 5, 0),
        (12, 12),
    ),
    (
        "PostgreSQL 19beta1 on x86_64 (Greenplum Database) 19.0.0 build dev compiled WarehousePG",
        Brand.GREENPLUM,
        (19, 0, 0),
        (19,),
    ),
]


@pytest.mark.parametrize(("banner", "brand", "version", "postgres"), BANNERS)
def test_brand_and_version_are_read_from_the_banner(
    banner: str, brand: Brand, version: tuple[int, ...], postgres: tuple[int, ...]
) -> None:
    assert ServerInfo.parse(banner) == ServerInfo(brand, version, postgres)


def test_a_banner_without_a_version_is_refused() -> None:
    with pytest.raises(ValueError, match="names no PostgreSQL version"):
        ServerInfo.parse("CockroachDB CCL v24")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match="greenplum6, greenplum7, cloudberry"):
        ServerInfo.named("greenplum5")


@pytest.mark.parametrize(
    ("name", "distribution", "partition_ddl", "partition_catalog", "on_conflict", "identity", "merge"),
    [
        ("postgresql", False, "declarative", "declarative", True, True, True),
        ("greenplum6", True, "classic", "classic", False, False, False),
        ("greenplum7", True, "classic", "declarative", True, True, False),
        ("cloudberry", True, "classic", "declarative", True, True, False),
    ],
)
def test_capabilities_follow_from_brand_and_version(
    name: str,
    distribution: bool,
    partition_ddl: str,
    partition_catalog: str,
    on_conflict: bool,
    identity: bool,
    merge: bool,
) -> None:
    found = Capabilities.of(ServerInfo.named(name))
    assert (found.distribution, found.append_optimized) == (distribution, distribution)
    assert (found.partition_ddl, found.partition_catalog) == (partition_ddl, partition_catalog)
    assert (found.on_conflict, found.identity, found.merge) == (on_conflict, identity, merge)


def test_what_was_never_run_on_a_real_server_says_so() -> None:
    assert not Capabilities.of(ServerInfo.named("cloudberry")).verified
    assert Capabilities.of(ServerInfo.named("greenplum6")).verified
