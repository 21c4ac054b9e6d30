"""The image: linted, and copying only what there is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, ROOT, content

FILE = DEPLOY / "Dockerfile"
LINES = [line.strip() for line in FILE.read_text().replace("\\\n", " ").splitlines()]
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
    "hadolint"
)


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(name + " ")]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_hadolint_is_content() -> None:
    content(str(HADOLINT), FILE)


def test_it_is_built_in_two_stages_on_one_slim_base() -> None:
    stages = [line.split()[0] for line in instructions("FROM")]
    assert len(stages) == 2
    assert len(set(stages)) == 1
    assert "-slim" in stages[0]
    # The lock file is of one version of Python, and this is it.
    assert "with Python 3.11\n" in (ROOT / "requirements/run.txt").read_text()
    assert stages[0].startswith("python:3.11-")


def test_it_runs_as_somebody_else_than_root_and_is_watched() -> None:
    assert instructions("USER") == ["10348:10348"]
    (check,) = instructions("HEALTHCHECK")
    assert "/readyz" in check
    assert instructions("EXPOSE") == ["5348 9348"]
    assert instructions("CMD") == ['["xmpp-balancer", "run", "/etc/xmpp-balancer/balancer.toml"]']


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        source
        for line in instructions("COPY")
        if not line.startswith("--from")
        for source in line.split()[:-1]
    ]
    assert copied
    assert "*" in ignored
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
