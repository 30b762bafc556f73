# Two commands are enough on a fresh clone: `make run` and `make test`. Each sets up all that it needs in .venv.

PYTHON ?= python3.11
YEAR ?= 2018
OUT ?= out
BIN := .venv/bin

.PHONY: run test test-processors test-slow lint notebooks bench-scale clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

run: .venv/ready
	$(BIN)/python -m flows --year $(YEAR) --out $(OUT)

test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' --numprocesses 2 --dist loadfile

# The tests in which torch computes, as on a processor without AVX, which sums in another order. Promises of equal bits
# must hold there, too.
TORCH_TESTS := $(addprefix tests/,model pipeline/stages pipeline/comparison pipeline/reports)

test-processors: .venv/ready
	ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
		OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' --numprocesses 2 --dist loadfile $(TORCH_TESTS)

test-slow: .venv/ready
	$(BIN)/python -m pytest -m slow

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: .venv/ready
	mkdir -p $(OUT)/notebooks
	cd notebooks && for name in *.ipynb; do \
		SITSCUBE_OUT=$(abspath $(OUT)) ../$(BIN)/jupyter-execute $$name --output=$(abspath $(OUT))/notebooks/$$name || exit 1; \
	done

bench-scale: .venv/ready
	$(BIN)/python -m benchmarks.scale $(BENCH)

clean:
	rm -rf .venv
