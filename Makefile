# `make repro` sets up and runs the whole pipeline, `make test` sets up and tests it. A bare machine with
# Python 3.11 or 3.12, git and make is enough.

PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3))
LOCK ?= requirements.lock
PORT ?= 4200
JOBS ?= 2
BIN := .venv/bin
DOCS := .venv/docs
LMMS := .venv/lmms
QUICK := tests/contracts tests/openo3/core openo3/core tests/openo3/annotations tests/openo3/files tests/openo3/report \
	tests/openo3/benchmarks tests/openo3/validation tests/stages/test_params.py tests/tools
INSTALLED := .venv/installed-$(LOCK)

# Stages start with `python`, which must be the environment's own. Its packages are byte-compiled at installation:
# where Python may not write (PYTHONDONTWRITEBYTECODE, as in containers), every process would otherwise spend
# seconds on that. DeepSpeed (LOCK=requirements-gpu.lock) compiles no kernels at installation.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DS_BUILD_OPS = 0

.PHONY: repro test quick lint ui install profile plan docs lmms deps lock

repro: install  ## run what changed, then show the results
	$(BIN)/python -m stages.check
	$(BIN)/dvc repro
	@echo && cat reports/results.md && echo && echo "Report: $(CURDIR)/reports/index.html"

test: lint  ## all tests in two processes, the fast ones first; `make test T="-m 'not slow'"` for these alone
	$(BIN)/pytest -n $(JOBS) $(T)

quick: lint  ## the tests to run while working, in under two minutes: formats, rewards, scores, report, documents
	$(BIN)/pytest -n $(JOBS) -m "not slow" $(QUICK) $(T)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --project pyproject.toml

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

docs: $(DOCS)/installed  ## the documentation as a website in site/
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet
	@echo "Documentation: $(CURDIR)/site/index.html"

$(DOCS)/installed: requirements-docs.lock
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet uv
	$(DOCS)/bin/uv pip install --python $(DOCS)/bin/python --require-hashes -r $<
	touch $@

lmms: $(LMMS)/installed  ## lmms-eval in an environment that shares the packages of .venv, for integrations/lmms_eval

$(LMMS)/installed: requirements-lmms.lock $(INSTALLED)
	test -x $(LMMS)/bin/python || $(BIN)/python -m venv --without-pip $(LMMS)
	$(BIN)/uv pip install --python $(LMMS)/bin/python --require-hashes --no-deps -r $<
	$(BIN)/python -c "import site; print('import site; site.addsitedir(' + repr(site.getsitepackages()[0]) + ')')" \
		> $$($(LMMS)/bin/python -c "import site; print(site.getsitepackages()[0])")/openo3.pth
	touch $@

deps: install  ## write each stage's import closure into dvc.yaml
	$(BIN)/python tools/code_deps.py --write

# One set of versions for the first two: the GPU lock is compiled first, the everyday lock within it. The
# documentation has a lock and an environment of its own. None of the locks names a registry.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

lock: install  ## resolve the lock files anew after a changed dependency
	$(COMPILE) pyproject.toml --all-extras -o requirements-gpu.lock
	$(COMPILE) pyproject.toml --extra test -c requirements-gpu.lock -o requirements.lock
	$(COMPILE) --group docs -o requirements-docs.lock
	$(COMPILE) --group lmms --no-deps -o requirements-lmms.lock
