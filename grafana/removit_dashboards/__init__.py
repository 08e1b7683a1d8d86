"""Grafana's dashboards as code, built with Grafana's Foundation SDK.

The JSON in `grafana/dashboards/` is made by `make dashboards`; a test keeps both equal. `panels`
says how a panel looks, `queries` how it asks Prometheus, `layout` where it is; the other modules
are the dashboards.
"""
