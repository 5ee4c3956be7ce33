# demo · page · test · test-slow · test-devices · test-web · door · check · docs · campaign · bench: each makes its own environment first, with pinned versions.
PYTHON ?= python3
BIN := .venv/bin
PIP := -m pip install --quiet --disable-pip-version-check
export OMP_NUM_THREADS ?= 2
# Waiting threads sleep instead of spinning: where other work shares the cores, spinning costs several times the speed.
export OMP_WAIT_POLICY ?= passive

.PHONY: demo page test test-slow test-devices test-web door check docs campaign campaign-short bench lock clean
.DEFAULT_GOAL := demo

# Every file is checked by its hash, but those of torch and of what a kind of machine needs beside it: torch has another
# build for each, so that the second step takes them by version.
.venv/ready: pyproject.toml constraints.txt requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) --require-hashes --no-deps --requirement requirements.txt
	$(BIN)/python $(PIP) --no-build-isolation --constraint constraints.txt --editable ".[train,digits,plots]"
	touch $@

.venv/ready-dev: .venv/ready requirements-dev.txt
	$(BIN)/python $(PIP) --require-hashes --no-deps --requirement requirements-dev.txt
	$(BIN)/python $(PIP) --no-build-isolation --constraint constraints.txt --editable ".[dev,hub]"
	touch $@

demo: .venv/ready        ## draw digits with the shipped model, train a fresh one, draw with that
	rm -rf runs/demo
	$(BIN)/brickwork sample digits --guidance 2 --steps 25 --out runs/demo/shipped.png
	$(BIN)/brickwork train digits --data digits --out runs/demo/fresh
	$(BIN)/brickwork sample runs/demo/fresh --guidance 2 --steps 25 --out runs/demo/fresh.png
	@echo "look at runs/demo/shipped.png (the shipped model), runs/demo/fresh.png (trained just now)"
	@echo "and runs/demo/fresh/curve.png; train on your own pictures with: $(BIN)/brickwork train photos/"

page: .venv/ready-dev    ## pack the shipped models for the browser and serve them on this machine
	$(BIN)/brickwork pack digits --target browser --parts 1 2 3 --guidance 1.5 --out runs/page/digits
	$(BIN)/brickwork pack digits-lego --target browser --parts 1 2 3 --guidance 1.5 --out runs/page/digits-lego
	$(BIN)/brickwork serve runs/page/*

test: .venv/ready-dev    ## under ten minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# One environment for each runtime, as their toolkits do not agree on versions.
.venvs/bare/ready: pyproject.toml
	$(PYTHON) -m venv .venvs/bare
	.venvs/bare/bin/python $(PIP) --constraint constraints.txt lazy-loader numpy onnxruntime pillow
	.venvs/bare/bin/python $(PIP) --no-deps --editable .
	touch $@

.venvs/%/ready: pyproject.toml constraints-devices.txt
	$(PYTHON) -m venv .venvs/$*
	.venvs/$*/bin/python $(PIP) --constraint constraints-devices.txt beartype pytest pytest-timeout --editable ".[train,$*]"
	touch $@

# Its converter wants an older typing-extensions than tyro does, and runs with the newer one: so in two steps.
.venvs/litert/ready: pyproject.toml constraints-devices.txt
	$(PYTHON) -m venv .venvs/litert
	.venvs/litert/bin/python $(PIP) torch==2.13.0 litert-torch==0.10.0 ai-edge-litert==2.3.0
	.venvs/litert/bin/python $(PIP) --constraint constraints-devices.txt beartype pytest pytest-timeout --editable ".[train]"
	touch $@

test-slow: .venv/ready-dev  ## what the other tests leave out as it takes minutes: rare options, large sizes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses auto --maxprocesses 4 --dist loadfile

test-devices: .venv/ready-dev .venvs/bare/ready .venvs/executorch/ready .venvs/litert/ready .venvs/openvino/ready  ## every runtime
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "runtime and not slow" --numprocesses 2 --dist loadfile tests/package
	BRICKWORK_BARE_PYTHON=$(CURDIR)/.venvs/bare/bin/python $(BIN)/python -m pytest tests/devices/test_bare.py
	.venvs/openvino/bin/python -m pytest tests/devices/test_openvino.py
	.venvs/executorch/bin/python -m pytest tests/devices/test_executorch.py tests/devices/test_coreml.py
	.venvs/litert/bin/python -m pytest -p no:anyio tests/devices/test_litert.py

door: .venv/ready-dev    ## wheel and sdist; every command of README and docs in clean environments and empty folders
	$(BIN)/python -m pytest -m door -rs tests/door

test-web: .venv/ready-dev  ## the page in headless chromium, which comes from Debian
	command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium)
	$(BIN)/python -m pytest -m web tests/web

check: .venv/ready-dev   ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: .venv/ready-dev    ## the site in build/site, without a warning; runs the notebook and the guide's examples
	DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m docs --numprocesses 2 --dist loadfile tests/docs tests/test_extending.py

CAMPAIGN := OMP_NUM_THREADS=1 PYTHONPATH=tests:tests/support:benchmarks $(BIN)/python -m campaign
campaign: .venv/ready-dev  ## mutations, kills, small disks: make campaign SEED=1 COUNT=20000 KILLS=300
	$(CAMPAIGN) $(if $(SEED),--seed $(SEED)) --count $(or $(COUNT),20000) --kills $(or $(KILLS),300)

campaign-short: .venv/ready-dev  ## five minutes of it, by a new seed each time
	$(CAMPAIGN) $(if $(SEED),--seed $(SEED)) --count 800 --kills 12

bench: .venv/ready-dev   ## side by side in one run; writes benchmarks/results
	$(BIN)/python benchmarks/stoic_throughput.py

# Wheels alone, so that nothing is built by code that no hash covers; setuptools builds the project itself.
LOCK = echo setuptools | .venvs/lock/bin/uv pip compile --quiet --python-version 3.11.5 --only-binary :all: --generate-hashes \
	--no-annotate --no-header --no-emit-package torch --constraint constraints.txt pyproject.toml -

lock:                    ## write the hashes of constraints.txt's versions anew
	$(PYTHON) -m venv .venvs/lock
	.venvs/lock/bin/python $(PIP) uv==0.13.9
	$(LOCK) --extra train --extra digits --extra plots --output-file requirements.txt
	$(LOCK) --extra train --extra dev --extra hub --output-file requirements-dev.txt

clean:
	rm -rf .venv .venvs build dist src/*.egg-info .pytest_cache .ruff_cache .import_linter_cache
