# Everything is done in a virtual environment of the project's own, from exact versions.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test check format bench soak lock clean

demo: $(VENV)/ready
	@$(BIN)/cdc-assets demo $(ARGS)

test: check
	$(BIN)/pytest -n 2 --dist loadfile

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/ready
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

# Random histories, each mirrored while it happens:  make soak SEEDS=200 SECONDS=600
# And under faults, kill -9 among them:              make soak FAULTS=1 SECONDS=3600
# Of a deployment of Dagster:                        make soak FAULTS=dagster SECONDS=3600
soak: $(VENV)/ready
	$(BIN)/python -m cdc_assets.testing.soak $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
	    $(if $(FAULTS),--faults) $(if $(filter dagster,$(FAULTS)),--dagster) $(ARGS)

# The newest versions that pyproject.toml allows.
lock: $(VENV)/ready
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --no-annotate --extra demo --group dev pyproject.toml -o requirements.lock

$(VENV)/ready: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "ERROR:  $(PYTHON) is not there"; \
	    echo "HINT:  install Python 3.11, or name another:  make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "installing what requirements.lock says into $(VENV); once, about a minute"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
