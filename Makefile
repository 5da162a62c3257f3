# Everything there is to do here. Needs Python 3.11 or later and make; the rest comes into .venv.
PYTHON ?= python3
# What the project is held to from outside, where it is at hand.
SHARED ?= ../shared
# Where `make proto` writes; a test has it write elsewhere and compares.
STUBS ?= proto

BIN := .venv/bin
READY := .venv/.ready
ORACLE := .venv/.oracle
PROTOS := $(wildcard proto/gradwire_proto/v1/*.proto)

.PHONY: help venv demo test conformance bench-ops lint proto docs stubs clean

help:
	@echo "make demo         train a digit classifier through an embedded server"
	@echo "make test         run the tests"
	@echo "make conformance  compare with PyTorch itself (installs it), where $(SHARED) is"
	@echo "make bench-ops    time each op's kernel and derivative beside PyTorch's (installs it)"
	@echo "make lint         ruff and mypy"
	@echo "make proto        make the gRPC stubs from the .proto files"
	@echo "make docs         write the op reference to build/docs"
	@echo "make stubs        write the SDK's .pyi files for editors"
	@echo "make venv, clean"

venv: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

# PyTorch is the oracle of the conformance scripts alone: no test imports it.
$(ORACLE): $(READY)
	$(BIN)/pip install --quiet --editable '.[conformance]'
	touch $@

demo: $(READY)
	$(BIN)/gradwire demo

test: $(READY)
	$(BIN)/pytest --quiet --numprocesses auto --dist worksteal

ifneq ($(wildcard $(SHARED)/conformance/tour.py),)
conformance: $(ORACLE)
	$(BIN)/python $(SHARED)/bench/side_by_side.py --rounds 1
	$(BIN)/python $(SHARED)/bench/wire.py --rounds 1
	$(BIN)/python $(SHARED)/conformance/opdb.py --need 0.99,0.99,0.99
	$(BIN)/python $(SHARED)/conformance/opdb.py --compiled --need 0.97,0.97,0
	$(BIN)/python $(SHARED)/conformance/tour.py
	$(BIN)/python tests/conformance/error_inputs.py --need 0.95
else
conformance:
	@echo "conformance: there is no $(SHARED)/conformance here, so nothing was compared"
endif

bench-ops: $(ORACLE)
	$(BIN)/python bench/op_families.py

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/mypy

proto: $(READY)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=$(STUBS) \
	    --grpc_python_out=$(STUBS) --mypy_out=quiet:$(STUBS) --mypy_grpc_out=quiet:$(STUBS) $(PROTOS)

docs: $(READY)
	mkdir -p build/docs
	$(BIN)/python -m gradwire_proto.reference > build/docs/ops.md

stubs: $(READY)
	$(BIN)/python -m gradwire.stubgen

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis loss.svg
