# All targets use one virtual environment, made from requirements/dev.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PYTHONPATH := $(CURDIR):$(CURDIR)/plugins
# uv installs no bytecode. Without the variable, Python keeps what it compiles; with it, every process that the
# tests start would compile Airflow and TensorFlow again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install lock lock-check sbom images lint format format-check imports shellcheck types check test test-slow demo up down compose-test rehearsal campaign bench docs screenshots clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Everything that is installed from a lock has to have the lock's checksum.
INSTALL_uv = $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $(FILE_uv)

install: $(VENV)/.installed ## Make the virtual environment from the lock

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is incomplete: apt-get install python3-venv"; exit 1; }
	@test ! -e $(VENV) || test -e $(VENV)/pyvenv.cfg || \
	  { echo "$(VENV) exists and is not a virtual environment: choose another VENV"; exit 1; }
	@$(PYTHON) scripts/install_room.py $(VENV) requirements/dev.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(INSTALL_uv)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes \
	  --build-constraints requirements/dev.txt -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@echo "Compiling the conversion ..."
	$(BIN)/python -m qarib_tasks.conversion.compile_ahead
	@du -sh $(VENV) | awk '{ print "Installed: " $$1 " in " $$2 }'
	@touch $@

COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate \
  --custom-compile-command "make lock"
EVERYWHERE = pyproject.toml --universal --python-version 3.11
AS_DEV = --constraint requirements/dev.txt
LOCK_dev = $(EVERYWHERE) --extra corpus --extra airflow --extra celery --extra kubernetes \
  --extra train --extra openlineage --extra wandb --extra dev
LOCK_airflow = $(EVERYWHERE) $(AS_DEV) --extra corpus --extra airflow --extra celery --extra kubernetes
LOCK_train = $(EVERYWHERE) $(AS_DEV) --extra train
# For the image: TensorFlow without its GPU code.
LOCK_train_cpu = $(LOCK_train) requirements/train_cpu.in --no-emit-package tensorflow
LOCK_sbom = requirements/sbom.in --universal --python-version 3.11 $(AS_DEV)
# The machines of a Cloud TPU have one platform.
LOCK_tpu = $(AS_DEV) --python-version 3.12 --python-platform x86_64-manylinux_2_31 \
  --extra train pyproject.toml requirements/tpu.in
# Their own Python, which installs uv, can be as old as uv allows.
LOCK_uv = $(AS_DEV) --universal --python-version 3.8 requirements/uv.in
# A server, in an environment of its own: its pins are not ours.
LOCK_mlflow = requirements/mlflow.in --universal --python-version 3.11
LOCKS = dev airflow train train_cpu sbom tpu uv mlflow
FILE_uv = qarib_tasks/tpu/machine/uv.txt
FILE = $(or $(FILE_$f),requirements/$f.txt)

lock: ## Write requirements/*.txt and uv.txt from pyproject.toml (UPGRADE=1: use the newest versions)
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(INSTALL_uv); }
	$(foreach f,$(LOCKS),$(COMPILE) $(LOCK_$f) $(if $(UPGRADE),--upgrade) -o $(FILE) &&) true

lock-check: install ## Fail if the locks do not match pyproject.toml
	@mkdir -p build/lock && cp $(foreach f,$(LOCKS),$(FILE)) build/lock/
	@$(foreach f,$(LOCKS),$(COMPILE) $(LOCK_$f) -o build/lock/$f.txt &&) true
	@$(foreach f,$(LOCKS),diff -u $(FILE) build/lock/$f.txt || { echo "$(FILE) is stale: make lock"; exit 1; };)

SBOM_LOCKS ?= airflow train train_cpu dev
SBOM_FOLDER ?= build/sbom
SBOM_VENV ?= build/sbom-venv

$(SBOM_VENV)/.installed: requirements/sbom.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(SBOM_VENV)
	$(BIN)/uv pip install --quiet --python $(SBOM_VENV)/bin/python --require-hashes -r requirements/sbom.txt
	@touch $@

sbom: install $(SBOM_VENV)/.installed ## List the packages of the locks with their checksums, as CycloneDX: build/sbom/*.json
	@mkdir -p $(SBOM_FOLDER)
	@$(foreach f,$(SBOM_LOCKS),$(SBOM_VENV)/bin/cyclonedx-py requirements --output-reproducible $(SBOM_FLAGS) \
	  --pyproject pyproject.toml --output-file $(SBOM_FOLDER)/$f.json requirements/$f.txt &&) true

