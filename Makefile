# `make` alone lists what there is to make. Everything happens in .venv, which is made on first use
# with nothing but Python 3.11 or newer and a package index.

PYTHON ?= python3
ARGS ?=
# What `make package` builds for.
RUNTIME ?= python3.13
ARCH ?= arm64

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet
LOCKED := .venv/.locked
READY := .venv/.ready

export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.cache/hypothesis

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test unit soak bench policies package e2e fix docs lock clean format lint types imports template documents tests

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## Tell the whole story once, in a fresh home
	@$(BIN)/siutindei demo $(ARGS)

test: format lint imports types template documents tests ## Check everything: this is what CI runs
	@echo 'make test: all is well (format, lint, import contracts, types, template, documents, tests, coverage)'

unit: $(READY) ## Run the quick tests only (ARGS='-k ticket' chooses)
	@$(BIN)/python -m pytest tests -m 'not slow' $(ARGS)

soak: $(READY) ## Run the long runs: minutes, and a few GB of disk
	@$(BIN)/python -m pytest tests -m soak --override-ini faulthandler_timeout=0 $(ARGS)

bench: $(READY) ## Measure how far one installation goes (ARGS=1000000 for more events)
	@$(BIN)/python -m bench.scaling $(ARGS)

policies: $(READY) ## Evaluate the template's IAM policies: who may send from where (Node)
	@command -v npm > /dev/null || { echo 'make policies needs Node: apt-get install nodejs npm' >&2; exit 2; }
	@[ infrastructure/iam/node_modules -nt infrastructure/iam/package-lock.json ] || { \
		npm ci --prefix infrastructure/iam --no-audit --no-fund --silent && \
		touch infrastructure/iam/node_modules; }
	@$(BIN)/python -m infrastructure.iam.matrix

e2e: $(READY) ## Deploy the template to an emulator of AWS, and drive it
	@$(BIN)/python -m pytest tests/e2e -n 0 -m e2e $(ARGS)

package: $(READY) ## Make the Lambda bundle (RUNTIME=python3.13 ARCH=arm64)
	@$(BIN)/python infrastructure/package.py --runtime $(RUNTIME) --arch $(ARCH)

fix: $(READY) ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format
	@$(BIN)/ruff check

docs: $(READY) ## Write the generated pages again
	@$(BIN)/python docs/generate.py

lock: $(LOCKED) ## Lock the dependencies again (ARGS=--upgrade for newer ones)
	@$(BIN)/uv pip compile pyproject.toml --quiet --output-file requirements.lock \
		--universal --python-version 3.11 --all-extras --group dev --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command 'make lock' $(ARGS)
	@if grep -n '://' requirements.lock; then echo 'requirements.lock: an address' >&2; exit 1; fi

clean: ## Remove what was made here: .venv, caches, builds
	rm -rf .venv .cache .hypothesis build dist
	find . -name .git -prune -o -name __pycache__ -type d -exec rm -rf {} +

# --- the parts of `make test`: none of them writes to what is checked in -------------------------

format: $(READY)
	@echo '== format'
	@$(BIN)/ruff format --check

lint: $(READY)
	@echo '== lint'
	@$(BIN)/ruff check

imports: $(READY)
	@echo '== import contracts'
	@$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

types: $(READY)
	@echo '== types'
	@$(BIN)/mypy

template: $(READY)
	@echo '== template'
	@$(BIN)/cfn-lint infrastructure/template.yaml

documents: $(READY)
	@echo '== documents'
	@$(BIN)/python docs/generate.py --check

tests: $(READY)
	@echo '== tests'
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n auto --maxprocesses 4
	@$(BIN)/coverage combine --quiet
	@$(BIN)/python tests/coverage_gates.py

# --- the environment: exactly what the lock holds, then this package ------------------------------

$(LOCKED): requirements.lock
	@echo 'making .venv (once, and again when requirements.lock changes)'
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
		"Python 3.11 or newer is needed, this is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) --require-hashes -r requirements.lock
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(PIP) --no-deps --no-build-isolation -e .
	@said=$$($(BIN)/python -m pip --disable-pip-version-check check) || { \
		echo "requirements.lock does not fit pyproject.toml (make lock):"; echo "$$said"; exit 1; }
	@touch $@
