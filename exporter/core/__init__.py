"""The rules, pure: no await, no clock, no chance, no I/O; `now` and `rng` are arguments."""
