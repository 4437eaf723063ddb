# The commands of this project; `make help` lists them. Paths are relative, so the folder's name may hold spaces.

BIN := .venv/bin
TESTS ?= tests
WORKERS ?= auto
ARGS ?=
BENCH ?= spine
SEED ?= 1

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help install clients demo dev test bench chaos check format lock clean

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
	$(BIN)/pytest -n $(WORKERS) --maxprocesses=4 --dist=loadscope $(TESTS)

bench: install ## Measure speed and memory (BENCH=spine, runs_list, cancels, readers)
	$(BIN)/python -m tests.bench.$(BENCH) $(ARGS)

chaos: install ## A thousand runs under all faults, and every promise checked (SEED=1 repeats a plan)
	@mkdir -p build
	@$(BIN)/runyard drill --runs 1000 --duration 400 --seed $(SEED) --report build/chaos.json $(ARGS)

check: install ## Format, lint, types, import contracts, migrations, wheel, deploy files, README
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy scripts
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_migrations.py
	scripts/check_wheel
	$(BIN)/pytest -q tests/unit/test_repository.py tests/unit/test_readme.py tests/unit/test_deploy.py

format: install ## Format the code and render the generated parts of README.md and deploy/env.example
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python scripts/render.py

lock: install ## Compile the locks from pyproject.toml, taking newer versions only where it demands them
	@scripts/lock $(ARGS)

clean: ## Delete caches and build results; .venv and .runyard stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
