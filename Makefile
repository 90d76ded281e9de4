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
# Every user that deploy/redis/users.acl.template asks a password for.
REDIS_PASSWORDS := $(shell sed -n 's,.* {\([a-z_]*\)} .*,secrets/redis_\1_password,p' deploy/redis/users.acl.template)
BANDIT_LOOKS_AT := shared camera_sampler world_model_trainer dreamer_agent lock_broker ptzjepa benchmarks deploy requirements
CACHES := .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

.PHONY: help
help: ## show this list
	@echo 'make TARGET [ARGS="…"] [PYTHON=python3.12]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/.dev $(THIRD_PARTY) ## set up .venv with everything, development tools too

.PHONY: demo
demo: $(VENV)/.laptop ## run the whole loop on a simulated camera, e.g. ARGS="--minutes 1"
	@$(BIN)/ptzjepa demo $(ARGS)

.PHONY: test
test: $(VENV)/.dev $(THIRD_PARTY) ## run all tests, e.g. ARGS="tests/shared -x"
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

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

# The rendered manifests go through a file: a pipe would hide a failure of its first command.
.PHONY: lint-deployment
lint-deployment: $(VENV)/.dev
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml docker-compose.tls.yml
	$(BIN)/kubectl kustomize k8s/base > $(VENV)/k8s-base.yaml
	$(BIN)/kubectl kustomize k8s/tls > $(VENV)/k8s-tls.yaml
	$(BIN)/kubernetes-validate --strict --quiet $(VENV)/k8s-base.yaml $(VENV)/k8s-tls.yaml
	$(BIN)/python -m pytest tests/deployment

.PHONY: bench
bench: $(VENV)/.dev ## measure all parts and print one table
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: exam
exam: $(VENV)/.laptop ## examine agents on the simulated camera, e.g. ARGS="--seeds 2 --frames 1500 --processes 2"
	@$(BIN)/ptzjepa agent examine --json runs/exam.json $(ARGS)

.PHONY: docs
docs: $(VENV)/.dev ## write the tables in docs/ that are generated from code
	@$(BIN)/python docs/configuration_table.py

.PHONY: secrets
secrets: secrets/broker_tokens secrets/redis_users secrets/grafana_admin_password ## make the random secrets that docker-compose.yml reads

.PHONY: lock
lock: ## write requirements/*.lock anew, with the newest packages that fit; needs uv
	@$(PYTHON) requirements/lock.py

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
