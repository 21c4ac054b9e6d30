"""The example for Kubernetes: its parts fit each other and the other examples."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from balancer.configfile import load
from tests.deploy.files import DEPLOY

TEXT = (DEPLOY / "kubernetes.yaml").read_text()
DEPLOYMENT, SERVICE, MONITOR = yaml.safe_load_all(TEXT)
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def test_what_it_is() -> None:
    kinds = [each["kind"] for each in (DEPLOYMENT, SERVICE, MONITOR)]
    assert kinds == ["Deployment", "Service", "ServiceMonitor"]


def test_the_selectors_find_the_pods_and_the_service() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    assert SERVICE["spec"]["selector"] == labels
    assert MONITOR["spec"]["selector"]["matchLabels"] == SERVICE["metadata"]["labels"]


def test_ports_are_called_the_same_everywhere() -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"backends": 5348, "admin": 9348}
    assert {port["targetPort"] for port in SERVICE["spec"]["ports"]} == set(ports)
    offered = {port["name"] for port in SERVICE["spec"]["ports"]}
    (endpoint,) = MONITOR["spec"]["endpoints"]
    assert endpoint["port"] in offered
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        assert CONTAINER[probe]["httpGet"]["port"] in ports


def test_the_probes_ask_what_they_should() -> None:
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_two_never_want_the_same_jid() -> None:
    assert DEPLOYMENT["spec"]["replicas"] == 1
    assert DEPLOYMENT["spec"]["strategy"]["type"] == "Recreate"


def test_configuration_and_secrets_are_where_the_balancer_looks() -> None:
    mounted = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert mounted == {"/etc/xmpp-balancer": "configuration", "/run/secrets": "secrets"}
    key = MONITOR["spec"]["endpoints"][0]["authorization"]["credentials"]["key"]
    assert re.search(rf'^token_file = "/run/secrets/{key}"$', _balancer(), re.MULTILINE)


def test_the_user_is_the_image_s_own() -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert POD["securityContext"]["runAsUser"] == int(user)
    assert POD["securityContext"]["runAsNonRoot"]
    # The job of the alerts is the name of the Service.
    assert SERVICE["metadata"]["name"] == "xmpp-balancer"


def test_its_variables_are_configuration_and_it_does_not_wait_for_backends(tmp_path: Path) -> None:
    copy = tmp_path / "balancer.toml"
    copy.write_text(re.sub('/run/secrets/.*(?=")', "secret", _balancer()))
    (tmp_path / "secret").write_text("geheim")
    environ = {variable["name"]: variable["value"] for variable in CONTAINER["env"]}
    assert load(copy, environ=environ, overrides={}).admin.min_ready == 0
    # What Kubernetes would add for a Service of that name would be refused.
    assert POD["enableServiceLinks"] is False


def _balancer() -> str:
    return (DEPLOY / "balancer.toml").read_text()
