# `make demo` and `make test` do all set-up themselves, in an own .venv; a second call is quick.
# Another Python: make test PYTHON=/path/to/python3.12     Another place: make test VENV=.venv-other

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# The first interpreter on the PATH that is new enough and can make an environment.
CAN_RUN := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	"$$p" -c '$(CAN_RUN)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt
INPUTS := pyproject.toml constraints.txt src/hdsmlm/__init__.py
DEMO_OUT ?= demo-output
PYTEST_FLAGS ?=
# Folders of hand-written Python.
CODE := src tests benchmarks docs

export MPLBACKEND := Agg
export KERAS_BACKEND ?= torch
export MLFLOW_DISABLE_TELEMETRY := true
export NO_MKDOCS_2_WARNING := 1

.PHONY: help demo test lint types unit docs docs-serve benchmark install install-core format clean

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(VENV)/.core ## Install the core, simulate a dense movie, localize it, score it; results in demo-output/
	$(BIN)/hdsmlm demo --out $(DEMO_OUT)

test: lint types docs unit ## Everything that CI checks: linters, types, import contract, docs, tests

lint: $(VENV)/.all ## Format check, ruff, import contract, spelling
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell $(CODE) configs README.md CONTRIBUTING.md CHANGELOG.md Makefile pyproject.toml

types: $(VENV)/.all ## Strict type check
	$(BIN)/mypy

unit: $(VENV)/.all ## The tests alone; more flags: make unit PYTEST_FLAGS="-k camera"
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

docs: $(VENV)/.all ## Build the documentation into site/; a warning is an error
	$(BIN)/mkdocs build --strict --quiet

docs-serve: $(VENV)/.all ## Show the documentation at http://127.0.0.1:8000 and rebuild on change
	$(BIN)/mkdocs serve

benchmark: $(VENV)/.all ## Measure import times and speeds on this machine
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

format: $(VENV)/.all ## Format the code and mend what ruff can
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

install: $(VENV)/.all ## Set up .venv with all that training, tests and docs need

install-core: $(VENV)/.core ## Set up .venv with what prediction needs: no Keras, no torch, no MLflow

$(BIN)/python:
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c '$(CAN_RUN)' 2>/dev/null; then \
		echo "hdsmlm needs Python 3.11 or newer with its venv module." >&2; \
		echo "Tried: $(if $(PYTHON),$(PYTHON),python3.11 python3.12 python3.13 python3 python) ($$( { $(if $(PYTHON),$(PYTHON),python3) --version || true; } 2>&1 | head -1))." >&2; \
		echo "Install it (Debian, Ubuntu: apt-get install python3.11 python3.11-venv) or name yours:" >&2; \
		echo "    make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/.core: $(INPUTS) | $(BIN)/python
	@echo "Installing hdsmlm into $(VENV); the first time this takes a minute or two."
	$(PIP) -e .
	@touch $@

$(VENV)/.all: $(INPUTS) | $(BIN)/python
	@echo "Installing hdsmlm with training, tests and docs into $(VENV); the first time this takes some minutes."
	$(PIP) -e '.[train,jax,io,search,ray,service,docs,dev]'
	@touch $(VENV)/.core $@

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) site build dist demo-output .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis src/*.egg-info
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
