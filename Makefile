# On a bare machine with Python and make: `make demo` or `make test`. Each makes .venv once.
# Another Python: `make PYTHON=python3.12 test`.

PYTHON ?= python3
# For `make test-oldest`: Python 3.10, the oldest that pyproject.toml allows, from the path or from
# pyenv; where there is none that can make a venv, the other one, which must be older than 3.14.
OLDEST_PYTHON ?= $(shell for python in python3.10 \
    "$$(pyenv prefix 3.10 2>/dev/null)/bin/python3.10" $(PYTHON); do \
  "$$python" -c "import ensurepip" 2>/dev/null && echo "$$python" && break; done)
# Test processes. Each builds its own copy of the shared models.
JOBS ?= 2

# Test processes share the cores; threads of their own would only get in each other's way.
ONE_THREAD := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1

# Tests of these extras would otherwise skip in silence where one is missing. (KerasHub needs newer
# versions than the oldest.)
FILES := tf2onnx onnx onnxruntime ai_edge_litert
SERVER := starlette uvicorn
EXTRAS := FINETUNE_EXPECTED_EXTRAS="ray pandas cleanlab.filter mapie.classification keras_hub selenium $(FILES) $(SERVER)"
OLDEST_EXTRAS := FINETUNE_EXPECTED_EXTRAS="ray pandas $(FILES) $(SERVER)"

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
OLDEST := .venv-oldest
WHEEL := $(CURDIR)/build/wheel

# TensorFlow's own notes about the machine, not about the work.
export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-thorough test-slow coverage test-oldest test-wheel wheel lint format types docs clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp ## fine-tune the embedded backbone on a small made-up dataset
	$(BIN)/finetune demo

test: $(VENV)/dev.stamp ## the tests of every day, and the examples in the docstrings
	$(EXTRAS) $(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-thorough: $(VENV)/dev.stamp ## the tests that train for longer
	$(EXTRAS) $(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	  -m "thorough and not slow"

test-slow: $(VENV)/dev.stamp ## the slow tests, before a release
	$(EXTRAS) $(BIN)/python -m pytest -m slow

coverage: $(VENV)/dev.stamp ## which share of the code the tests run, by room; what they do not, into build/coverage
	$(EXTRAS) $(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	  -m "not slow" --cov --cov-report=html:build/coverage
	@for room in finetune/*/ finetune/; do \
	  echo "$$($(BIN)/coverage report --format=total --include="$$room*")% $$room"; \
	done

test-oldest: ## the tests on the oldest versions that pyproject.toml allows, in a venv of their own
	@if $(OLDEST_PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 14))'; then \
	  $(MAKE) --no-print-directory $(OLDEST)/test.stamp && \
	  $(OLDEST_EXTRAS) $(ONE_THREAD) $(OLDEST)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder; \
	else \
	  echo "Skipped: the oldest TensorFlow allowed has no wheels for Python 3.14 and newer, and" \
	    "no older Python was found. Name one: make OLDEST_PYTHON=/path/to/python3.10 test-oldest"; \
	fi

# Of the tests those that read files of the package, in .ci/run; here all of them.
WHEEL_TESTS ?= ../tests
test-wheel: $(VENV)/dev.stamp wheel ## the tests on the wheel, without the checkout
	rm -rf "$(WHEEL)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --target "$(WHEEL)" dist/*.whl
	cd build && $(EXTRAS) $(ONE_THREAD) PYTHONPATH="$(WHEEL)" FINETUNE_EXPECTED_IN="$(WHEEL)" \
	  ../$(BIN)/python -m pytest -c ../pyproject.toml -n $(JOBS) --dist loadfile --no-loadscope-reorder $(WHEEL_TESTS)

wheel: | $(BIN)/pip ## the wheel, into dist/
	rm -f dist/*.whl
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

lint: $(VENV)/dev.stamp ## ruff, without changing a file; and the rooms' order
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports --no-cache

format: $(VENV)/dev.stamp ## ruff, mending what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/dev.stamp ## pyright
	$(BIN)/pyright

docs: $(VENV)/dev.stamp ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove what was made, the venvs too
	rm -rf $(VENV) $(OLDEST) build dist site .pytest_cache .ruff_cache .hypothesis .coverage*

# pip, not python: a venv that could not be completed has no pip, and is made again.
$(BIN)/pip:
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing finetune and what it needs (about 3 GB, once)"
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing finetune, its extras and its tools (about 3 GB, once)"
	$(PIP_INSTALL) -e ".[dev,docs,export,hub,pandas,ray,serve]"
	@touch $@

$(OLDEST)/bin/pip:
	@echo "Making $(OLDEST) with $$($(OLDEST_PYTHON) --version)"
	$(OLDEST_PYTHON) -m venv $(OLDEST)

$(OLDEST)/test.stamp: pyproject.toml constraints-oldest.txt | $(OLDEST)/bin/pip
	@echo "Installing finetune and the oldest versions of what it needs (about 3 GB, once)"
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints-oldest.txt -e ".[test,export,pandas,ray,serve]"
	@touch $@
