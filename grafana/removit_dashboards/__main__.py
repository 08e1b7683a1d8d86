"""`python -m removit_dashboards FOLDER` writes every dashboard as JSON."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .exporter import exporter
from .job import job
from .layout import finished
from .overview import overview


def documents() -> Mapping[str, dict[str, Any]]:
    """Return each dashboard's document by its file's name."""
    made = {"overview.json": overview(), "job.json": job(), "exporter.json": exporter()}
    return {
        name: finished(json.loads(json.dumps(dashboard.build(), cls=JSONEncoder)))
        for name, dashboard in made.items()
    }


def text(document: Mapping[str, Any]) -> str:
    """Return the content of a document's file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, document in documents().items():
        Path(sys.argv[1], name).write_text(text(document), encoding="utf-8")
