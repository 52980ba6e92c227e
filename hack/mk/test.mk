# Test, lint and bench targets. Included by the Makefile.
TEST_CLUSTER := test
PYTEST := $(PYTHON) -m pytest

.PHONY: test test-fast test-local test-cluster test-on-cluster lint prerequisites bench-app bench-data bench-addresses bench-delivery bench-import

prerequisites: ## Debian packages that the tests need
	hack/prerequisites

lint: $(VENV_STAMP) ## ruff, mypy --strict, import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PYTHON) -m mypy operator/src tenant-app/src
	PYTHONPATH=operator/src:tenant-app/src:. $(PYTHON) -m mypy --explicit-package-bases tests/bench/operator tests/bench/dedicated.py
	PYTHONPATH=operator/src:tenant-app/src $(VENV)/bin/lint-imports

test-fast: $(VENV_STAMP) lint ## Unit tests: no cluster, no database, no browser; under two minutes
	$(PYTEST) -m "not apiserver and not postgres and not cluster and not browser and not netns" -n 2

test-local: $(VENV_STAMP) prerequisites ## Tests on real parts that need no pods: API server, etcd, PostgreSQL, packets
	python3 hack/cluster binaries
	TMPDIR=$$(hack/test-tmp) $(PYTEST) -m "not cluster and not browser" -n 3 --dist loadfile --no-loadscope-reorder

test-cluster: $(VENV_STAMP) prerequisites ## Tests on the real cluster, the browser included; starts and removes its own cluster
	hack/with-cluster $(TEST_CLUSTER) $(MAKE) --no-print-directory test-on-cluster

# These wait more than they work, so three run beside each other; what disturbs others comes last, alone.
test-on-cluster: # On the cluster that ELINK_CLUSTER names
	$(PYTEST) -m "(cluster or browser) and not alone" -n 3 --dist loadfile --no-loadscope-reorder
	$(PYTEST) -m alone

test: lint test-local test-cluster ## Everything, stage by stage: beside each other they are no faster on two cores

bench-delivery: $(VENV_STAMP) prerequisites ## Mails per second beside a floor in the same run, and what a kill -9 costs
	PYTHONPATH=operator/src:tenant-app/src:. $(PYTHON) -m tests.bench.delivery $(BENCH_ARGS)

bench-addresses: $(VENV_STAMP) prerequisites ## Address book with 1,000,000 addresses: lists, search, segments beside a floor
	PYTHONPATH=operator/src:tenant-app/src:. $(PYTHON) -m tests.bench.addresses $(BENCH_ARGS)

bench-import: $(VENV_STAMP) prerequisites ## Speed and memory of an import of 200,000 rows, next to plain COPY
	PYTHONPATH=operator/src:tenant-app/src:. $(PYTHON) -m tests.bench.imports $(BENCH_ARGS)

bench-data: $(VENV_STAMP) prerequisites ## Backup and restore beside pg_dump, zstd and pg_restore in the same run; erasure of 100 tenants
	PYTHONPATH=operator/src:tenant-app/src:. $(PYTHON) -m tests.bench.data $(BENCH_ARGS)

bench-app: bench-delivery bench-addresses bench-import ## All benches of the tenant app
