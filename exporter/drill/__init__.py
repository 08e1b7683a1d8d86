"""`removit-exporter drill`: every alert rehearsed, with a simulated API and real exporters.

An act for each alert makes the trouble happen that the alert is about, and mends it again. All acts
play side by side, each with a simulator and an exporter of its own, in minutes: the rules are the
shipped ones with their times squeezed (`alerting.promql.for_drill`).
"""
