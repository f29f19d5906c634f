"""A peer that is gone without a word: nothing acknowledges, nothing refuses. Only TCP's own limits notice it."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, exc, text

from gpwarehouse import Warehouse
from gpwarehouse.engine import Cause, cause_of
from tests.faults.wire import Wire, wire

NEW_NETWORK = 0x40000000  # CLONE_NEWNET, sched.h


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def listen_there(name: str, host: str) -> socket.socket:
    """A socket in another network namespace, which one thread enters to make it."""
    made: list[Any] = []

    def enter() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path("/run/netns", name).open() as namespace:
                if libc.setns(namespace.fileno(), NEW_NETWORK) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server((host, 0)))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]  # type: ignore[no-any-return]


@dataclass
class Machine:
    """Another machine, as far as TCP can tell, that passes everything on to the server."""

    name: str
    wire: Wire

    def die(self) -> None:
        """From now on it takes no packet and answers none."""
        ip("-n", self.name, "link", "set", "inner", "down")

    def come_back(self) -> None:
        """It is there again."""
        ip("-n", self.name, "link", "set", "inner", "up")


@pytest.fixture
def machine(server_url: URL) -> Iterator[Machine]:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("a machine that dies is made of a network namespace: this needs iproute2, and root")
    number = os.getpid() % 16_000
    name, outer = f"gpw{number}", f"gpwo{number}"
    base = f"10.{200 + number // 8192}.{number // 64 % 256}."
    first = number % 64 * 4
    try:
        try:
            ip("netns", "add", name)
            ip("link", "add", outer, "type", "veth", "peer", "name", "inner", "netns", name)
            ip("address", "add", f"{base}{first + 1}/30", "dev", outer)
            ip("link", "set", outer, "up")
            ip("-n", name, "address", "add", f"{base}{first + 2}/30", "dev", "inner")
            ip("-n", name, "link", "set", "inner", "up")
            listener = listen_there(name, f"{base}{first + 2}")
        except (subprocess.CalledProcessError, OSError) as error:
            pytest.skip(f"no network namespace can be made here: {error}")
        with wire(server_url, listener=listener) as line:
            yield Machine(name, line)
    finally:
        subprocess.run(["ip", "link", "del", outer], capture_output=True)
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


# Without the limit under test the connection would hang for a quarter of an hour, or for ever.
LIMITS = {
    "tcp_user_timeout": {"tcp_user_timeout_s": 2, "keepalives_idle_s": 3600},
    "keepalives": {
        "tcp_user_timeout_s": 0,
        "keepalives_idle_s": 1,
        "keepalives_interval_s": 1,
        "keepalives_count": 2,
    },
}


OPTIONS = {
    "tcp_user_timeout": (getattr(socket, "TCP_USER_TIMEOUT", 0), 2000),
    "keepalives": (getattr(socket, "TCP_KEEPIDLE", 0), 1),
}
"""What the limit is to the socket; Linux has the names, and the test is run nowhere else."""


@pytest.mark.parametrize("limit", LIMITS)
def test_a_statement_that_a_dead_peer_leaves_unanswered_ends(machine: Machine, limit: str) -> None:
    """What is sent to it is unacknowledged (tcp_user_timeout); while a statement runs nothing is sent (keepalives)."""
    with Warehouse(machine.wire.url, **LIMITS[limit]) as wh:
        with wh.engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
            driver: Any = connection.connection.driver_connection
            with socket.socket(fileno=os.dup(driver.fileno())) as ours:  # or it would end in a quarter of an hour
                assert ours.getsockopt(socket.IPPROTO_TCP, OPTIONS[limit][0]) == OPTIONS[limit][1]
            if limit == "tcp_user_timeout":
                machine.die()
            else:
                _when_running(machine.wire, machine.die)
            with pytest.raises(exc.OperationalError) as caught:
                connection.execute(text("SELECT pg_sleep(3600)"))
    assert cause_of(caught.value) is Cause.LOST


def test_a_unit_whose_peer_died_is_done_when_the_peer_is_back(machine: Machine) -> None:
    tries: list[int] = []

    def work(session: Any) -> int:
        tries.append(1)
        if len(tries) == 1:
            machine.die()
        elif len(tries) == 2:
            raise AssertionError("a peer that is dead let us in")
        return int(session.execute(text("SELECT 41 + 1")).scalar_one())

    def back() -> None:
        machine.come_back()
        tries.append(1)

    limits = {"tcp_user_timeout_s": 2, "keepalives_idle_s": 3600, "connect_timeout_s": 2}
    with Warehouse(machine.wire.url, **limits) as wh:
        threading.Timer(4, back).start()
        assert wh.run(work) == 42
    assert len(tries) == 3


def _when_running(line: Wire, act: Callable[[], None]) -> None:
    """Act a moment after the server got the statement, when it has been acknowledged."""

    def watch(data: bytes) -> None:
        if b"pg_sleep" in data:
            line.watch = None
            threading.Timer(0.5, act).start()

    line.watch = watch
