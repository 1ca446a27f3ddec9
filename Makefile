# Every target makes or refreshes .venv by itself; nothing needs to be run before.
# ARGS="..." is handed on: make run ARGS="--port 9000", make test ARGS="-k courier", make bench ARGS="--json"

.DEFAULT_GOAL := help
PY := .venv/bin/python
ARGS ?=
# pytest's status when -k leaves nothing of one half of the tests.
NOTHING_CHOSEN := 5

.PHONY: help run test lint bench format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Run all of Weir on this machine, at http://localhost:8000
	@scripts/bootstrap.sh local
	@exec .venv/bin/weir up $(ARGS)

test: ## Run every test, on a real RabbitMQ, a real MongoDB and a real browser
	@scripts/bootstrap.sh dev local
	@scripts/browser.sh
	@$(PY) -m weir.local.find
	$(PY) -m pytest tests/e2e $(ARGS) || [ $$? -eq $(NOTHING_CHOSEN) ]
	$(PY) -m pytest -n 2 --dist loadgroup tests/integration tests/unit $(ARGS) || [ $$? -eq $(NOTHING_CHOSEN) ]

lint: ## Check style, types and the direction of imports
	@scripts/bootstrap.sh dev local
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: ## Measure Weir beside its peers on this machine
	@scripts/bootstrap.sh dev local bench
	@$(PY) -m weir.local.find
	$(PY) -m bench $(ARGS)

format: ## Put every Python file into the house's format
	@scripts/bootstrap.sh dev local
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean: ## Remove the environment and the caches; the data in .weir stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -not -path './.weir/*' -prune -exec rm -rf {} +
