# Everything a newcomer needs: `make demo` and `make test`. Both set up their environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := deploy/constraints.txt
DURATION ?= 60
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup dev demo test check bench figures docs clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] else "sensorweir needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml $(LOCK) | $(BIN)/python
	@echo "setting up $(VENV) (about half a minute the first time)"
	@$(PIP) install --quiet --upgrade 'pip>=25.1,<28'
	@$(PIP) install --quiet --constraint $(LOCK) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@$(PIP) install --quiet --constraint $(LOCK) --group dev --group oracle
	@touch $@

setup: $(VENV)/.runtime ## make the environment in .venv

dev: $(VENV)/.dev ## the same, with everything tests need

demo: setup ## broker, simulator and daemon for DURATION seconds, scored against the injected faults
	@$(BIN)/sensorweir demo --duration $(DURATION)

check: dev ## ruff, mypy and the rules of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house.py

test: check ## everything CI runs
	$(BIN)/python -m tests.together

$(VENV)/.bench: $(VENV)/.dev
	@$(PIP) install --quiet --constraint $(LOCK) --group bench
	@touch $@

bench: $(VENV)/.bench ## costs of each hop and the targets, side by side in one run
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.durability --rounds 1 --part drain --part start

figures: $(VENV)/.bench ## measure the targets and write the README's table of them
	$(BIN)/python -m tests.bench --readme

docs: dev ## write the generated pages again
	$(BIN)/sensorweir schema > config/sensorweir.schema.json
	$(BIN)/python -m tests.write_docs

clean: ## remove what the others made
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
