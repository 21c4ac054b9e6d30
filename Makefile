# make help   lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
# COV=0 runs pytest without measuring coverage.
COV ?= 1
# PYTEST_ARGS="-k framing -x" and the like are handed to pytest.
PYTEST_ARGS ?=
# What `make bench` is told, e.g. --only floor,many or --soak 600.
BENCH_ARGS ?=
# LOCK_ARGS=--upgrade makes `make lock` take the newest versions.
LOCK_ARGS ?=
comma := ,
empty :=
space := $(empty) $(empty)
# The modules whose every line must be covered: the pure floors, and the configuration.
PURE ?= $(subst $(space),$(comma),$(addprefix balancer/,affinity.py asked.py batch.py checkup.py clues.py config.py configfile.py \
	conversation.py counts.py crew.py decisions.py delivery.py elements.py errors.py framing.py health.py histogram.py hold.py \
	inflight.py ledger.py looking.py moves.py orders.py pool.py records.py retries.py router.py stanza.py strategy.py stream.py \
	upward.py words.py))

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet
LOCK_VENV := $(VENV)-lock
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(LOCK_VENV)/bin/pip-compile --quiet \
	--generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras

.PHONY: help demo test bench pictures lint types pytest format lock clean install install-dev servers

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' \
		| while IFS='|' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

demo: install ## start a balancer with backends and traffic, and watch it work
	@$(BIN)/xmpp-balancer demo

test: install-dev servers ## lint, types and all tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory pytest

install: $(VENV)/.stamp-run ## the environment, with what the balancer needs

install-dev: $(VENV)/.stamp-dev ## the environment, with the tools for tests too

servers: ## install the XMPP servers the tests use, if they are missing
	@tests/install-servers.sh

bench: install-dev servers ## measure what the balancer costs; BENCH_ARGS="--only floor --soak 600"
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

pictures: install-dev servers ## make README's pictures of the page and of `top` anew
	@PICTURES=1 $(BIN)/python -m pytest -q -k picture tests/plays

lint: install-dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: install-dev ## mypy
	@$(BIN)/mypy balancer backends tests

pytest: install-dev ## the tests alone
ifeq ($(COV),0)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)
else
	@$(BIN)/python -m pytest --cov --cov-report= $(PYTEST_ARGS)
	@$(BIN)/python -m coverage report --fail-under=100 --include='$(PURE)'
endif
	@if [ -s .not-tested ]; then printf '\n!!! NOT TESTED on this machine:\n'; cat .not-tested; fi

format: install-dev ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## regenerate requirements/*.txt from pyproject.toml
	@test -x $(LOCK_VENV)/bin/pip-compile || { $(PYTHON) -m venv $(LOCK_VENV) \
		&& $(LOCK_VENV)/bin/python -m pip --disable-pip-version-check install --quiet pip-tools; }
	@$(PIP_COMPILE) $(LOCK_ARGS) --output-file requirements/run.txt pyproject.toml
	@$(PIP_COMPILE) $(LOCK_ARGS) --extra dev --output-file requirements/dev.txt pyproject.toml

clean: ## remove the environment, caches and build results
	rm -rf $(VENV) $(LOCK_VENV) build dist *.egg-info .coverage htmlcov \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
	find balancer backends tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp-venv:
	@command -v $(PYTHON) >/dev/null \
		|| { echo "error: $(PYTHON) is not found; name another with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: Python 3.11 or newer is needed, and $(PYTHON) is" \
			"$$($(PYTHON) -V 2>&1); name another with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "error: $(PYTHON) cannot make virtual environments (no ensurepip);" \
			"on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.stamp-run: requirements/run.txt pyproject.toml | $(VENV)/.stamp-venv
	@echo "installing what the balancer needs"
	@$(PIP_INSTALL) --require-hashes -r requirements/run.txt
	@$(PIP_INSTALL) --no-deps -e .
	@touch $@

$(VENV)/.stamp-dev: requirements/dev.txt $(VENV)/.stamp-run
	@echo "installing the tools for tests"
	@$(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@
