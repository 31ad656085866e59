# Set-up, then the two commands: `make run` and `make test`. Needs Python 3.11 and no root.
#
#   make run                    the quickstart; make run CONFIG=smoke for another one
#   make run ARGS="--set seed=1"
#   make test                   the tests, two files at a time (JOBS=2); make test-slow for the long ones
#   make check                  lints, types, import rules
#   make extras                 TextCraft, VirtualHome, Fast Downward, faiss, W&B, MLflow (600 MB)
#   make bench                  what is measured in README.md
#   make chaos FAULTS=40 SEED=0 a run on hosts of their own while everything fails (root, Linux)
#   make recovery               how long it takes to be itself again after each fault
#   make clean                  removes .venv and caches, never runs/

CONFIG ?= quickstart
ARGS ?=
BENCH ?= acting
JOBS ?= 2
FAULTS ?= 40
SEED ?= 0
VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help run test test-slow chaos recovery check bench doctor setup extras clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,12p'

run: $(READY)
	@$(VENV)/bin/nesypr run $(CONFIG) $(ARGS)

test: $(READY)
	@$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-slow: $(READY)
	@$(VENV)/bin/python -m pytest -m slow $(ARGS)

chaos: $(READY)
	@FAULTS=$(FAULTS) SEED=$(SEED) $(VENV)/bin/python -m pytest -m slow -s tests/faults/test_chaos.py $(ARGS)

recovery: $(READY)
	@$(VENV)/bin/python -m pytest -m slow -s tests/faults/test_recovery_times.py $(ARGS)

check: $(READY)
	@scripts/check $(VENV)/bin

bench: $(READY)
	@$(VENV)/bin/nesypr bench $(BENCH) $(ARGS)

doctor: $(READY)
	@$(VENV)/bin/nesypr doctor

setup: $(READY)

extras: $(READY)
	@$(VENV)/bin/python -m pip install -qq --no-deps -r requirements-extras.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or later is needed, but '$(PYTHON)' is not: install it, or name one with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version); a few minutes, once"
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "$(PYTHON) cannot make virtual environments: on Debian, install python3-venv" >&2; exit 1; }
	@$(VENV)/bin/python -m pip install -qq --no-deps -r requirements.lock
	@$(VENV)/bin/python -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
