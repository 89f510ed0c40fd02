# Every target makes and uses the virtual environment .venv; constraints.txt holds the versions that were tested.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TOKENIZERS_PARALLELISM := false

.PHONY: help install demo test lint format clean

help:
	@echo "make install   the virtual environment $(VENV) with bioemb in it"
	@echo "make demo      the whole path, offline, on a generated corpus: under 5 minutes on two cores"
	@echo "make test      the tests"
	@echo "make lint      ruff's checks; make format writes the layout"
	@echo "make clean     remove $(VENV) and the demonstration"

install: $(VENV)/installed

# torch first and by itself, so that no other package chooses its build
$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[cpu,dev]"
	touch $@

demo: install
	$(BIN)/bioemb demo --output_dir demo --overwrite

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo
