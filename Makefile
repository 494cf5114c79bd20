# `make` alone lists what there is to do.
PYTHON ?= python3
SHELL := /bin/bash
BIN := .venv/bin
UV := $(BIN)/uv

.DEFAULT_GOAL := help
.PHONY: help setup demo screenshots test faults lint format hooks lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready  ## a .venv with tagger and trainer in it, from the lock

.venv/ready: requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# The folder comes by the environment, so that quotes and spaces survive; 3 means that some photos failed. What is
# not a person's own goes into a database of its own.
demo: export PHOTOS := $(PHOTOS)
demo: setup  ## tag PHOTOS=folder: Redis, a worker, a SQLite database, and what was found
	@folder="$${PHOTOS/#\~/$$HOME}"; \
	if [ -z "$$folder" ] && [ -n "$$TAGGER_TEST_DATA" ]; then \
		folder="$$TAGGER_TEST_DATA/originals"; echo "no PHOTOS=folder was named: taking $$folder"; \
	elif [ -z "$$folder" ]; then \
		folder=build/drawn-photos; $(BIN)/python tests/drawing.py "$$folder" 12; \
		echo "no PHOTOS=folder was named: taking pictures drawn for this, in $$folder (whatever is recognised in them is a mistake)"; \
	fi; \
	if [ -z "$$PHOTOS" ] && [ -z "$$TAGGER_DATA_FOLDER" ]; then \
		export TAGGER_DATA_FOLDER=build/demo; \
		echo "the database is one of its own: put TAGGER_DATA_FOLDER=build/demo in front of what you ask next"; \
	fi; \
	$(BIN)/tagger up --once "$$folder" || [ $$? -eq 3 ]

screenshots: export PYTHONPATH := .:tests:tests/web
screenshots: setup  ## take the pictures of the page for docs/page.md anew; needs Chromium
	$(BIN)/python tests/web/screenshots.py

test: setup lint  ## all tests, lint, types and import rules
	$(BIN)/pytest -n 3 --dist worksteal

faults: export TAGGER_FAULTS := whole
faults: setup  ## the fault tests with real leases and outages of a minute, which take long
	$(BIN)/pytest -n 3 --dist worksteal tests/faults

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

hooks: setup  ## run the quick checks before each commit
	$(BIN)/pre-commit install

lock: setup  ## write the lock anew from the ranges in pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --no-header \
		--no-annotate --output-file requirements.lock pyproject.toml
	grep -A 30 '^uv==' requirements.lock | awk 'NR > 1 && /^[a-z]/ {exit} {print}' > requirements-uv.lock

clean:  ## remove what was built
	rm -rf .venv build *.egg-info
