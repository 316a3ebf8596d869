# Three commands, each of which sets up what it needs. TORCH chooses the torch build; the default is the pinned release.
# Another build: make demo TORCH="torch==2.13.0 --index-url URL-OF-A-WHEEL-INDEX"
PYTHON ?= python3
TORCH ?= torch==2.13.0
EXTRA ?= cpu

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-airgap test-clients check clean

demo: $(READY)
	$(BIN)/animate-server demo --output-dir demo

test: $(READY)
	$(BIN)/pytest -n 2 --dist worksteal

test-airgap: $(READY)
	$(BIN)/pytest -m airgap tests/repo/test_airgap.py

test-clients: $(READY)
	cd tests/clients && npm ci --silent --no-audit --no-fund --ignore-scripts
	$(BIN)/pytest tests/clients tests/server/test_segmind.py tests/server/test_openai.py tests/server/test_runway.py

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRA),dev]"
	touch $@
