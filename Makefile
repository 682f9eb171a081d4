# Needs Python 3.11+, git and make. Everything else is installed into .venv, at the versions of constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
# DVC runs `python -m stages.<name>`: this environment's python.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Two files of tests at a time.
PYTEST := python -m pytest -n 2 --dist loadfile

.PHONY: repro test test-faults lint docs clean

repro: .venv/installed  ## run the whole pipeline and print the results
	dvc repro
	dclip show

test: .venv/installed  ## run all tests
	$(PYTEST)

test-faults: .venv/installed  ## kill stages, damage files, fill a disk, share between clones
	$(PYTEST) -m faults

lint: .venv/installed  ## formatting, lint, types and spelling
	ruff format --check .
	ruff check .
	mypy
	codespell

docs: .venv/installed  ## refresh help texts in the pages, check links, build the site in build/site
	python -m docs.generator

clean:  ## remove the environment; data/ and .dclip/ stay
	rm -rf .venv

# uv installs the same wheels as pip, several times faster.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or later is needed, this is {sys.version}"'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	touch $@
