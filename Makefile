# Two commands do everything: `make reproduce` and `make test`. Both make .venv first if it is missing.
# CLUSTER=slurm submits what `make reproduce` and `make study` would do here (docs/cluster.md).
CORPUS  ?= actors
PROFILE ?= quick
FOLD    ?= 1
SEED    ?= 0
STUDY   ?= studies/five_folds.yaml
CLUSTER ?=
CORES   ?= $(shell getconf _NPROCESSORS_ONLN)
PYTHON  ?= python3
SHELL   := /bin/sh
# For the shell, which reads CM_RUNS itself: a path may have spaces and apostrophes.
RUN     := "$${CM_RUNS:-runs}/$(CORPUS)-$(PROFILE)$(if $(filter-out 1-0,$(FOLD)-$(SEED)),-fold$(FOLD)-seed$(SEED))"

# Kernels start in notebooks/, so folders that are named relative to this one get their full names.
FULL_NAME = $(shell case "$$$(1)" in (''|[/~]*) printf %s "$$$(1)" ;; (*) printf %s "$$PWD/$$$(1)" ;; esac)
export CM_DATA  := $(call FULL_NAME,CM_DATA)
export CM_CACHE := $(call FULL_NAME,CM_CACHE)
export CM_RUNS  := $(call FULL_NAME,CM_RUNS)

# With FRESH=1 nothing counts that ships for this corpus and profile: networks, judges and measured tables.
FRESH    ?= $(CM_FRESH)
export CM_FRESH := $(FRESH)

# As in cmlib/__init__.py; here for notebooks that import torch first.
export GOMP_SPINCOUNT ?= 10000

# In the activated conda environment of environment.yml there is nothing to make; anywhere else it is .venv.
ifeq ($(CONDA_DEFAULT_ENV),context-matters)
  PY    := python
  READY :=
else
  PY    := .venv/bin/python
  READY := .venv/ready
endif
# requirements.lock was solved on x86-64 Linux; elsewhere pip solves the ranges of pyproject.toml.
ifeq ($(shell uname -sm),Linux x86_64)
  PACKAGES := -r requirements.lock
else
  PACKAGES := -e .[reproduce,test]
endif
# A .venv that was moved or copied with its folder is not this one's.
ifneq ($(shell cat .venv/ready 2>/dev/null),$(CURDIR))
  MOVED := always
endif

# On this machine all cores; on a cluster what its profile says.
CORES_ASKED = $(if $(filter-out file,$(origin CORES)),--cores $(CORES))
WHERE       = $(if $(CLUSTER),--profile "$$PWD/profiles/$(CLUSTER)" $(CORES_ASKED),--cores $(CORES))
SNAKEMAKE   = $(PY) -m snakemake $(if $(CM_RUNS),--directory "$$CM_RUNS") $(WHERE) \
  $(if $(filter-out 0,$(FRESH)),--forceall) --rerun-triggers mtime params input --rerun-incomplete --keep-going --nolock --quiet rules progress host reason

.PHONY: help reproduce study figures lint review test test-browser test-cluster bench demo lab site lock clean distclean always

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile
	@echo "  options: CORPUS=$(CORPUS) PROFILE=$(PROFILE) (smoke laptop quick tuned gestures photographs cpu paper) FOLD=$(FOLD) SEED=$(SEED) CORES=$(CORES) FRESH=1"
	@echo "  elsewhere: CLUSTER=slurm; a study of your own: STUDY=FILE (now $(STUDY))"
	@echo "  folders elsewhere, as environment variables: CM_DATA (corpora), CM_CACHE (prepared), CM_RUNS (runs)"

RUNS_WRITABLE = mkdir -p "$${CM_RUNS:-runs}" 2>/dev/null && test -w "$${CM_RUNS:-runs}" || \
  { echo "$${CM_RUNS:-$$PWD/runs}: nothing can be written there; set CM_RUNS to a folder of your own" >&2; exit 1; }

reproduce: $(READY)  ## execute the notebooks that are stale; write runs/<corpus>-<profile>/report.html
	@$(RUNS_WRITABLE)
	@$(SNAKEMAKE) --config corpus=$(CORPUS) profile=$(PROFILE) fold=$(FOLD) seed=$(SEED) && $(PY) -m tools.notebooks.report $(RUN) --show

