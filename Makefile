# Everything lives in .venv, which each target makes by itself. `make` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo dev test faults soak check bench format lock clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(INSTALLED) ## Start everything, send three campaigns, reconcile them, stop
	@$(BIN)/python -m fanfare.dev demo

dev: $(INSTALLED) ## Run everything until Ctrl-C, with its data kept in .fanfare/
	@$(BIN)/python -m fanfare.dev dev

test: $(INSTALLED) ## Run the tests but those of `make faults`, on real PostgreSQL and Temporal
	@$(BIN)/python -m pytest --ignore=tests/faults

faults: $(INSTALLED) ## Run the tests that break things on the whole stack, of tests/faults
	@$(BIN)/python -m pytest tests/faults

soak: $(INSTALLED) ## Send campaigns under random kills: KILLS=30 SEED=7 TOKENS=20000
	@$(BIN)/python -m tests.faults.soak $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(TOKENS),--tokens $(TOKENS))

check: $(INSTALLED) ## Format, lint, types, and who may import whom
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(INSTALLED) ## Measure transport, campaigns, workers, API, and segments of a million
	@$(BIN)/python -m bench

format: $(INSTALLED) ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## Pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --upgrade pyproject.toml -o requirements/runtime.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --upgrade --all-extras pyproject.toml -o requirements/dev.lock

clean: ## Remove .venv, and .fanfare with all data of `make dev`
	rm -rf .venv .fanfare

$(INSTALLED): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Fanfare needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing into .venv (once, about a minute) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
