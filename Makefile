# Flywheel. `make help` lists the targets; each does its own set-up and is safe to interrupt and repeat.
# PYTHON=/path/to/python3.11 names the interpreter that makes the environments.

SHELL := bash
.DEFAULT_GOAL := help
MODEL := var/models/smollm2-135m-instruct
# In this order: what is fast and near the decisions first, the full cycle last.
SUITES := tests/unit tests/contract tests/schemas tests/fuzz tests/services tests/loop tests/e2e
HEAVY := broker or training or serving or evidently or e2e
PYTEST := .venv/bin/python -m pytest -p tests.ran_table
SUITES_HERE = $(wildcard $(SUITES))
# bench_gate_errors.py is NAME=gate-errors.
BENCHMARKS = $(basename $(notdir $(wildcard tests/benchmarks/bench_$(subst -,_,$(or $(NAME),*)).py)))
export HF_HUB_OFFLINE := 1
export DO_NOT_TRACK := 1

.PHONY: help setup lint test test-fast demo kafka soak bench lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## both environments, the small model, the demo's items; says the sizes first
	@echo "set-up:"
	@deploy/setup/announce.sh
	@mkdir -p var && exec 9> var/setup.lock && { ! command -v flock > /dev/null || flock 9; } \
	  && deploy/setup/environment.sh main && deploy/setup/environment.sh vllm && deploy/setup/packages.sh \
	  && .venv/bin/python deploy/setup/base_model.py var/packages $(MODEL)

demo: setup ## one full cycle on real parts, some 17 minutes; over an hour on a slow processor
	@.venv/bin/flywheel demo

test: setup lint ## every kind of test, and a table of what ran
	@mkdir -p var/test
	@FLYWHEEL_TEST_BASE=$(CURDIR)/$(MODEL) $(PYTEST) $(SUITES_HERE) --junit-xml=var/test/junit.xml

test-fast: setup ## the tests without broker, model or Evidently
	@$(PYTEST) $(SUITES_HERE) -m "not ($(HEAVY))"

lint: setup ## ruff, strict types, import contracts
	@.venv/bin/ruff check flywheel services schemas tests deploy
	@.venv/bin/ruff format --check -q flywheel services schemas tests deploy
	@.venv/bin/mypy -p flywheel -p services -p schemas
	@.venv/bin/lint-imports

fuzz: setup ## each border that reads bytes from outside, by coverage; SECONDS a target (10), one: make fuzz NAME=traffic
	@FLYWHEEL_FUZZ_SECONDS=$(or $(SECONDS),10) $(PYTEST) tests/fuzz $(if $(NAME),-k "[$(NAME)]")

kafka: setup ## Apache Kafka on loopback, by Maven and Java; another port: make kafka PORT=19092
	@.venv/bin/python deploy/kafka/apache_kafka.py --port $(or $(PORT),9092)

soak: setup ## tests and benchmarks at full counts; one: make soak NAME=gate-errors, or part of a test's name
	@mkdir -p var/test var/bench
	@export FLYWHEEL_SOAK=1 FLYWHEEL_TEST_BASE=$(CURDIR)/$(MODEL); \
	  if [ -z "$(NAME)" ]; then $(PYTEST) $(SUITES_HERE) || exit 1; \
	  elif [ -z "$(BENCHMARKS)" ]; then exec $(PYTEST) $(SUITES_HERE) -k "$(NAME)"; fi; \
	  for name in $(BENCHMARKS); do .venv/bin/python -m tests.benchmarks.$$name || exit 1; done; \
	  .venv/bin/python -m tests.benchmarks.document

bench: setup ## measured figures at small counts; one: make bench NAME=drift
	@mkdir -p var/bench
	@[ -n "$(BENCHMARKS)" ] || { echo "there is no benchmark $(or $(NAME),yet): tests/benchmarks/bench_<name>.py"; exit 2; }
	@for name in $(BENCHMARKS); do .venv/bin/python -m tests.benchmarks.$$name || exit 1; done

lock: ## compile deploy/locks/*.in again, with the newest versions that fit
	@for name in main vllm; do .venv/bin/uv pip compile -q --upgrade --python-version 3.11 deploy/locks/$$name.in \
	  --excludes deploy/locks/excluded-$$name.txt --custom-compile-command "make lock" -o deploy/locks/$$name.lock || exit 1; done
