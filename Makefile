# Everything a newcomer or CI types. Needs Python 3.11 to 3.13 and make; uses uv where it is there, pip where not.
#
#   make demo ARGS=--exit      PYTHON=python3.12 make test      make test EXTRAS=sklearn,torch VENV=.venv-torch

VENV   ?= .venv
# Without xgboost and torch, which are 0.7 and several GB: their tests skip, and say why.
EXTRAS ?= sklearn,onnx,pandas,arrow,lightgbm,redis,nats,kafka,figures,grpc,images,remote,examples,cloud,postgres
ARGS   ?=
PYTEST ?= $(RUN)/python -m pytest

RUN := $(VENV)/bin
UV  := $(shell command -v uv 2>/dev/null)
# uv does not read pip's settings. A folder of wheels named there, such as one with a CPU build of torch, is passed on.
WHEELS := $(shell python3 -m pip config get global.find-links 2>/dev/null)
ifneq ($(WHEELS),)
export UV_FIND_LINKS ?= $(WHEELS)
endif

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint format bench docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

# A marker carries what was asked for, so that a change of it, of the project's file or of nothing is seen as such.
comma := ,
DEV  := $(VENV)/.installed-dev-$(subst $(comma),-,$(EXTRAS))
DOCS := $(VENV)/.installed-docs

$(RUN)/python:
	@set -e; \
	for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -n "$(UV)" ]; then uv venv --quiet --seed --python "$${found:-$(or $(PYTHON),3.13)}" "$(VENV)"; \
	elif [ -n "$$found" ]; then $$found -m venv "$(VENV)"; \
	else echo "make: needs Python 3.11, 3.12 or 3.13, and found none; name one with PYTHON=..." >&2; exit 1; fi

# What follows `install` in both tools: the package as it lies here, and a group of pyproject.toml.
ifneq ($(UV),)
# Unlike pip, uv leaves it to each process to compile what it imports.
INSTALL := uv pip install --quiet --compile-bytecode --python "$(RUN)/python"
else
# Groups of pyproject.toml are read from this version on; an environment that was made by hand may have an older one.
INSTALL := "$(RUN)/python" -m pip install --quiet "pip>=25.1" && "$(RUN)/python" -m pip install --quiet
endif

$(DEV): pyproject.toml | $(RUN)/python
	$(INSTALL) --editable ".[$(EXTRAS)]" --group dev
	@touch "$@"

$(DOCS): pyproject.toml | $(RUN)/python
	$(INSTALL) --group docs
	@touch "$@"

install: $(DEV)  ## make .venv, with everything that tests and examples need

demo: $(DEV)  ## the flights example from end to end (ARGS=--exit stops when it has shown everything)
	$(RUN)/python examples/flights/prepare.py
	$(RUN)/python examples/flights/demo.py $(ARGS)

test: $(DEV)  ## all tests but the slow ones, docstrings and docs included
	$(PYTEST) -n auto --dist loadfile $(ARGS)

test-slow: $(DEV)  ## the slow ones
	$(PYTEST) -m slow $(ARGS)

lint: $(DEV)  ## style, form and types, in every file
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: $(DEV)  ## put files into the form that lint asks for
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

bench: $(DEV)  ## measure us beside peers, into docs/benchmarks.md (ARGS="--only pipeline")
	$(RUN)/python -m benchmarks.run $(ARGS)

docs: $(DOCS)  ## the site, into site/
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict --quiet
	@echo "site/index.html"

clean:  ## remove what these targets made, the environment included
	rm -rf "$(VENV)" .bench site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
