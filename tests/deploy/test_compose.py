"""The stack of containers, as far as it can be looked at without a container engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from balancer.configfile import load
from tests.deploy.files import DEPLOY, content, read, rules

STACK = read(DEPLOY / "compose.yaml")
SERVICES = STACK["services"]
OURS = [name for name in SERVICES if "build" in SERVICES[name]]


def test_it_keeps_to_the_compose_specification() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    content(sys.executable, "-m", "check_jsonschema", *schema, DEPLOY / "compose.yaml")


def _has_compose() -> bool:
    docker = shutil.which("docker")
    return docker is not None and not subprocess.call(
        [docker, "compose", "version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.skipif(not _has_compose(), reason="docker compose is not installed")
def test_compose_takes_it() -> None:
    content("docker", "compose", "-f", DEPLOY / "compose.yaml", "config", "--quiet")


def test_everything_is_there() -> None:
    assert {"prosody", "balancer", "prometheus", "grafana"} < set(SERVICES)
    echoes = [name for name in OURS if "backends.echo" in SERVICES[name].get("command", ())]
    assert len(echoes) == 3
    assert len({SERVICES[name]["command"][-1] for name in echoes}) == 3


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched_and_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert "latest" not in service["image"]
    if name != "prosody":
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_what_a_browser_opens_is_published_and_only_here() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert sorted(published) == [f"127.0.0.1:{port}:{port}" for port in (3000, 9090, 9348)]


def test_backends_do_not_wait_for_who_waits_for_them() -> None:
    for name in OURS:
        wanted = SERVICES[name]["depends_on"].get("balancer", {})
        assert wanted.get("condition") != "service_healthy"


def test_secrets_are_files_that_can_be_made_and_that_git_does_not_see(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "make-secrets.sh", tmp_path)
    content(script)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert {f"./secrets/{name}" for name in made} == {
        secret["file"] for secret in STACK["secrets"].values()
    }
    assert set(STACK["secrets"]) == set(made)
    assert all(len(secret) == 48 for secret in made.values())
    assert len(set(made.values())) == len(made)
    # A second run leaves them as they are.
    assert content(script) == ""
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert "/deploy/secrets/" in (DEPLOY.parent / ".gitignore").read_text().splitlines()


def test_what_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        assert set(service.get("secrets", ())) <= set(STACK["secrets"])
        for volume in service.get("volumes", ()):
            source, _, options = volume.partition(":")
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                assert options.endswith(":ro")
            else:
                assert source in STACK["volumes"]


def test_the_balancer_finds_everything_that_its_configuration_names(tmp_path: Path) -> None:
    for name in SERVICES["balancer"]["secrets"]:
        (tmp_path / name).write_text("geheim")
    text = (DEPLOY / "balancer.toml").read_text()
    copy = tmp_path / "balancer.toml"
    copy.write_text(text.replace("/run/secrets", str(tmp_path)))
    config = load(copy, environ={}, overrides={})
    assert config.server.host in SERVICES
    (component,) = config.component
    assert f'Component "{component.jid}"' in (DEPLOY / "prosody.cfg.lua").read_text()
    assert all(
        SERVICES[name]["command"][-1].startswith(f"--jid={component.jid}/")
        for name in OURS
        if name != "balancer"
    )
    (target,) = read(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"][0]["static_configs"]
    assert target["targets"] == [f"balancer:{config.admin.port}"]


def test_everybody_means_the_same_limit_of_memory() -> None:
    (recorded,) = (
        rule["expr"] for rule in rules("recording.yml") if "memory_limit" in rule["record"]
    )
    assert recorded == "vector(512 * 1024 * 1024)"
    assert SERVICES["balancer"]["mem_limit"] == "512m"
    assert "\nMemoryMax=512M\n" in (DEPLOY / "xmpp-balancer.service").read_text()
    assert " memory: 512Mi\n" in (DEPLOY / "kubernetes.yaml").read_text()


def test_stopping_takes_longer_than_draining() -> None:
    assert SERVICES["balancer"]["stop_grace_period"] == "20s"
    assert "\nTimeoutStopSec=20s\n" in (DEPLOY / "xmpp-balancer.service").read_text()
    assert "terminationGracePeriodSeconds: 20\n" in (DEPLOY / "kubernetes.yaml").read_text()
