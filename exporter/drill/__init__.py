"""`removit-exporter drill`: tests every alert with a simulated API and real exporters.

For each alert a scenario causes the fault that the alert is about, and ends it again. All scenarios
run at the same time, each with its own simulator and exporter. This takes minutes, because the
rules are the shipped ones with shorter times (`alerting.promql.for_drill`).
"""
