# Two targets do everything on a fresh machine: `make repro` and `make test`.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help repro compare experiments seeds cluster test test-all lint verify soak mutate publish serve format schema graph workload baseline lock clean

VENV := .venv
MOTO := .benchmarks/moto
CLIENTS := .benchmarks/clients
# The first Python that TensorFlow has wheels for; `make PYTHON=…` names another.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
PLATFORM := $(shell uname -sm)
SUPPORTED := Linux-x86_64 Linux-aarch64 Darwin-arm64
# An environment keeps to the lock file it was made with.
LOCK ?= $(shell cat $(VENV)/lock 2>/dev/null || echo requirements/cpu.lock)
INSTALL = uv pip install --quiet --require-hashes --compile-bytecode --python $(1) $(addprefix -r ,$^) && touch $@
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

repro: $(VENV)/.installed-report ## Set up, fetch the data and run the pipeline; say how long it took. GPU: LOCK=requirements/cuda.lock
	python -m tools.repro $(ARGS)
	python -m tools.processor
	python -m tools.times

SEEDS ?= 10
seeds: $(VENV)/.installed-report ## Train a workload with several seeds: curve, band and interval in the report. WORKLOAD=cartpole SEEDS=10
	@python -m tools.seeds "$(WORKLOAD)" "$(SEEDS)" $(ARGS)
	dvc repro report

WORKERS ?= 2
WORKLOAD ?= babyweight
cluster: $(VENV)/.installed ## Train in several processes on this machine. WORKERS=2 WORKLOAD=babyweight
	python -m tools.train_cluster $(WORKLOAD) $(WORKERS)

test: $(VENV)/.installed-dev $(MOTO)/.installed $(CLIENTS)/.installed lint ## Set up, lint and run the tests.
	pytest -n 2 --dist loadgroup -m 'not slow'

test-all: $(VENV)/.installed-dev $(MOTO)/.installed $(CLIENTS)/.installed lint ## As test, with the tests that take minutes: emulated processors, every command of the documentation, sweeps.
	pytest -n 2 --dist loadgroup

lint: $(VENV)/.installed-dev ## Check style, types, and that dvc.yaml and params.yaml agree with the code.
	ruff check
	ruff format --check
	mypy
	lint-imports --no-logo
	python -m tools.check_pipeline
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	zizmor --offline --quiet .github/workflows
	hadolint deploy/Dockerfile
	kubernetes-validate --quiet --strict deploy/kubernetes.yaml

verify: $(VENV)/.installed-report ## Run the committed pipeline in a scratch clone; compare every byte. ARGS=--tolerance=0.01
	python -m tools.verify_bytes $(ARGS)

soak: $(VENV)/.installed-dev ## Kill training runs at random moments; compare bytes. ARGS='--trials 20 --workloads mnist'
	python -m tools.kill_runs $(ARGS)

SAMPLE ?= 12
SEED ?= 0
mutate: $(VENV)/.installed-dev ## Change modules at random places; do their tests notice? MODULE=stages/core SAMPLE=12 SEED=0
	python -m tools.mutate $(MODULE) --sample $(SAMPLE) --seed $(SEED)

A ?= main
B ?= .
compare: $(VENV)/.installed-report ## Compare two states on a page and in Markdown. A=HEAD~1 B=HEAD; default: main and the work tree
	python -m tools.compare $(A) $(B)

experiments: $(VENV)/.installed-report ## List DVC's experiments: what differs from the baseline, and is it better?
	python -m tools.experiments

publish: $(VENV)/.installed-serving ## Publish the exported models under the next version.
	python -m serving.publish

serve: $(VENV)/.installed-serving ## Serve the published models, and a page to try them, on http://127.0.0.1:8501
	python -m serving $(ARGS)

format: $(VENV)/.installed-dev ## Format the code and params.yaml.
	ruff check --fix-only --quiet
	ruff format
	python -m tools.format_params

schema: $(VENV)/.installed ## Write params.schema.json, after a change of a schema.
	python -m stages.check_params params.schema.json data/params.checked

workload: $(VENV)/.installed-dev ## Start a workload that works at once. NAME=wines
	python -m tools.new_workload "$(NAME)"
	ruff check --fix-only --quiet stages/$(NAME) tests/$(NAME)
	ruff format --quiet stages/$(NAME) tests/$(NAME)
	$(MAKE) schema graph

graph: $(VENV)/.installed ## Write docs/pipeline.md, the graph that the report draws, after a change of dvc.yaml.
	dvc dag --md > docs/pipeline.md

baseline: $(VENV)/.installed-report ## Accept the current results as those that the report compares with.
	python -m tools.accept_results
	dvc repro report
	python -m tools.processor

lock: $(VENV)/.installed-dev ## Resolve the dependencies again, with one version of each package for all lock files.
	$(COMPILE) --group install -o requirements/install.lock
	$(COMPILE) pyproject.toml --extra cpu -o requirements/cpu.lock
	$(COMPILE) pyproject.toml --extra cuda -c requirements/cpu.lock -o requirements/cuda.lock
	$(COMPILE) --group serving -c requirements/cpu.lock -o requirements/serving.lock
	$(COMPILE) --group report -c requirements/cpu.lock -o requirements/report.lock
	$(COMPILE) --group dev -c requirements/cpu.lock -c requirements/serving.lock -c requirements/report.lock -o requirements/dev.lock
	$(COMPILE) --group moto -o requirements/moto.lock
	$(COMPILE) --group clients --no-deps -o requirements/clients.lock
COMPILE := uv pip compile --quiet --generate-hashes --universal --no-emit-index-url

$(MOTO)/.installed: requirements/moto.lock | $(VENV)/bin/uv
	uv venv --quiet --clear --python $(VENV)/bin/python $(MOTO)
	$(call INSTALL,$(MOTO))

$(CLIENTS)/.installed: requirements/clients.lock | $(VENV)/bin/uv
	uv pip install --quiet --no-deps --require-hashes --python $(VENV)/bin/python --target $(CLIENTS) -r $<
	touch $@

clean: ## Remove the pipeline's outputs; keep the environment and DVC's cache.
	git clean -fdXq -- .checkpoints data models published reports results weights

$(VENV)/bin/python:
	@test -n "$(filter $(subst $(eval ) ,-,$(PLATFORM)),$(SUPPORTED))" || { \
		echo "error: $(PLATFORM): TensorFlow has no wheel for it; supported: $(SUPPORTED)" >&2; exit 1; }
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.11, 3.12 or 3.13 (make PYTHON=/path/to/python)" >&2; exit 1; }
	@$(PYTHON) -c '$(FITS)' || { echo "error: $(PYTHON): needs Python 3.11, 3.12 or 3.13" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/bin/uv: requirements/install.lock | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	echo $(LOCK) > $(VENV)/lock
	touch $@

$(VENV)/.installed: $(LOCK) | $(VENV)/bin/uv
	$(call INSTALL,$(VENV))

$(VENV)/.installed-dev: requirements/report.lock requirements/serving.lock
$(VENV)/.installed-%: requirements/%.lock $(LOCK) | $(VENV)/bin/uv
	$(call INSTALL,$(VENV))
