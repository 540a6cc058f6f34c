# `make demo` and `make test` work on a fresh machine: they build the one .venv first.
PYTHON ?= python3
PY := .venv/bin/python
STAMP := .venv/installed

.PHONY: demo study test lint docs bench faults lock sbom
.DEFAULT_GOAL := test

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "facecrafter needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	         "Name another: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@# `python -m experiments.study` from any folder; what is installed elsewhere is facecrafter alone.
	@$(PY) -c 'from pathlib import Path; from sysconfig import get_path; \
	  Path(get_path("purelib"), "checkout.pth").write_text(f"{Path.cwd()}\n")'
	@touch $@

# Its stages are known, so they are not tried first.
demo: $(STAMP)
	$(PY) -m experiments.study --config experiments/configs/demo.yaml --no-preflight

# The same with larger networks: 15 minutes where two cores multiply bfloat16 in hardware, 45 where they do not.
study: $(STAMP)
	$(PY) -m experiments.study --config experiments/configs/painted.yaml

test: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# The documentation site, build/docs/index.html; needs no network once Sphinx is there.
docs: $(STAMP)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	PYTHONPATH=src:. $(PY) -m sphinx --quiet --fail-on-warning --keep-going docs build/docs

# make bench NAME=crafting; --quick ends within ten minutes on 2 cores.
NAME ?= crafting
bench: $(STAMP)
	$(PY) -m experiments.bench $(NAME) --quick

# Hours: kills, flipped bits, damaged files; renews the table of docs/faults.md. make faults FAULTS='--parts flips'
faults: $(STAMP)
	PYTHONPATH=src:.:tests $(PY) -m faults --output docs/faults.md $(FAULTS)

# requirements.lock: every version in constraints.txt and every package below it, with the hashes of its files,
# for all platforms. constraints.txt says which versions; change it first. The install above does not use the lock.
lock: $(STAMP)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[lock]'
	$(PY) -m uv pip compile --quiet setup.cfg --all-extras --universal --python-version 3.11 \
	  --constraint constraints.txt --generate-hashes --no-annotate --no-emit-find-links \
	  --custom-compile-command 'make lock' --output-file requirements.lock

# sbom.json: what is installed in .venv, with versions and licences, as CycloneDX.
sbom: $(STAMP)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[lock]'
	$(PY) -m cyclonedx_py environment --output-reproducible --output-file sbom.json $(PY)
