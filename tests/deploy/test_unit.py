"""The systemd unit."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, content

UNIT = (DEPLOY / "xmpp-balancer.service").read_text()


def analyzed(folder: Path, *arguments: str) -> str:
    """The unit as it is, but with a program that is here, and a type that this systemd knows."""
    text = UNIT.replace("/opt/xmpp-balancer/bin/xmpp-balancer", sys.executable)
    version = re.match(r"systemd (\d+)", content("systemd-analyze", "--version"))
    if version is not None and int(version[1]) < 253:
        text = text.replace("Type=notify-reload", "Type=notify")
    file = folder / "xmpp-balancer.service"
    file.write_text(text)
    return content("systemd-analyze", *arguments, file)


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@needs_systemd
def test_systemd_takes_it(tmp_path: Path) -> None:
    assert "xmpp-balancer" not in analyzed(tmp_path, "verify", "--man=no")


@needs_systemd
def test_it_is_exposed_to_little(tmp_path: Path) -> None:
    # The threshold is in tenths.
    analyzed(tmp_path, "security", "--no-pager", "--offline=true", "--threshold=15")


def test_it_speaks_with_the_balancer() -> None:
    assert "\nType=notify-reload\n" in UNIT
    assert "\nWatchdogSec=" in UNIT
    # The status of a wrong configuration.
    assert "\nRestartPreventExitStatus=2\n" in UNIT


def test_every_secret_of_the_configuration_is_loaded() -> None:
    named = set(re.findall(r'_file = "/run/secrets/(\w+)"', (DEPLOY / "balancer.toml").read_text()))
    loaded = dict(re.findall(r"^LoadCredential=(\w+):(\S+)$", UNIT, re.MULTILINE))
    assert set(loaded) == named
    assert all(path == f"/etc/xmpp-balancer/secrets/{name}" for name, path in loaded.items())
