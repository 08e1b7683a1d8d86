# Two commands do everything:  make demo [ARGS="--for 20s"]   and   make test [SLOW=1]
# `make help` lists the rest.

SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
ARGS ?=
SLOW ?=
# Half of what the tests take is waiting, so four run side by side on two cores.
WORKERS ?= 4
# A worker that has nothing left to do takes tests from another.
PYTEST := $(BIN)/python -m pytest
SIDE_BY_SIDE := -n $(WORKERS) --dist worksteal
# The tests start many processes, which would all compile the modules again.
unexport PYTHONDONTWRITEBYTECODE

# The first interpreter on this machine that is 3.11 or newer; `make PYTHON=... demo` chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	command -v $$python >/dev/null 2>&1 && $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; install it, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "This Python has no ensurepip; on Debian and Ubuntu: apt-get install python$$version-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# What running needs. The stamps hold the time of the last successful install.
.venv/run.stamp: requirements.txt pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	@touch $@

.PHONY: demo
demo: .venv/run.stamp ## simulator, exporter and a stream of jobs; ARGS="--for 20s" hands flags on
	$(BIN)/removit-exporter demo $(ARGS)

.PHONY: dist
dist: .venv/run.stamp ## build wheel and sdist into dist/
	$(BIN)/python -m hatchling build -d dist

.PHONY: test
test: lint docs-check ## linters, types and all tests; SLOW=1 adds the slow ones and the coverage
ifeq ($(SLOW),)
	$(PYTEST) $(SIDE_BY_SIDE) -m "not slow" $(ARGS)
else
	$(PYTEST) $(SIDE_BY_SIDE) -m "not slow" --cov --cov-report= $(ARGS)
	# One at a time: a drill of all alerts needs the whole machine.
	$(PYTEST) -m "slow and not image" --cov --cov-append --cov-report= $(ARGS)
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --include='exporter/core/*' --fail-under=100
endif

.PHONY: image
image: .venv/dev.stamp ## build the image and try it; needs Docker or podman, and a base image
	CI=true $(PYTEST) -m image $(ARGS)

.PHONY: judgement
judgement: .venv/dev.stamp ## the judgement against drawn histories; ARGS="--histories 2000 --seed 1"
	$(BIN)/python benchmarks/judgement.py $(ARGS)

.PHONY: bench
bench: .venv/dev.stamp ## costs next to baselines; writes docs/performance.md; ARGS="--rounds 2 --jobs 20000 put page"
	$(BIN)/python benchmarks/performance.py --write $(ARGS)

.PHONY: mutants
mutants: .venv/dev.stamp ## mutation testing of exporter/core: survivors and why; ARGS="--again"
	$(BIN)/python benchmarks/mutants.py $(ARGS)

.PHONY: fuzz
fuzz: .venv/dev.stamp ## input from outside, drawn for longer; FUZZ=100 times as much as the tests
	FUZZ=$(or $(FUZZ),100) $(PYTEST) -m fuzz --timeout=0 --hypothesis-show-statistics $(ARGS)

.PHONY: soak
soak: .venv/dev.stamp ## a million jobs over a simulated week; ARGS="--jobs 100000"
	$(BIN)/python benchmarks/soak.py $(ARGS)

.PHONY: crashes
crashes: .venv/dev.stamp ## SIGTERM and kill -9 at random moments; ARGS="--rounds 20"
	$(BIN)/python benchmarks/crashes.py $(ARGS)

.PHONY: steady
steady: .venv/dev.stamp ## tests of sockets and time next to a busy loop on each core; ROUNDS=10
	$(BIN)/python benchmarks/steady.py --rounds $(or $(ROUNDS),10) --workers $(WORKERS) $(ARGS)

.PHONY: measure
measure: .venv/run.stamp ## size and shape of the code, and how plain its prose is; ARGS="OTHER_CHECKOUT"
	$(BIN)/python benchmarks/measure.py $(ARGS)

.PHONY: lint
lint: .venv/dev.stamp ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: .venv/dev.stamp ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: .venv/run.stamp ## write the pages that are made from the code
	$(BIN)/python -m exporter.metrics > docs/metrics.md
	$(BIN)/python -m exporter.config.reference page > docs/configuration.md
	$(BIN)/python -m exporter.config.reference schema > docs/config.schema.json

.PHONY: rules
rules: .venv/run.stamp ## write Prometheus's rule files from exporter/alerting/thresholds.yml
	$(BIN)/python -m exporter.alerting prometheus/rules

.PHONY: dashboards
dashboards: .venv/dev.stamp ## write Grafana's dashboards from their code
	PYTHONPATH=grafana $(BIN)/python -m removit_dashboards grafana/dashboards

.PHONY: release
release: .venv/dev.stamp ## the release's checklist; it publishes nothing; ARGS="--skip tests"
	$(BIN)/python deploy/release/checklist.py $(ARGS)

.PHONY: kubernetes
kubernetes: .venv/run.stamp ## write the Kubernetes objects made from rules and dashboards
	$(BIN)/python deploy/kubernetes/generate.py

.PHONY: docs-check
docs-check: .venv/dev.stamp
	@{ $(BIN)/python -m exporter.metrics | diff -u docs/metrics.md - \
		&& $(BIN)/python -m exporter.config.reference page | diff -u docs/configuration.md - \
		&& $(BIN)/python -m exporter.config.reference schema | diff -u docs/config.schema.json -; } \
		|| { echo "a page in docs/ is not what the code says; run: make docs" >&2; exit 1; }

# uv is asked for here only; it is not needed to run, test or install.
UV_COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-strip-extras --no-emit-index-url --no-emit-find-links

.PHONY: lock
lock: ## write the lock files anew (needs uv)
	$(UV_COMPILE) --group build --output-file requirements.txt pyproject.toml
	$(UV_COMPILE) --group build --group dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

.PHONY: clean
clean: ## remove the environment and what the tools left
	rm -rf mutants mutants.log .venv .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
