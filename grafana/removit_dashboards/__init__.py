"""The dashboards as code: `make dashboards` writes them as JSON to `grafana/dashboards/`.

Built with Grafana's own `grafana-foundation-sdk`. What a panel asks is in `overview.py`, `job.py`
and `exporter.py`; how panels look, and where they stand, in `panels.py` and `layout.py`.
"""
