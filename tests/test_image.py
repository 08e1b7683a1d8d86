"""The image and the compose file, as far as no Docker engine is needed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import missing, program

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "deploy" / "compose"
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_hadolint_finds_no_fault() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    checked = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_image_runs_as_a_number_from_the_lock_file_and_looks_after_its_health() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.13-slim"] * 2
    assert re.search(r"^USER \d+:\d+$", DOCKERFILE, re.MULTILINE)
    assert "--require-hashes --requirement requirements.txt" in DOCKERFILE
    check = re.search(r"^HEALTHCHECK .*\\\n  CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    run = re.search(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    assert check is not None
    assert run is not None
    flags = {flag for flag in json.loads(run[1]) if not flag.startswith("--storage")}
    assert json.loads(check[1])[:2] == ["removit-exporter", "healthcheck"]
    assert set(json.loads(check[1])[2:]) == flags - {"run"}
    assert re.search(r'^ENTRYPOINT \["entrypoint"\]$', DOCKERFILE, re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    admitted = (ROOT / ".dockerignore").read_text()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}\n" in admitted


def test_build_dependencies_are_removed_from_the_image() -> None:
    lock = (ROOT / "requirements.txt").read_text()
    only_build = set(re.findall(r"^([\w.-]+)==[^#]+# via hatchling$", lock, re.MULTILINE))
    removed = re.search(r"uninstall --yes (.+)$", DOCKERFILE, re.MULTILINE)
    assert removed is not None
    assert {*only_build, "hatchling", "editables", "pip"} == set(removed[1].split())


def test_the_image_says_what_it_is() -> None:
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", DOCKERFILE))
    assert labels == {"title", "description", "licenses", "version", "revision"}


@pytest.mark.slow
@pytest.mark.image
@pytest.mark.timeout(900)
def test_the_image_is_built_and_does_what_it_is_for() -> None:
    """Runs as a user would: the scripts build the image, and try it without rights or network."""
    if not engine("image", "inspect", "python:3.13-slim") and "WHEELS" not in os.environ:
        missing("the base image python:3.13-slim is not here; deploy/image/base.sh makes one")
    for script in ("build.sh", "try.sh"):
        ran = subprocess.run(
            [ROOT / "deploy" / "image" / script], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    assert "OK: removit-exporter:" in ran.stdout


def engine(*words: str) -> bool:
    """Call the container engine that the scripts would use."""
    source = f'source {ROOT}/deploy/image/engine.sh && "${{engine[@]}}" "$@"'
    ran = subprocess.run(
        ["bash", "-c", source, "-", *words], capture_output=True, text=True, check=False
    )
    if ran.returncode == 3:
        missing(ran.stderr.strip())
    return ran.returncode == 0


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("exit 7", 7),
        ("kill -TERM $PPID; exec sleep 60", 143),
        ("kill -INT $PPID; exec sleep 60", 143),
    ],
)
def test_process_1_hands_signals_on_and_ends_as_its_command_does(
    action: str, code: int, tmp_path: Path
) -> None:
    command = tmp_path / "removit-exporter"
    command.write_text(f"#!/bin/sh\n{action}\n")
    command.chmod(0o755)
    ran = subprocess.run(
        [ROOT / "deploy" / "image" / "entrypoint.sh"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        timeout=30,
        check=False,
        # A shell cannot trap what is ignored from its start, as SIGINT is in background jobs.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert ran.returncode == code


def test_the_exporter_has_no_rights_in_compose() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert SERVICES["exporter"]["read_only"] is True


def test_images_are_pinned_by_version() -> None:
    for name, service in SERVICES.items():
        if "build" not in service:
            assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", service["image"]), name


def test_every_path_that_is_mounted_exists_and_every_port_is_on_loopback() -> None:
    assert (COMPOSE / SERVICES["exporter"]["build"] / "Dockerfile").exists()
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source, _, options = mount.partition(":")
            assert (COMPOSE / source).exists(), mount
            assert options.endswith(":ro")
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:")


def mounted(service: str, target: str) -> Path:
    """Where a path in a container comes from."""
    for mount in SERVICES[service]["volumes"]:
        source, inside, _ = mount.split(":")
        if Path(target).is_relative_to(inside):
            source_path: Path = COMPOSE / source
            return (source_path / Path(target).relative_to(inside)).resolve()
    raise AssertionError(target)


@pytest.mark.slow
def test_the_exporter_accepts_its_command_line() -> None:
    flags = SERVICES["exporter"]["command"]
    assert flags[-1] == "--web.listen-address=0.0.0.0:10977"
    command = [sys.executable, "-m", "exporter", *flags[:-1], "--for=1s"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    [default] = re.findall(r"^CMD (\[\"run.+)$", DOCKERFILE, re.MULTILINE)
    verb, *options = json.loads(default)
    said = subprocess.run(
        [sys.executable, "-m", "exporter", verb, *options, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr


def test_prometheus_and_alertmanager_accept_the_mounted_files(tmp_path: Path) -> None:
    config = mounted("prometheus", "/etc/prometheus/prometheus.yml")
    shutil.copy(config, tmp_path)
    shutil.copytree(mounted("prometheus", "/etc/prometheus/rules"), tmp_path / "rules")
    promtool = program("promtool", "prometheus")
    checked = subprocess.run(
        [promtool, "check", "config", str(tmp_path / config.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "2 rule files found" in checked.stdout
    routing = mounted("alertmanager", "/etc/alertmanager/alertmanager.yml")
    amtool = program("amtool", "prometheus-alertmanager")
    assert subprocess.run([amtool, "check-config", str(routing)], check=False).returncode == 0


def test_grafana_finds_data_source_and_dashboards_with_no_click() -> None:
    provisioned = mounted("grafana", "/etc/grafana/provisioning")
    [provider] = yaml.safe_load((provisioned / "dashboards/removit.yaml").read_text())["providers"]
    dashboards = mounted("grafana", provider["options"]["path"])
    assert len(list(dashboards.glob("*.json"))) == 3
    environment = SERVICES["grafana"]["environment"]
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounted("grafana", home).is_file()
    text = (provisioned / "datasources/prometheus.yaml").read_text()
    for variable in re.findall(r"(?<!\$)\$\{(\w+)\}", text):
        assert environment[variable] == "http://prometheus:9090"
    scrape = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape[0]["static_configs"] == [{"targets": ["exporter:10977"]}]
