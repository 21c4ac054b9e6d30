"""What systemd is told."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from balancer.notify import Notifier


def listener(address: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(address)
    made.settimeout(5)
    return made


@pytest.mark.parametrize("abstract", [True, False])
def test_what_is_said(abstract: bool, tmp_path: Path) -> None:
    name = f"@xmpp-balancer-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with listener(name.replace("@", "\0", 1)) as heard:
        notifier = Notifier({"NOTIFY_SOCKET": name})

        def said(what: Callable[[], None]) -> list[str]:
            what()
            return heard.recv(1000).decode().splitlines()

        assert said(lambda: notifier.ready("serving x")) == ["READY=1", "STATUS=serving x"]
        began, since = said(notifier.reloading)
        assert began == "RELOADING=1"
        assert int(since.removeprefix("MONOTONIC_USEC=")) > 0
        assert said(notifier.stopping)[0] == "STOPPING=1"
        assert said(notifier.alive) == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "30000000"}, 10),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_signs_of_life(environ: dict[str, str], interval: float) -> None:
    assert Notifier(environ).interval == interval


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_nobody_listens(environ: dict[str, str]) -> None:
    Notifier(environ).ready("")
