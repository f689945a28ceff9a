# `make repro` sets up and runs the whole pipeline, `make test` sets up and tests it. A bare machine with
# Python 3.11 or 3.12, git and make is enough.

PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3))
LOCK ?= requirements.lock
PORT ?= 4200
BIN := .venv/bin
INSTALLED := .venv/installed-$(LOCK)

# Stages start with `python`: the environment's own. It is compiled at installation, or each stage and each test
# process would do that again, for seconds, where Python may not write (PYTHONDONTWRITEBYTECODE, as in containers).
# DeepSpeed (LOCK=requirements-gpu.lock) compiles nothing at installation.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DS_BUILD_OPS = 0

.PHONY: repro test ui install profile plan deps lock

repro: install  ## run what changed, then show the results
	$(BIN)/dvc repro
	@echo && cat reports/results.md && echo && echo "Report: $(CURDIR)/reports/index.html"

test: install  ## all tests, the fast ones first; `make test T="-m 'not slow'"` for these alone
	$(BIN)/ruff check .
	$(BIN)/pytest $(T)

ui: install  ## Prefect's UI (it prints link and password) and the scheduled runs: `make ui PORT=4300 UI="--cron '0 3 * * *' --push"`
	@$(BIN)/python -m flows.ui --port $(PORT) $(UI)

profile: install  ## switch the parameters: `make profile P=smoke`
	@$(BIN)/python -m openo3.cli profile $(P)

plan: install  ## what `download` would fetch from where: files, bytes and disk
	@HF_HUB_OFFLINE=0 $(BIN)/python -m stages.download --plan

install: $(INSTALLED)

$(INSTALLED): $(LOCK) pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes --compile-bytecode -r $(LOCK)
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

deps: install  ## write each stage's import closure into dvc.yaml
	$(BIN)/python tools/code_deps.py --write

# One set of versions for both: the GPU lock is compiled first, the everyday lock within it. Neither names a
# registry.
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header

lock: install
	$(COMPILE) --all-extras -o requirements-gpu.lock
	$(COMPILE) --extra test -c requirements-gpu.lock -o requirements.lock