study: $(READY)  ## train and score every cell of STUDY; write runs/studies/<study>/report.html
	@$(RUNS_WRITABLE)
	@$(SNAKEMAKE) --snakefile study.smk --config study="$(STUDY)"

figures: $(READY)  ## draw the figures of a run again without training, as SVG, PDF, PNG and CSV
	@$(PY) -m cmlib.cli figures --corpus $(CORPUS) --profile $(PROFILE) --fold $(FOLD) --seed $(SEED)

lint: $(READY)  ## ruff (rules and format) and pyright, as CI runs them
	@$(PY) -m pip install -q -e '.[lint]'
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath "$$(command -v $(PY))"

review: $(READY)  ## from now on, git diff shows notebooks of this clone as text, without outputs
	@$(PY) -m pip install -q -e '.[review]'
	git config diff.notebook.textconv '$(PY) -m jupytext --quiet --to py:percent --opt notebook_metadata_filter=-all --output -'

# The tests start a hundred processes, and each would compile the library again if Python kept no compiled files.
test: $(READY)  ## unit and parity tests, and every notebook in profile smoke
	@PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 MPLBACKEND=agg $(PY) -m pytest -q -n $(CORES) --dist loadfile

test-browser: $(READY)  ## the demo and the page in a headless Chromium (which has to be installed)
	@$(PY) -m pip install -q -e '.[browser,site]' && MPLBACKEND=agg $(PY) -m pytest -q tests/browser

test-cluster: $(READY)  ## studies as jobs of Slurm (which has to run: bash .ci/slurm start)
	@$(PY) -m pip install -q -e '.[cluster]' && MPLBACKEND=agg $(PY) -m pytest -q tests/cluster

bench: $(READY)  ## speed and memory as ratios, printed and written to runs/bench/bench.csv
	@$(PY) -m benchmarks $(BENCH)

demo: NOTEBOOK ?= notebooks/08_generation_demo.ipynb
demo: $(READY)  ## the generation demo as an app in the browser
	@JUPYTER_PATH="$$PWD/notebooks/app" $(PY) -m voila "$(NOTEBOOK)" --template demo \
	  --TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_cell_tags=notebook-only $(DEMO)

site: $(READY)  ## the demo as a page that needs no Python, and the book, into site/ (needs npm)
	@$(PY) -m pip install -q -e '.[site]' && MPLBACKEND=agg $(PY) -m tools.site build --repository '$(REPOSITORY)'

lab: $(READY)  ## the notebooks in JupyterLab
	@$(PY) -m jupyter lab --LabApp.default_url=/lab/tree/notebooks

.venv/ready: requirements.lock pyproject.toml $(MOVED)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	@.venv/bin/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@echo "installing packages into .venv (once; on Linux with 5 GB for CUDA, unless PIP_EXTRA_INDEX_URL names the index of the CPU builds) ..."
	@test -t 1 || quiet=-q; .venv/bin/python -m pip install $$quiet $(PACKAGES)
	@.venv/bin/python -m pip install -q --no-deps -e .
	@pwd -P > .venv/ready

lock:  ## solve requirements.lock again from pyproject.toml (x86-64 Linux)
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install -q -e .[reproduce,test]
	{ sed -n '/^#/p' requirements.lock; build/lock/bin/python -m pip freeze --exclude-editable | grep -vE '^(cuda-|nvidia-|triton)'; } > build/requirements.lock
	mv build/requirements.lock requirements.lock && rm -rf build/lock

clean:  ## remove this run with its trained networks, what was prepared for the corpus, and caches
	rm -rf $(RUN) "$${CM_CACHE:-data/prepared}/$(CORPUS)"-* "$${CM_RUNS:-.}/.snakemake" .pytest_cache .ruff_cache build

distclean:  ## remove everything that was made: all runs, prepared arrays, .venv
	rm -rf runs data/prepared site .snakemake .pytest_cache .ruff_cache build .venv *.egg-info

always:
