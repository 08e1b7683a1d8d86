"""`python -m exporter.alerting FOLDER` writes the rule files, made from `thresholds.yml`."""

import sys
from pathlib import Path

from ..config import ConfigError
from .promql import Promql
from .rule_files import rule_files
from .thresholds import load_thresholds


def main(folder: Path) -> None:
    """Write every rule file into a folder."""
    for name, text in rule_files(Promql(load_thresholds())).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except ConfigError as error:
        sys.exit(str(error))
