# elink on Kubernetes. `make help` lists the targets; the two that a newcomer needs are `make up` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Stages share the machine: with `-j` (or MAKEFLAGS) tests and measurements would disturb each other.
.NOTPARALLEL:

VENV ?= .venv
PYTHON := $(VENV)/bin/python
VENV_STAMP := $(VENV)/.stamp-$(shell sha256sum requirements/dev.lock | cut -c1-12)
CLUSTER_NAME ?= dev
CLUSTER_TOOL := python3 hack/cluster

.PHONY: help up down status images generate venv bench-operator bench-dedicated bench-netpol

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

up: ## A cluster with everything on it, and a table of what to do next (CLUSTER=existing for your own; safe to repeat)
	$(CLUSTER_TOOL) up --name $(CLUSTER_NAME)
	$(CLUSTER_TOOL) deploy --name $(CLUSTER_NAME)

down: ## Remove the cluster that `make up` made, and prove it (with CLUSTER=existing it only forgets it)
	$(CLUSTER_TOOL) down --name $(CLUSTER_NAME)

status: ## What runs
	$(CLUSTER_TOOL) status --name $(CLUSTER_NAME)

images: ## Build the product's images and load them into the cluster
	$(CLUSTER_TOOL) images --name $(CLUSTER_NAME)

venv: $(VENV_STAMP) ## The Python environment of tests and tools, from requirements/dev.lock
$(VENV_STAMP): requirements/dev.lock
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	rm -f $(VENV)/.stamp-* && touch $@

generate: $(VENV_STAMP) ## CRDs and their reference page, from the models
	PYTHONPATH=operator/src $(PYTHON) -m elink_operator.api.generate

bench-operator: $(VENV_STAMP) prerequisites ## Tenants per second and the rest, beside a floor in the same run
	$(CLUSTER_TOOL) binaries kubernetes etcd kubectl gateway-api
	PYTHONPATH=operator/src:. $(PYTHON) -m tests.bench.operator $(BENCH_ARGS)

bench-dedicated: $(VENV_STAMP) ## Seconds to a Dedicated tenant on the cluster of `make up`, beside a bare pod
	PYTHONPATH=. $(PYTHON) -m tests.bench.dedicated --cluster $(CLUSTER_NAME)

bench-netpol: $(VENV_STAMP) prerequisites ## The policy agent's rendering beside a bare `nft -f`
	PYTHONPATH=. $(PYTHON) -m tests.bench.netpol

include hack/mk/test.mk
