# All work on this project goes through these targets; `make help` prints them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
T ?= tests
B ?=
M ?=
m ?=
# Left to pip's own settings: which index, which proxy, which certificates.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-config --quiet --python-version 3.11 --no-header --no-annotate

# The tests of the dashboard need a browser; without one they fail and say how to get it.
BROWSER := if [ -z "$$BETA_REGISTRY_TEST_BROWSER" ] && ! command -v chromium > /dev/null; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	echo "Installing Chromium for the tests"; \
	apt-get install -y --no-install-recommends chromium > /dev/null || \
	{ apt-get update > /dev/null && apt-get install -y --no-install-recommends chromium > /dev/null; }; \
	else echo "The browser tests need Chromium: install it (Debian: apt-get install chromium), or set" \
	"BETA_REGISTRY_TEST_BROWSER to the path of a Chromium or Chrome."; fi; fi

.DEFAULT_GOAL := help
.PHONY: help install run test check bench mutants screenshots migration format lock wheel clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.run ## Install the service and the command ./beta-registry into .venv

run: $(VENV)/.run ## Start the service with its scheduler on http://127.0.0.1:8000
	@echo 'The command line is ./beta-registry here; in another terminal, from any folder:'
	@echo '  export PATH="$(CURDIR):$$PATH"; beta-registry --help'
	@$(BIN)/beta-registry serve

test: $(VENV)/.dev ## Run every test, or with T=path those of one file
	$(BIN)/pytest -n 2 --dist worksteal $(T)

check: $(VENV)/.dev ## Format, lint, types, import contracts, tests (T=path for one test)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/build_catalog.py --check
	$(BIN)/pytest -n 2 --dist worksteal $(T)

bench: $(VENV)/.dev ## Measure the product's figures and print them as tables (B=name for one)
	$(BIN)/python -m bench $(B)

mutants: $(VENV)/.dev ## Change the rules one by one and list what no fast test notices (minutes; M=pattern for some)
	$(BIN)/mutmut run $(M)
	@$(BIN)/mutmut results

screenshots: $(VENV)/.dev ## Draw every page of the dashboard with demo data into docs/screenshots
	$(BIN)/python scripts/screenshots.py

migration: $(VENV)/.dev ## Write a migration from the models: make migration m="add a table"
	@test -n "$(m)" || { echo 'Say what it does: make migration m="add a table"'; exit 1; }
	@rm -f $(VENV)/migration.db
	@$(BIN)/beta-registry db upgrade --database-url sqlite:///$(VENV)/migration.db
	@$(BIN)/alembic -x url=sqlite:///$(VENV)/migration.db revision --autogenerate -m "$(m)"

format: $(VENV)/.dev ## Format and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/.dev ## Resolve the dependencies anew into the two lock files
	printf "hatchling\neditables\n" | $(LOCK) --upgrade - -o requirements-build.lock
	$(LOCK) --upgrade pyproject.toml --extra server -o requirements.lock
	$(LOCK) pyproject.toml --extra server --extra dev -c requirements.lock -c requirements-build.lock -o requirements-dev.lock

wheel: $(VENV)/.run ## Build the wheel into dist/
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation -w dist .

clean: ## Remove the virtual environment and everything that was built
	rm -rf $(VENV) dist build mutants .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The stamps say which lock file an environment was made from; a newer lock file installs again.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing from requirements.lock"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --require-hashes -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "Installing from requirements-dev.lock"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(BROWSER)
	@touch $@
