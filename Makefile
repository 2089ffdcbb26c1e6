# On a bare machine with Python and make: `make demo` or `make test`. Each makes .venv once.
# Another Python: `make PYTHON=python3.12 test`.

PYTHON ?= python3
# Test processes. Each builds its own copy of the shared models.
JOBS ?= 2

# Test processes share the cores; threads of their own would only get in each other's way.
ONE_THREAD := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# TensorFlow's own notes about the machine, not about the work.
export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format types docs clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp ## fine-tune the embedded backbone on a small made-up dataset
	$(BIN)/finetune demo

test: $(VENV)/dev.stamp ## all tests but the slow ones, and the examples in the docstrings
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-slow: $(VENV)/dev.stamp ## the slow tests
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/dev.stamp ## ruff, without changing a file
	$(BIN)/ruff format --check
	$(BIN)/ruff check

format: $(VENV)/dev.stamp ## ruff, mending what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/dev.stamp ## pyright
	$(BIN)/pyright

docs: $(VENV)/dev.stamp ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: ## remove what was made, .venv too
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .hypothesis

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
	$(PIP_INSTALL) -e ".[dev,docs,ray]"
	@touch $@
