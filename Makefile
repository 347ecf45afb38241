# The verbs of this project. `make run` and `make test` need nothing but Python 3.11 or newer and bash.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run test check bench chaos clean

PYTHON := .venv/bin/python
ARGS ?=
ONCE ?=

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup:  ## make .venv with all that run and test need
	@scripts/setup test

run:  ## set up, then the whole main job on this machine; ONCE=1: check each step, stop everything, exit
	@scripts/setup run
	@$(PYTHON) -m examples.demo $(if $(ONCE),--once) $(ARGS)

test:  ## install what the tests need, then run all of them; ARGS="tests/tsp -x" for some
	@scripts/setup test
	@scripts/servers
	@scripts/test $(ARGS)

check:  ## formatting, lint, types, import rules, migrations, lock files
	@scripts/setup test
	@scripts/check

bench:  ## measure; prints ratios
	@scripts/setup test
	@$(PYTHON) -m bench $(ARGS)

chaos:  ## ten minutes of faults on three proxies, and a page on what held; ARGS="--minutes 1 --seed 7"
	@scripts/setup test
	@scripts/servers
	@$(PYTHON) -m tests.chaos $(ARGS)

clean:  ## remove what the other verbs made
	@rm -rf .venv node_modules static/vendor staticfiles var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
