PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport PYTHONPATH PYTHONHOME

.PHONY: repro report test acceptance lint bench smoke plots-page lock clean

repro: $(VENV)/.installed ## the whole experiment: data, models, samples, metrics, figures
	dvc repro

report: $(VENV)/.installed ## all results as one page, report.html
	toycrystals report

PYTEST := pytest -n 2 --ignore tests/benchmarks

test: $(VENV)/.installed
	$(PYTEST) --dist loadfile --no-loadscope-reorder -m "not acceptance"

acceptance: $(VENV)/.installed ## what a user meets: stopped runs, remotes, every command that the documents show
	$(PYTEST) --dist load --maxschedchunk 1 -m acceptance

lint: $(VENV)/.installed
	ruff check .
	ruff format --check .
	mypy

bench: $(VENV)/.installed ## speed, as ratios within one run
	pytest tests/benchmarks -q --benchmark-columns=median,iqr,rounds --benchmark-sort=name

smoke: $(VENV)/.installed ## every stage at toy size, in a throw-away copy
	python -m tests.smoke

plots-page: $(VENV)/.installed ## the page and the templates of `dvc plots`, from pinned npm packages and the catalogue of metrics
	cd .dvc/plots && npm ci --omit=optional --no-audit --no-fund
	python .dvc/plots/build_page.py
	python .dvc/plots/build_templates.py

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --disable-pip-version-check -r requirements.lock
	pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Exactly this release has a build without CUDA where there is none; a local version label (+cpu) would tie the pin to it.
TORCH := 2.13.0

lock: ## choose all pins again, from the ranges in pyproject.toml
	pip-compile --quiet --upgrade --upgrade-package torch==$(TORCH) --allow-unsafe --all-extras --strip-extras --no-header --no-annotate \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock pyproject.toml
	sed -i 's/^torch==.*/torch==$(TORCH)/' requirements.lock

clean: ## remove the environment and everything that can be made again, but not DVC's cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis report.html dvc_plots .dvc/plots/node_modules
