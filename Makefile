# The one page of commands. `make` alone lists them.

RUN    ?= pipelines/runs/demo.toml
LAKE   ?=
BENCH  ?=
CARGO  ?= cargo

lake_flag := $(if $(LAKE),--lake '$(LAKE)')
# The programs are called as they were built: `cargo run --package` would resolve features for one package alone and
# build half the tree again.
programs = $(or $(CARGO_TARGET_DIR),target)/debug
stage = "$(programs)/$(1)"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build demo bronze silver gold show dictionary record-demo fmt lint test fuzz test-anvil bench-rpc bench-transform check-deps ci

help: ## this list
	@echo 'usage: make TARGET [RUN=pipelines/runs/NAME.toml] [LAKE=directory or URL]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-15s %s\n", $$1, $$2}'

build: ## the three programs
	$(CARGO) build --package extract --package transform --package panel

demo: build ## four days of two small chains, offline, from recording to panel
	$(call stage,extract) run --run pipelines/runs/demo.toml $(lake_flag)
	$(call stage,transform) run --run pipelines/runs/demo.toml $(lake_flag)
	$(call stage,panel) build --run pipelines/runs/demo.toml $(lake_flag)
	$(call stage,panel) show --run pipelines/runs/demo.toml $(lake_flag)

# Exit code 1 of a stage means: done, but some days are missing and listed. Gold then says which and why, so the next
# stage may go on. Everything else (2 wrong configuration, 75 run me again) stops make.
some_missing_is_fine = || { code=$$?; [ $$code -eq 1 ] || exit $$code; }

bronze: build ## chain to bronze: the only stage that needs keys and network
	$(call stage,extract) run --run '$(RUN)' $(lake_flag) $(some_missing_is_fine)

silver: build ## bronze to silver
	$(call stage,transform) run --run '$(RUN)' $(lake_flag) $(some_missing_is_fine)

gold: build ## silver to gold
	$(call stage,panel) build --run '$(RUN)' $(lake_flag) $(some_missing_is_fine)

show: build ## a look at gold
	$(call stage,panel) show --run '$(RUN)' $(lake_flag)

dictionary: build ## docs/dictionary, written from the schema in crates/lake
	$(call stage,panel) dictionary --out docs/dictionary

record-demo: build ## record the demo again from local chains (needs npm)
	$(CARGO) run --package testkit -- record-demo --extract "$(programs)/extract"

fmt: ## format the code
	$(CARGO) fmt --all

lint: ## clippy, warnings are errors
	$(CARGO) clippy --workspace --all-targets -- -D warnings

test: ## every test
	$(CARGO) test --workspace

# FUZZ_CASES is a family and reader: nine tests, so 120,000 are a million and more. Decoders are optimised for it: a fifth of the time.
fuzz: ## a million arbitrary answers, logs and files for every decoder and reader
	FUZZ_CASES=$(or $(FUZZ_CASES),120000) $(CARGO) test --config profile.dev.package.protocols.opt-level=2 --package protocols --test it fuzz

test-anvil: ## the tests that ask a real node (needs npm)
	$(CARGO) test --package extract --test it -- --ignored anvil

# BENCH holds further arguments, such as BENCH='--days 1' for a quick look; BENCH=--help tells them all.
bench-rpc: ## December 2024 against simulated providers: the bill, next to that of the plan's own algorithm
	$(CARGO) bench --package extract --bench rpc -- $(BENCH)

# BENCH='--csus 8 --days 31' for a quick look; PROFILE=dev spares the release build, and measures nothing of worth.
PROFILE ?= release
bench-transform: ## silver of a synthetic lake of 224 CSUs x 366 days, beside DuckDB and Polars on its decode-free part
	$(CARGO) build --profile $(PROFILE) --package transform --package testkit
	test -x target/venv/bin/python || python3 -m venv target/venv
	target/venv/bin/pip --quiet install duckdb polars
	target/venv/bin/python crates/transform/benches/beside.py --scratch target/bench-transform \
	  --programs '$(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))' $(BENCH)

check-deps: ## who may lean on whom
	.ci/check-deps

ci: ## all that CI runs
	.ci/run
