"""The systemd unit and the Kubernetes manifests, as far as no systemd and no cluster is needed."""

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from conftest import program

from exporter.cli import main
from exporter.config import load_config

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "deploy" / "systemd" / "removit-exporter.service"
KUBERNETES = ROOT / "deploy" / "kubernetes"
OPERATOR_KINDS = {"ServiceMonitor", "PrometheusRule"}
"""Custom resources, whose schemas no package carries."""


def unit() -> dict[str, list[str]]:
    """The settings of the unit's section `[Service]`, with all values of each."""
    settings: dict[str, list[str]] = {}
    text = UNIT.read_text().replace("\\\n", "").partition("[Service]")[2].partition("[Install]")[0]
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings.setdefault(name, []).append(value)
    return settings


def test_the_unit_starts_the_exporter_with_flags_that_it_takes(tmp_path: Path) -> None:
    [start] = unit()["ExecStart"]
    command, verb, *flags = start.split()
    assert (Path(command).name, verb) == ("removit-exporter", "run")
    (tmp_path / "api.key").write_text("key")
    [config] = re.findall(r"^# In config.yaml: +(.+\n)#( +.+\n)", UNIT.read_text(), re.MULTILINE)
    text = "".join(line.strip() + "\n" for line in config)
    places = {"/run/credentials/removit-exporter.service": tmp_path, "/var/lib": tmp_path}
    for place, here in places.items():
        assert place in text
        text = text.replace(place, str(here))
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / unit()["StateDirectory"][0]).mkdir()
    words = [flag.replace("/etc/removit-exporter", str(tmp_path)) for flag in flags]
    checked = CliRunner().invoke(main, ["check-config", *words])
    assert (checked.exit_code, checked.output) == (0, "OK\n")


def test_the_unit_waits_for_a_stop_longer_than_one_takes() -> None:
    assert int(unit()["TimeoutStopSec"][0]) > 9
    assert unit()["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_the_unit_gets_the_key_as_a_credential_and_writes_in_one_folder() -> None:
    settings = unit()
    assert settings["LoadCredential"] == ["api.key:/etc/removit-exporter/api.key"]
    assert settings["DynamicUser"] == ["yes"]
    assert settings["ProtectSystem"] == ["strict"]
    assert settings["StateDirectory"] == ["removit-exporter"]
    assert "ReadWritePaths" not in settings


def test_systemd_rates_the_unit_as_little_exposed() -> None:
    analyze = program("systemd-analyze", "systemd")
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", "--threshold=15", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-2000:]


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    kubectl = program("kubectl", "kubernetes-client")
    built = subprocess.run(
        [kubectl, "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def one(rendered: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [found] = [document for document in rendered if document["kind"] == kind]
    return found


def test_every_manifest_is_valid(rendered: list[dict[str, Any]]) -> None:
    assert {document["metadata"]["namespace"] for document in rendered} == {"removit"}
    for document in rendered:
        if document["kind"] not in OPERATOR_KINDS:
            kubernetes_validate.validate(document, "1.31", strict=True)


def test_the_pod_runs_without_rights_and_finds_its_secret_and_its_config(
    rendered: list[dict[str, Any]], tmp_path: Path
) -> None:
    pod = one(rendered, "StatefulSet")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    user = re.search(r"^USER (\d+):", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    assert pod["securityContext"]["runAsUser"] == int(user[1])
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts) == {"/data", "/etc/removit-exporter", "/run/secrets/removit"}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    config_map = next(
        document
        for document in rendered
        if document["kind"] == "ConfigMap" and "config.yaml" in document["data"]
    )
    assert volumes["config"]["configMap"]["name"] == config_map["metadata"]["name"]
    text = config_map["data"]["config.yaml"].replace("/run/secrets/removit", str(tmp_path))
    for name in ("api-key", "registration-token"):
        assert f"--from-file={name}=" in (KUBERNETES / "kustomization.yaml").read_text()
        (tmp_path / name).write_text("secret")
    (tmp_path / "config.yaml").write_text(text)
    config = load_config(tmp_path / "config.yaml")
    assert config.storage.path.parent == Path("/data")
    assert config.web.listen_address == f"0.0.0.0:{container['ports'][0]['containerPort']}"


def test_no_probe_depends_on_the_upstream(rendered: list[dict[str, Any]]) -> None:
    [container] = one(rendered, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    paths = {
        name: container[name]["httpGet"]["path"]
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": "/-/healthy",
        "livenessProbe": "/-/healthy",
        "readinessProbe": "/-/ready",
    }


def test_every_selector_selects_the_pod(rendered: list[dict[str, Any]]) -> None:
    labels = one(rendered, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert one(rendered, "Service")["spec"]["selector"] == labels
    selectors = (
        one(rendered, "StatefulSet")["spec"]["selector"],
        one(rendered, "NetworkPolicy")["spec"]["podSelector"],
        one(rendered, "PodDisruptionBudget")["spec"]["selector"],
    )
    assert all(selector == {"matchLabels": labels} for selector in selectors)
    service = one(rendered, "Service")["metadata"]["labels"]
    assert one(rendered, "ServiceMonitor")["spec"]["selector"] == {"matchLabels": service}


def test_rules_and_dashboards_are_those_of_the_project(
    rendered: list[dict[str, Any]], tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("generate", KUBERNETES / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, text in generate.texts().items():
        assert (KUBERNETES / "generated" / name).read_text() == text, "run: make kubernetes"
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(one(rendered, "PrometheusRule")["spec"]))
    promtool = program("promtool", "prometheus")
    assert subprocess.run([promtool, "check", "rules", str(rules)], check=False).returncode == 0
    boards = [
        d for d in rendered if d["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]
    assert len(boards) == len(list((ROOT / "grafana" / "dashboards").glob("*.json")))
    for board in boards:
        assert len(yaml.safe_dump(board)) < 1 << 20
