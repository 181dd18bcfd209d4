# `make demo` and `make test` work alone on a fresh clone: they set up .venv by themselves.
# Windows users: the same commands without make are in CONTRIBUTING.md.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.everhart-ready

.PHONY: help setup demo test test-slow lint bench docs clean

help:
	@echo "make setup      .venv with everhart and everything to develop it"
	@echo "make demo       restore a noisy SEM image and show it beside its truth"
	@echo "make test       all quick tests"
	@echo "make test-slow  the slow tests"
	@echo "make lint       ruff and mypy"
	@echo "make bench      quality, time and memory, beside other programs: tables in docs/results"
	@echo "make docs       the documentation, in site/"

setup: $(STAMP)

# uv installs six times quicker than pip; it does not read pip's find-links by itself.
# Where uv cannot be had, pip does the same.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@if $(BIN)/python -m pip install --quiet uv && UV_FIND_LINKS="$$PIP_FIND_LINKS" \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[dev]"; then :; \
	else $(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"; fi
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/everhart demo -o everhart-demo --overwrite

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python scripts/bench_methods.py -o docs/results/deployment-tables.md \
	    --picture docs/results/deployment.png
	OMP_NUM_THREADS=1 $(BIN)/python scripts/bench_speed.py -o docs/results/speed-tables.md
	OMP_NUM_THREADS=1 $(BIN)/python scripts/bench_peers.py --peers .bench-peers \
	    -o docs/results/peers-tables.md --picture docs/results/speed.png
	OMP_NUM_THREADS=1 $(BIN)/python scripts/bench_training.py --peers .bench-peers \
	    -o docs/results/training-tables.md

docs: $(STAMP)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv site everhart-demo
