# Every target makes and uses the virtual environment .venv; constraints.txt holds the versions that were tested.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TOKENIZERS_PARALLELISM := false

.PHONY: help install demo test lint format bench bench-full clean

help:
	@echo "make install   the virtual environment $(VENV) with bioemb in it"
	@echo "make demo      the whole path, offline, on a generated corpus: under 5 minutes on two cores"
	@echo "make test      the tests"
	@echo "make lint      ruff's checks; make format writes the layout"
	@echo "make bench     the benchmarks in small sizes, beside the peers: under 20 minutes; bench-full takes hours"
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

# A program that fails does not stop the others. MODEL, TEXTS, XML, PMC, QUESTIONS and TASKS: an encoder's folder, a file
# of abstracts, PubMed's XML, full texts, a file of questions and answers, folders of local evaluation tasks. The recipe
# takes all of these but QUESTIONS, or else generated data.
BENCHMARKS := search attention loss extract hostile_xml merge false_negatives mine_memory curves restart time_shares \
	encode step peers_curve filter mine end_to_end quality recipe
MODEL_FLAG = $(if $(MODEL),--model $(MODEL))
MODEL_FLAGS = $(MODEL_FLAG) $(if $(TEXTS),--texts $(TEXTS))
XML_FLAGS = $(if $(XML),--input $(XML))
TASK_FLAGS = $(if $(TASKS),--tasks $(TASKS))
RECIPE_FLAGS = $(if $(and $(TEXTS),$(XML),$(PMC),$(TASKS)),--xml $(XML) --pmc $(PMC) $(TASK_FLAGS) \
	$(if $(QUESTIONS),--questions $(QUESTIONS)))
ON_MODEL := restart time_shares encode step peers_curve filter mine quality recipe
flags_of = $(if $(filter extract restart end_to_end,$(1)),$(XML_FLAGS)) $(if $(filter $(ON_MODEL),$(1)),$(MODEL_FLAGS)) \
	$(if $(filter end_to_end,$(1)),$(MODEL_FLAG)) \
	$(if $(filter quality,$(1)),$(TASK_FLAGS)) $(if $(filter recipe,$(1)),$(RECIPE_FLAGS))
run_benchmark = echo "== $(1)"; $(BIN)/python benchmarks/$(1).py $(2) $(call flags_of,$(1)) || failed="$$failed $(1)";
end_benchmarks = test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

$(VENV)/peers: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[cpu,bench]"
	touch $@

bench: TASK_FLAGS =
bench: RECIPE_FLAGS =
bench: $(VENV)/peers
	@failed=""; $(foreach name,$(BENCHMARKS),$(call run_benchmark,$(name),--quick)) $(end_benchmarks)

bench-full: $(VENV)/peers
	@failed=""; $(foreach name,$(BENCHMARKS),$(call run_benchmark,$(name),)) \
	$(call run_benchmark,step,--mixed) $(call run_benchmark,step,--own_dropout) \
	$(BIN)/python benchmarks/report.py || failed="$$failed report"; \
	$(BIN)/python benchmarks/scale.py --write > /dev/null || failed="$$failed scale"; $(end_benchmarks)

clean:
	rm -rf $(VENV) demo
