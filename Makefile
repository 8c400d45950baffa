# Two commands to know: `make demo` (some minutes, then a report) and `make test`.
# Everything is installed into .venv from the package registry; nothing else is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
WORKERS ?= 2

export TOKENIZERS_PARALLELISM := false

.PHONY: help setup demo test test-long bench lint format docs clean

help:
	@echo "make demo       train and compare models in the care world, then write a report (7 to 8 minutes on 2 cores)"
	@echo "make test       lint, types, doctests and tests"
	@echo "make test-long  the checks that take minutes each"
	@echo "make bench      speed and memory against TRL and against our own plain path"
	@echo "make lint       ruff and mypy only;  make format  let ruff rewrite"
	@echo "make docs       write docs/methods from the code"

setup: $(INSTALLED)

# torch first and alone: the pinned version is a CPU build where one lies on the machine, and nothing replaces it later
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(INSTALLED)
	$(BIN)/halign demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not long"

test-long: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python -m benchmarks.all

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED)
	$(BIN)/halign methods --write docs/methods

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache src/*.egg-info
