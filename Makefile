# demo · test · check · bench: each makes its own .venv first, with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 2
# Waiting threads sleep instead of spinning: where other work shares the cores, spinning costs several times the speed.
export OMP_WAIT_POLICY ?= passive

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
	rm -rf runs/demo
	$(BIN)/brickwork sample digits --guidance 2 --steps 25 --out runs/demo/shipped.png
	$(BIN)/brickwork train recipes/digits.toml --data digits --out runs/demo/fresh
	$(BIN)/brickwork sample runs/demo/fresh --guidance 2 --steps 25 --out runs/demo/fresh.png
	@echo "look at runs/demo/shipped.png (the shipped model), runs/demo/fresh.png (trained just now)"
	@echo "and runs/demo/fresh/curve.png; train on your own pictures with: $(BIN)/brickwork train stoic-small --help"

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
