# Everything a developer does, by name. `make` alone lists it.
#
# Tools live in .venv and are installed again only when pyproject.toml or tests/third_party/ changes; nothing else on the
# machine is touched.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Packages by others that the tests drive our emulators with. Several call their module `onvif`, so each has a folder.
THIRD_PARTY := $(patsubst tests/third_party/%.txt,$(VENV)/third_party/%/.installed,$(wildcard tests/third_party/*.txt))
# Prometheus and its promtool, which the tests of alerts and dashboards run.
PROMETHEUS := $(VENV)/prometheus/.unpacked
# Every user that deploy/redis/users.acl.template asks a password for.
REDIS_PASSWORDS := $(shell sed -n 's,.* {\([a-z_]*\)} .*,secrets/redis_\1_password,p' deploy/redis/users.acl.template)
# What of k8s/ can be applied.
MANIFESTS := k8s/base k8s/tls $(wildcard k8s/overlays/*)
BANDIT_LOOKS_AT := shared camera_sampler world_model_trainer dreamer_agent lock_broker ptzjepa benchmarks deploy requirements
CACHES := .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

.PHONY: help
help: ## show this list
	@echo 'make TARGET [ARGS="…"] [PYTHON=python3.12]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/.dev $(THIRD_PARTY) $(PROMETHEUS) ## set up .venv with everything, development tools too

.PHONY: demo
demo: $(VENV)/.laptop ## run the whole loop on a simulated camera, e.g. ARGS="--minutes 1"
	@$(BIN)/ptzjepa demo $(ARGS)

.PHONY: test
test: $(VENV)/.dev $(THIRD_PARTY) $(PROMETHEUS) ## run all tests, e.g. ARGS="tests/shared -x"
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

# Exit code 2 where this machine can't run containers, with one line that says why.
.PHONY: containers-test
containers-test: $(VENV)/.dev $(THIRD_PARTY) ## build every image and run the whole compose file for real (root; 5 GB)
	@$(BIN)/python -m tests.containers.requirements
	@$(BIN)/python -m pytest -m containers -rA tests/containers $(ARGS)

.PHONY: containers-smoke
containers-smoke: $(VENV)/.dev $(THIRD_PARTY) ## the same for the images without torch, in a minute or two
	@$(BIN)/python -m tests.containers.requirements
	@$(BIN)/python -m pytest -m containers tests/containers/test_small.py $(ARGS)

.PHONY: containers-clean
containers-clean: $(VENV)/.dev ## remove the images and the storage of containers-test
	@$(BIN)/python -m tests.containers.clean

.PHONY: image-sizes
image-sizes: $(VENV)/.dev ## print how large the images of containers-test are, unpacked and without their base
	@$(BIN)/python -m tests.containers.images

.PHONY: soak
soak: $(VENV)/.dev ## make 2,000 moves on emulated cameras with 5 % faults and check every view
	@SOAK_MOVES=2000 $(BIN)/python -m pytest tests/camera_sampler/test_soak.py -s $(ARGS)

.PHONY: lint
lint: lint-python lint-security lint-deployment ## check style, types, imports, security, manifests and dashboards

.PHONY: lint-python
lint-python: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: lint-security
lint-security: $(VENV)/.dev
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive $(BANDIT_LOOKS_AT)
	$(BIN)/python -m pytest tests/security/test_sources.py
	$(BIN)/python .ci/audit.py

# The rendered manifests go through a file: a pipe would hide a failure of its first command. Kinds that Kubernetes does not
# have itself (KEDA's, the Prometheus Operator's) the validator passes over; tests/deployment looks at those.
.PHONY: lint-deployment
lint-deployment: $(VENV)/.dev $(PROMETHEUS)
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose*.yml
	@set -e; for folder in $(MANIFESTS); do \
	  rendered=$(VENV)/$$(echo $$folder | tr / -).yaml; \
	  echo "$$folder: as Kubernetes 1.25 and as the newest known takes it"; \
	  $(BIN)/kubectl kustomize $$folder > $$rendered; \
	  $(BIN)/kubernetes-validate --strict --quiet --no-warn --kubernetes-version 1.25 $$rendered; \
	  $(BIN)/kubernetes-validate --strict --quiet --no-warn $$rendered; \
	done
	$(BIN)/python -m pytest tests/deployment

.PHONY: bench
bench: $(VENV)/.dev ## measure all parts and print one table
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: exam
exam: $(VENV)/.laptop ## examine agents on the simulated camera, e.g. ARGS="--seeds 2 --frames 1500 --processes 2"
	@$(BIN)/ptzjepa agent examine --json runs/exam.json $(ARGS)

.PHONY: docs
docs: $(VENV)/.dev ## write the tables in docs/ and the dashboards that are generated from code
	@$(BIN)/python -m docs.configuration_table
	@$(BIN)/python -m docs.metrics_table
	@$(BIN)/python -m observability.dashboards

.PHONY: secrets
secrets: secrets/broker_tokens secrets/redis_users secrets/grafana_admin_password ## make the random secrets that docker-compose.yml reads

.PHONY: lock
lock: ## write requirements/*.lock anew, with the newest packages that fit, or one for EXTRAS=node,parquet; needs uv
	@$(PYTHON) requirements/lock.py $(EXTRAS)

.PHONY: sbom
sbom: $(VENV)/.dev ## write what is installed as a CycloneDX bill of materials to build/sbom.json
	@mkdir -p build
	@$(BIN)/cyclonedx-py environment --output-format JSON --output-file build/sbom.json --pyproject pyproject.toml $(BIN)/python
	@echo 'Wrote build/sbom.json'

.PHONY: clean
clean: ## remove .venv, caches and build output; runs/ and secrets/ stay
	rm -rf $(VENV) $(CACHES) build dist *.egg-info bench-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo 'error: $(PYTHON) is not Python 3.11 or newer; name one that is: make PYTHON=python3.12' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'error: $(PYTHON) cannot make virtual environments; install its venv module (Debian: python3-venv)' >&2; exit 2; }
	@echo 'Making $(VENV) …'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.laptop: $(VENV)/.created pyproject.toml
	@echo 'Installing what the demo needs into $(VENV) (once, a minute or two) …'
	@$(PIP) install --quiet --editable '.[laptop]'
	@touch $@

# The development tools include everything that the demo needs.
$(VENV)/.dev: $(VENV)/.created pyproject.toml
	@echo 'Installing the project and its development tools into $(VENV) (once, a minute or two) …'
	@$(PIP) install --quiet --editable '.[dev]'
	@touch $(VENV)/.laptop $@

# The files name every package that is needed, so that nothing else comes along.
$(VENV)/third_party/%/.installed: tests/third_party/%.txt $(VENV)/.created
	@echo 'Installing $* for the tests …'
	@rm -rf $(@D)
	@$(PIP) install --quiet --no-deps --target $(@D) --requirement $<
	@touch $@

# Debian's package, unpacked, with package lists of our own where the machine has none. Without it those tests are skipped.
$(PROMETHEUS): $(VENV)/.created
	@mkdir -p $(@D)/lists/partial $(@D)/cache/archives/partial
	@cd $(@D) && get() { apt-get -qq "$$@" download prometheus; }; \
	  own="-o Dir::State::lists=$$PWD/lists -o Dir::Cache=$$PWD/cache"; \
	  if command -v promtool || { { get || { apt-get -qq $$own update && get $$own; }; } && dpkg -x prometheus_*.deb .; }; \
	  then touch $(@F); fi > said 2>&1; \
	  rm -rf lists cache prometheus_*.deb
	@test -e $@ || echo 'Prometheus is not to be had here: the tests of its alerts and dashboards will be skipped.'

# What the broker knows of the tokens: whose they are, what they may do, and digests. Lines may be added; it is never made
# again by itself.
secrets/broker_tokens: | secrets/broker_token secrets/broker_admin_token
	@$(PYTHON) -c 'import hashlib, sys; \
	  digest = lambda path: hashlib.sha256(open(path).read().strip().encode()).hexdigest(); \
	  print("services worker", digest(sys.argv[1])); print("admin admin", digest(sys.argv[2]))' $| > $@
	@chmod 444 $@
	@echo 'Made $@'

# Redis' users with digests of their passwords; made again when a password or the template changes.
secrets/redis_users: deploy/redis/users.acl.template $(REDIS_PASSWORDS) $(wildcard secrets/redis_more_users)
	@rm -f $@
	@$(PYTHON) deploy/redis/make_users.py $(@D) > $@.tmp && mv $@.tmp $@
	@chmod 444 $@
	@echo 'Made $@'

# Containers read these files as user 10001, so the files are readable and the folder is not. Git never sees it.
secrets/%:
	@mkdir -p -m 700 secrets && echo '*' > secrets/.gitignore
	@$(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(32))' > $@
	@chmod 444 $@
	@echo 'Made $@'
