"""The rules for Prometheus: recording rules and alerts, built from `thresholds.yml`.

`make rules` writes them to `prometheus/rules/`. The drill builds the same table with a time scale,
so that minutes pass in seconds. All metrics that they use are in the catalogue (tested).
"""
