# Every target works from a fresh clone and needs no activated environment.

PYTHON ?= $(shell scripts/find_python.sh)
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test serve train bench lint fmt licences sbom clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(STAMPS)/serve ## inpaint the sample pictures on a real Triton: look at out/demo/
	$(BIN)/python -m clients.demo

serve: $(STAMPS)/serve ## serve on this machine until Ctrl-C
	$(BIN)/atelier serve

# Which tests stay in one process: tests/conftest.py. Two processes fill two cores and 16 GB of memory.
test: $(STAMPS)/dev ## run every test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

train: $(STAMPS)/dev ## train the bundled LaMa again, or go on where that was stopped: out/training/
	$(BIN)/python -m training

bench: $(STAMPS)/dev ## run the benchmarks that run on this machine, about an hour: perf/results/
	$(BIN)/python -m perf all

lint: $(STAMPS)/dev ## formatter, linter, types, the model repositories, in check mode
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/atelier lint

fmt: $(STAMPS)/dev ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

licences: $(STAMPS)/dev ## list the licences of all packages, and fail at one that pyproject.toml does not allow
	$(BIN)/pip-licenses

# Of what an image holds: the same packages as in deploy/Dockerfile, in an environment without any other.
EXTRAS ?= serve
sbom: $(STAMPS)/venv ## list the packages of the production image as CycloneDX: out/sbom/ (EXTRAS=generation: another image)
	@mkdir -p out/sbom
	$(PYTHON) -m venv out/sbom/tool
	out/sbom/tool/bin/python -m pip --disable-pip-version-check --quiet install '.[sbom]'
	rm -rf out/sbom/environment && $(PYTHON) -m venv --without-pip out/sbom/environment
	$(BIN)/python -m pip --disable-pip-version-check --quiet --python out/sbom/environment/bin/python install '.[$(EXTRAS)]'
	out/sbom/tool/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file out/sbom/$(EXTRAS).json out/sbom/environment/bin/python

clean: ## remove what the other targets made, the embedded server included
	rm -rf $(VENV) .tools out

# The environment, in two steps: what serves (no PyTorch), and what tests, exports and measures.
$(STAMPS)/venv:
	@test -n "$(PYTHON)"
	scripts/system_packages.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/serve: $(STAMPS)/venv pyproject.toml
	@echo "Setting up the server's environment …"
	$(PIP) install --editable '.[serve]'
	$(BIN)/python -m atelier.serving.embedded
	@touch $@

$(STAMPS)/dev: $(STAMPS)/serve pyproject.toml export/tensorrt-rtx.txt training/fonts.txt tests/packages.txt
	@echo "Setting up what tests, exports and training need (PyTorch among it) …"
	scripts/system_packages.sh $(BIN)/python training/fonts.txt tests/packages.txt
	$(PIP) install --editable '.[dev]'
	$(BIN)/python -m export setup-tensorrt-rtx
	$(BIN)/python -m tests.deploy.kubectl
	@command -v chromium >/dev/null || $(BIN)/python -m playwright install --with-deps chromium
	@touch $@
