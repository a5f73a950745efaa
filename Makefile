# make demo: set up everything and run a container from a real image.   make test: all tests this machine allows.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help build demo test test-unit test-root check format bench clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

$(VENV)/.ready: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/pip install --quiet --no-build-isolation -e '.[dev,cri]'
	touch $@

## build      compile native/ into the package (what is older than its sources)
build: $(VENV)/.ready
	@$(BIN)/python native/build.py src/trimaran

## test-unit  the tests that need no root
test-unit: build
	$(BIN)/pytest -q -m 'not root and not lab and not bench' tests

## check      style, types, layers, C warnings and analysis
check: build
	$(BIN)/ruff check src tests bench native setup.py
	$(BIN)/ruff format --check src tests bench native setup.py
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python native/build.py src/trimaran --analyze

format: build
	$(BIN)/ruff format src tests bench native setup.py
	$(BIN)/ruff check --fix src tests bench native setup.py

clean:
	rm -rf build dist src/*.egg-info src/trimaran/_bin src/trimaran/linux/*.so
