# demo · test · check · bench: each makes its own .venv first, with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test check bench clean
.DEFAULT_GOAL := demo

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[digits]"
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,hub]"
	touch $@

demo: .venv/ready        ## draw digits with the shipped model, train a fresh one, draw with that
	$(BIN)/brickwork demo --out runs/demo

test: .venv/ready-dev    ## under ten minutes on two cores
	$(BIN)/python -m pytest

check: .venv/ready-dev   ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv/ready-dev   ## side by side in one run; writes benchmarks/results
	$(BIN)/python benchmarks/stoic_throughput.py

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .ruff_cache .import_linter_cache
