"""Writes `generated/`: Prometheus's rules and Grafana's dashboards as Kubernetes objects.

    make kubernetes

The rules become one PrometheusRule, and each dashboard a ConfigMap that Grafana's sidecar finds by
its label. Both are made from the files that are used without Kubernetes.
"""

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LABELS = {"app.kubernetes.io/name": "removit-exporter"}
HEADER = "# Made by `make kubernetes`; do not edit.\n"


def prometheus_rule() -> dict[str, Any]:
    """All rule files that are loaded by default, as one object."""
    files = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "removit-exporter", "labels": LABELS},
        "spec": {"groups": groups},
    }


def dashboards() -> list[dict[str, Any]]:
    """Each dashboard as a ConfigMap of its own: together they would near the limit of 1 MiB."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": f"removit-dashboard-{path.stem}",
                "labels": {**LABELS, "grafana_dashboard": "1"},
                "annotations": {"grafana_folder": "Removit"},
            },
            "data": {path.name: json.dumps(json.loads(path.read_text()), separators=(",", ":"))},
        }
        for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
    ]


def texts() -> dict[str, str]:
    """The text of each generated file, by its name."""
    documents = {"prometheusrule.yaml": [prometheus_rule()], "dashboards.yaml": dashboards()}
    return {
        name: HEADER + yaml.safe_dump_all(content, sort_keys=False, width=float("inf"))
        for name, content in documents.items()
    }


if __name__ == "__main__":
    for name, text in texts().items():
        (HERE / "generated" / name).write_text(text)
