# Short names for the commands that CONTRIBUTING.md explains.
PYTHON := .venv/bin/python

.PHONY: help quickstart test test-all lint format site

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /: /'

quickstart:  ## set up, then track the built-in sequences
	bash scripts/quickstart.sh

test:  ## set up, then lint, types and the quick tests
	bash scripts/test.sh

test-all:  ## the same with the slow tests
	bash scripts/test.sh --all

lint:  ## lint, format and types, in the environment that `make test` made
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format:  ## rewrite the files as the linter wants them
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

site:  ## build the documentation, into build/website/site
	$(PYTHON) website/build.py
