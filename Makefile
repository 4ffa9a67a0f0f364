# Each of quickstart and test is enough on a fresh machine with Python >= 3.11 and git.
PYTHON ?= python3
VENV ?= .venv
BENCHMARKS := averaging distillation_loss merge pruning_step qat reload
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: quickstart test slow style check bench clean

quickstart: $(VENV)/.installed
	$(BIN)/hf-compress run recipes/quickstart.yaml --resume

# One process per core: the tests pin torch to one thread, so they would leave the other cores idle.
# Modules are compiled once for all of them, whatever the environment says of writing that down.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

style: $(VENV)/.installed-dev
	$(BIN)/python scripts/public_names.py
	$(BIN)/python scripts/kinds_table.py
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	for name in $(BENCHMARKS); do $(BIN)/python scripts/bench/$$name.py || exit 1; done

# torch first and pinned: everything else accepts the version that is there, and a bare `torch` would fetch CUDA builds.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("hf_compress needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	$(PIP) install "$$(grep '^torch==' constraints.txt)"
	$(PIP) install --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache
