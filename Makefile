# make setup   the environment in .venv, nothing else
# make run     the whole job on this machine, fed with a recorded trace, until Ctrl-C
# make test    everything that must be right before a change lands
# make chaos   the long forms of the tests that break things: half an hour
# make coverage  how much of the code the tests without chaos run: branches, child processes included
# make mutation  whether the core's tests notice when the core is changed: more than an hour
# make containers  docker-compose.yml in this machine's Docker engine: some eight minutes
# make ecosystem  beside other people's parts: their SDKs, consumers and tools
# make compiled  a wheel with the core compiled, in .cache/compiled/dist; needs a C compiler
# make soak    a long run under load and chaos: 20 minutes, or SOAK_MINUTES=3 make soak
# make bench   the benchmarks, whose tables stand in benchmarks/README.md: an hour
# make site    the pages and the references as a site: dist/site
# make sbom    what the locked dependencies are, as CycloneDX: dist/vim-event-federation.cdx.json
# make audit   known vulnerabilities of the locked dependencies
# make lock    writes the lock files anew, each from what asks for it; versions that fit are kept
# make bare    whether a bare Debian with what README names runs it: SUITE=trixie or bookworm, see deploy/bare
# make deb     a Debian package of this machine's Debian, in dist/; make deb-try: whether it installs and runs in a fresh one
# make versions  every version in use of nova, RabbitMQ, Kafka, Python and Debian: docs/versions.md; an hour
# make clean   removes the state of make run; make distclean removes the environment as well

PYTHON ?= python3
BIN := .venv/bin
AUDIT := .cache/audit
SITE := .cache/site
LOCK := .cache/lock
COMPILED := .cache/compiled
MUTATION := .cache/mutation

.DELETE_ON_ERROR:
.PHONY: setup run test lint pytest chaos soak containers ecosystem compiled coverage mutation bench site sbom audit lock bare deb deb-try versions system-packages clean distclean

setup: .venv/installed

# Whatever index and proxy the user's pip is configured for is used as it is.
.venv/installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "vimfed needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing: install it (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Setting up .venv (once; about a minute)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: setup
	@$(BIN)/vimfed demo

test: system-packages setup
	@$(MAKE) --no-print-directory lint pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry bridge streams web vimfed

# Some environments (images for containers, mostly) forbid Python to keep what it has compiled: each of
# the 300 processes that the tests start would compile the project anew.
pytest: export PYTHONDONTWRITEBYTECODE =
pytest: setup
	@$(BIN)/python -W ignore -m tests.support.kafka_classes
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 25

chaos: system-packages setup
	VIMFED_CHAOS=long $(BIN)/pytest tests/chaos

coverage: system-packages setup
	rm -rf .cache/coverage
	mkdir -p .cache/coverage
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile tests/unit tests/integration tests/e2e
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

$(MUTATION)/installed: deploy/mutation-tools.lock .venv/installed
	$(PYTHON) -m venv $(MUTATION)
	$(MUTATION)/bin/pip install --quiet --require-hashes -r $<
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		"$$($(MUTATION)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	@touch $@

mutation: $(MUTATION)/installed
	$(MUTATION)/bin/mutmut run
	$(MUTATION)/bin/mutmut results

soak: system-packages setup
	$(BIN)/python -W ignore -m tests.soak --minutes $(or $(SOAK_MINUTES),20)

bench: setup
	for benchmark in $(basename $(notdir $(wildcard benchmarks/[!_]*.py))); do \
		echo "== $$benchmark"; $(BIN)/python -m benchmarks.$$benchmark || exit 1; done

$(AUDIT)/installed: deploy/audit-tools.lock
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet --require-hashes -r $<
	@touch $@

$(LOCK)/bin/uv:
	$(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/pip install --quiet uv==0.13.9

lock: $(LOCK)/bin/uv
	for lock in "requirements.lock pyproject.toml" "requirements-dev.lock pyproject.toml --extra dev --extra tracing" \
		"requirements-tracing.lock pyproject.toml --extra tracing --constraint requirements-dev.lock" \
		"deploy/build-tools.lock deploy/build-tools.in --constraint requirements-dev.lock" \
		"deploy/audit-tools.lock deploy/audit-tools.in" \
		"deploy/site-tools.lock deploy/site-tools.in" \
		"deploy/mutation-tools.lock deploy/mutation-tools.in" \
		"tests/real_nova/requirements.lock tests/real_nova/requirements.in" \
		"tests/real_keystone/requirements.lock tests/real_keystone/requirements.in" \
		"tests/real_aodh/requirements.lock tests/real_aodh/requirements.in" \
		"tests/real_ceilometer/requirements.lock tests/real_ceilometer/requirements.in" \
		"tests/ecosystem/webhooks/requirements.lock tests/ecosystem/webhooks/requirements.in"; do \
		$(LOCK)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-header --no-annotate --no-emit-index-url -o $$lock || exit; \
	done
	for lock in "26 2023-06-10" "31 2025-08-01"; do set -- $$lock; \
		$(LOCK)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--exclude-newer $$2 --no-header --no-annotate --no-emit-index-url \
			-o tests/real_nova/requirements-$$1.lock tests/real_nova/requirements-$$1.in || exit; \
	done
	$(PYTHON) -m tests.ecosystem.npm_locks

# What is missing, it says, and ends with 2.
containers: setup
	@$(BIN)/python -W ignore -m tests.containers

ecosystem: setup
	@$(BIN)/python -W ignore -m tests.ecosystem

# In a place of its own: mypyc leaves what it has built beside the source.
compiled: setup
	rm -rf $(COMPILED)
	mkdir -p $(COMPILED)
	cp -r LICENSE README.md pyproject.toml vimfed.toml benchmarks bridge deploy docs streams tests vimfed web $(COMPILED)
	cd $(COMPILED) && HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(abspath $(BIN))/pip wheel --quiet --no-deps \
		--no-build-isolation --wheel-dir dist .

$(SITE)/installed: deploy/site-tools.lock
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/pip install --quiet --require-hashes -r $<
	@touch $@

# A link that leads nowhere, or to a heading that is not there, fails it.
site: setup $(SITE)/installed
	$(BIN)/python -W ignore deploy/site/pages.py $(SITE)/pages
	$(SITE)/bin/sphinx-build --quiet --fail-on-warning --keep-going --jobs auto \
		--conf-dir deploy/site --doctree-dir $(SITE)/doctrees $(SITE)/pages dist/site

sbom: $(AUDIT)/installed
	@mkdir -p dist
	$(AUDIT)/bin/python -W ignore -m cyclonedx_py requirements requirements.lock \
		--pyproject pyproject.toml --output-reproducible \
		--output-file dist/vim-event-federation.cdx.json

# --strict: a package that the data do not know is no package without vulnerabilities.
audit: $(AUDIT)/installed
	@$(AUDIT)/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock || \
		{ echo "make audit: a version above has a known vulnerability; or, where it says that packages" \
		"are not found, the data cannot be reached from here: run it where they can" >&2; exit 1; }

# What the tests need beside Python: Java and Maven for Kafka, RabbitMQ, promtool, Alertmanager, HAProxy and
# Chromium.
system-packages:
	@deploy/install-test-packages

bare:
	deploy/bare $(or $(SUITE),trixie) $(or $(WHAT),run)

deb:
	deploy/deb/build

deb-try: setup
	deploy/deb/try $(or $(SUITE),bookworm)

versions: system-packages setup
	deploy/bare trixie broker
	$(BIN)/python -m tests.versions $(ONLY)

clean:
	rm -rf .vimfed

distclean: clean
	rm -rf .venv .cache dist mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