images: install ## Pin the base images of Dockerfile and docker-compose.yaml to their newest digests
	$(BIN)/python scripts/pin_images.py

lint: install ## Check Ruff's rules
	$(BIN)/ruff check .

format: install ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .

format-check: install
	$(BIN)/ruff format --check .

shellcheck: install ## Run shellcheck on every shell script
	@git grep -lIE '^#!.*[/ ](ba|da)?sh( |$$)' | xargs awk 'FNR == 1 && /^#!/ { print FILENAME } { nextfile }' \
	  | xargs $(BIN)/shellcheck

imports: install ## Check the import order of the folders, and that no imports are circular
	$(BIN)/lint-imports

types: install ## Run mypy, strict
	$(BIN)/mypy

# Two at a time: the types take a core, and the locks wait for the package server.
check: install ## Run all checks that do not run the code
	+@$(MAKE) --no-print-directory -j 2 types lock-check lint format-check imports shellcheck

test: check ## Run the checks, unit tests, DAG tests and one end-to-end run of the DAG
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

# Not the environment of the tests: the server has pins of its own.
MLFLOW := build/mlflow

$(MLFLOW)/.installed: requirements/mlflow.txt | install
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(MLFLOW)
	$(BIN)/uv pip install --quiet --python $(MLFLOW)/bin/python --require-hashes -r requirements/mlflow.txt
	@touch $@

test-slow: install $(MLFLOW)/.installed ## Run the slow tests: servers, browsers, kill tests, torch, the TPU compiler
	scripts/system_packages
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/torch.in -r requirements/tpu_compile.in
	$(BIN)/pytest -m slow --durations=20 -n 2 --dist loadfile --no-loadscope-reorder

demo: install ## Run all steps on the sample corpus, in Airflow (DETACH=1: stop at the end; PUBLISHED=1: published recipe)
	@$(BIN)/python scripts/demo.py $(if $(DETACH),--detach) $(if $(PUBLISHED),--published)

PROFILE ?= emulators
COMPOSE = QARIB_PROFILE=$(PROFILE) \
  $$(command -v docker-compose >/dev/null && echo docker-compose || echo docker compose) --profile $(PROFILE)

up: ## Start PostgreSQL, Redis, Airflow and two Celery workers in Docker (PROFILE=gcp: use the real Google Cloud)
	DOCKER_BUILDKIT=1 docker build --target full --tag qarib \
	  --build-arg QARIB_CODE_VERSION="$$(git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null)" \
	  $(if $(QARIB_PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(QARIB_PYTHON_IMAGE)) .
	$(COMPOSE) up --no-build --detach --wait --wait-timeout 900
	@echo "Airflow UI: http://localhost:$${QARIB_UI_PORT:-8080}"
	@$(COMPOSE) exec -T api-server cat /secrets/api/passwords.json; echo

down: ## Stop them and keep their data (VOLUMES=1: delete it)
	$(COMPOSE) down $(if $(VOLUMES),--volumes)

compose-test: install ## Test the deployment from the image to a trained model, with services killed on the way
	$(BIN)/python scripts/compose_test.py

rehearsal: install ## Run the startup script of a TPU machine on a bare container, with and without a way out (REHEARSAL="index")
	$(BIN)/python scripts/rehearsal.py $(REHEARSAL)

campaign: install ## Attack the code and damage what it reads; print what held (AREAS="page users"; SEEDED=1: faults of ours must be found)
	$(BIN)/python scripts/campaign/run.py $(if $(SEEDED),--seeded) $(AREAS)

bench: install ## Run the benchmarks that need only the repository
	$(BIN)/python benchmarks/convert.py
	$(BIN)/python benchmarks/vocabulary.py

docs: install ## Build the documentation in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html; with search: $(BIN)/python -m http.server --directory build/site"

screenshots: install ## Make the images of the documentation from a real run
	$(BIN)/python scripts/screenshots.py

clean: ## Remove everything that the targets above create
	@test ! -e $(VENV) || test -e $(VENV)/pyvenv.cfg || \
	  { echo "$(VENV) is not a virtual environment: choose another VENV"; exit 1; }
	rm -rf $(VENV) .demo build dist *.egg-info qarib_tasks/conversion/compiled/__pycache__ .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
