# The commands of this project; `make help` lists them. Paths are relative, so the folder's name may hold spaces.

BIN := .venv/bin
TESTS ?= tests
WORKERS ?= auto
ARGS ?=
SEED ?= 1

export PYTHON
# The tests start some hundred processes, each of which would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install clients demo dev test bench chaos drill check docs format lock clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: ## Make .venv with everything the project needs (PYTHON=… chooses the interpreter)
	@scripts/install

clients: install ## Put the clients that the conformance tests drive into .venv
	@scripts/install-clients

demo: install ## Start everything, execute one run, show its events, stop everything
	@$(BIN)/runyard demo $(ARGS)

dev: install ## Start everything and keep it running (ARGS="--port 8000"); Ctrl-C stops it
	@$(BIN)/runyard dev $(ARGS)

test: clients ## Run the tests (TESTS=tests/unit chooses, WORKERS=2 sets how many at once)
	@scripts/test $(WORKERS) $(TESTS)

bench: install ## Measure speed and memory (BENCH=peers, runs_list, operation, cancels, readers, metrics: more)
	$(BIN)/python -m bench$(if $(BENCH),.$(BENCH)) $(ARGS)

chaos: clients ## Run the tests that take long, or a system of their own: drills, deploys, the hostile hour
	$(BIN)/pytest -n 3 -m full_length $(TESTS)

drill: install ## A thousand runs under all faults, and every promise checked (SEED=1 repeats a plan)
	@mkdir -p build
	@$(BIN)/runyard drill --runs 1000 --duration 400 --seed $(SEED) --report build/chaos.json $(ARGS)

check: install docs ## Format, lint, types, import contracts, migrations, wheel, deploy files, manual
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy scripts
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_migrations.py
	scripts/check_wheel
	$(BIN)/pytest -q -n auto tests/repository

docs: install ## Build the manual into build/site; a dead link or a missing anchor fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: install ## Format the code and render the generated parts of the manual and deploy/env.example
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python scripts/render.py

lock: install ## Compile the locks from pyproject.toml, taking newer versions only where it demands them
	@scripts/lock $(ARGS)

clean: ## Delete caches and build results; .venv and .runyard stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
