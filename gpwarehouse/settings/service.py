"""The settings of ``gpwarehouse serve``, which are part of :class:`~gpwarehouse.settings.WarehouseSettings`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, SecretStr

from gpwarehouse.settings.types import Texts, Url, seconds, setting, whole

__all__ = ["ROLES", "AuditFields", "ServiceFields", "ServiceRole"]

ServiceRole = Literal["reader", "loader", "admin"]
ROLES: tuple[ServiceRole, ...] = ("reader", "loader", "admin")
"""The roles of callers. Each may do what the ones before it may."""
_MB = 1_048_576


def _role_map(value: Any) -> Any:
    if isinstance(value, str):
        value = dict(part.strip().rpartition("=")[::2] for part in value.split(",") if part.strip())
    if not isinstance(value, Mapping):
        return value
    for claimed, role in value.items():
        if not claimed or role not in ROLES:
            raise ValueError(f"{claimed}={role}: the roles are {', '.join(ROLES)}")
    return tuple(value.items())


def _cache(value: str) -> str:
    if value not in ("off", "memory") and not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("no such cache")
    if "@" in value:
        raise ValueError("the password has a variable of its own, GPWAREHOUSE_SERVICE_CACHE_PASSWORD")
    return value


RoleMap = Annotated[tuple[tuple[str, ServiceRole], ...], BeforeValidator(_role_map)]
Cache = Annotated[str, AfterValidator(_cache)]


class ServiceFields(BaseModel):
    """Where the service listens, whom it admits, and what it bounds."""

    # Logins: one for each role of callers
    service_reader_url: Url | None = setting(
        None, "login for queries, a member of the reader role only; if empty, `GPWAREHOUSE_URL`", "a URL"
    )
    service_loader_url: Url | None = setting(
        None, "login for loads; without one the service has no endpoints for loads", "a URL"
    )
    service_admin_url: Url | None = setting(
        None, "login for migrations and maintenance; without one the service has no endpoints for them", "a URL"
    )
    # Where it listens
    service_host: str = setting("127.0.0.1", "address that the service listens on", "an address")
    service_port: int = whole(8000, "port that the service listens on; 0 takes a free one", 0, 65535)
    service_hosts: Texts = setting(
        ("localhost", "127.0.0.1", "[::1]"),
        "names under which it is called (the header Host)",
        "names with commas between, *.fab.example for all below",
        min_length=1,
    )
    service_origins: Texts = setting(
        (), "web pages that may call it (CORS); none if empty", "https://… with commas between"
    )
    service_state_dir: Path = setting(Path("gpwarehouse-state"), "folder of keys, jobs and results", "a folder")
    # Whom it admits
    service_auth: Literal["required", "off"] = setting(
        "required", "whether callers must show a key or a token; `off` only where it listens on the loopback alone"
    )
    service_oidc_issuer: str | None = setting(None, "issuer of OIDC tokens; without one only keys count", "https://…")
    service_oidc_audience: str | None = setting(None, "audience that tokens must name", "text")
    service_oidc_jwks_url: str | None = setting(None, "keys of the issuer; if empty, the issuer is asked", "https://…")
    service_oidc_claim: str = setting(
        "roles", "claim of a token that holds roles or groups", "a name; dots lead into objects"
    )
    service_oidc_roles: RoleMap = setting((), "role for each value of the claim", "value=reader with commas between")
    service_metrics_token: SecretStr | None = setting(
        None,
        "token that Prometheus shows for `/metrics`; without one the path needs a reader",
        "8 characters or more",
        min_length=8,
    )
    # Bounds
    service_concurrency: int = whole(
        10, "queries that run at once, of all callers; as many more can run as jobs", 1, 1000
    )
    service_per_caller: int = whole(4, "queries that run or wait at once, of one caller", 1, 1000)
    service_queue_s: int = seconds(10, "longest a query waits for its turn")
    service_timeout_s: int = seconds(300, "longest a query may run while its caller waits", 1)
    service_job_timeout_s: int = seconds(3600, "longest a query may run as a job", 1)
    service_max_body: int = whole(_MB, "bytes of a JSON body", 1024, 1 << 30)
    service_max_upload: int = whole(4096 * _MB, "bytes of an uploaded file", 1024, 1 << 44)
    service_max_rows: int = whole(100_000, "rows of an answer in JSON", 1, 10_000_000)
    service_max_result: int = whole(16_384 * _MB, "bytes of a result as a file", 1024, 1 << 44)
    service_max_kept: int = whole(
        65_536 * _MB,
        "bytes of files that one caller may have here: results of jobs, and answers being sent",
        1024,
        1 << 46,
    )
    service_jobs_per_caller: int = whole(20, "jobs of one caller that wait or run", 1, 10_000)
    service_keep_s: int = seconds(86_400, "time that a job and its result are kept after its end", 60)
    service_grace_s: int = seconds(20, "time for answers to end at a shutdown, before their statements are cancelled")
    # Cache
    service_cache: Cache = setting("off", "cache of answers", "off, memory, or a Redis URL redis://host:6379/0")
    service_cache_password: SecretStr | None = setting(None, "password of Redis", "text")
    service_cache_bytes: int = whole(
        64 * _MB, "bytes of the cache in memory, and of the largest answer in Redis", 0, 1 << 40
    )


class AuditFields(BaseModel):
    """The record of the service's calls."""

    service_audit: Literal["log", "table"] = setting(
        "log", "where calls are recorded: JSON lines of the logger `gpwarehouse.audit`, or also the table `etl_audit`"
    )
