# make demo: set up everything and run a container from a real image.   make test: all tests this machine allows.
PYTHON ?=
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
SOURCES := src tests bench lab native setup.py scripts/test scripts/demo
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help build wheel demo test test-unit test-root check format bench lab lab-test clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

$(VENV)/.ready: pyproject.toml setup.py scripts/venv
	@PYTHON='$(PYTHON)' scripts/venv $(VENV)
	@touch $@

## build      make the virtual environment; compile native/ into the package (what is older than its sources)
build: $(VENV)/.ready
	@$(BIN)/python native/build.py src/trimaran

## wheel      a wheel in dist/, with the programs in it
wheel: build
	@rm -rf build dist
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps -w dist .

## demo       install everything, make a Debian image, serve it, pull it, run a container from it
demo: build
	@scripts/packages
	@$(BIN)/python scripts/demo

## test       all tests that this machine allows, and what was left out (root: installs .ci/packages)
test: build
	@scripts/packages
	@$(BIN)/python scripts/test $(if $(ARGS),-- $(ARGS))

## test-unit  the tests that need no root
test-unit: build
	$(BIN)/pytest -q -m 'not root and not lab and not bench' $(or $(ARGS),tests)

## test-root  the tests that need root
test-root: build
	$(BIN)/pytest -q -m 'root and not lab and not bench' $(or $(ARGS),tests)

## check      style, types, layers, C warnings and analysis
check: build
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python native/build.py src/trimaran --analyze

## format     put the sources into the project's style
format: build
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

## bench      measure Trimaran and its peers in one run (ARGS: names of jobs, options; see bench/README.md)
bench: build
	@$(BIN)/python -m bench $(ARGS)

## lab        build the lab machine's image from Debian packages (cached in .cache/lab)
lab: build
	@$(BIN)/python -m lab build $(ARGS)

## lab-test   run the tests marked lab in the lab machine (ARGS: for pytest)
lab-test: build
	@$(BIN)/python -m lab test $(ARGS)

## clean      remove what building made
clean:
	rm -rf build dist src/*.egg-info src/trimaran/_bin src/trimaran/linux/*.so
