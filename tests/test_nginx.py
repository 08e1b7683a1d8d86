"""The example for nginx, with TLS, in front of a real exporter."""

from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "nginx.conf"
