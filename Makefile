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
.PHONY: month daily backfill test-cluster test-stores help build demo bronze silver gold show dictionary record-demo fmt lint test test-anvil bench-rpc check-deps ci

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

# The run of month, daily and backfill: RUN where the command line gives one.
span_run = $(if $(filter command line environment,$(origin RUN)),$(RUN),$(1))

month: build ## one month from chain to panel: make month MONTH=2024-11
	@case '$(MONTH)' in [0-9][0-9][0-9][0-9]-[01][0-9]) ;; *) echo 'error: say which month: make month MONTH=2024-11' >&2; exit 2;; esac
	pipelines/days month '$(MONTH)' '$(call span_run,pipelines/runs/2024-12.toml)' '$(programs)' $(lake_flag) $(some_missing_is_fine)

daily: build ## yesterday, once its end is final, and gold up to it: for cron
	pipelines/days yesterday '$(call span_run,pipelines/runs/daily.toml)' '$(programs)' $(lake_flag) $(some_missing_is_fine)

backfill: build ## month by month backwards until something blocks: make backfill FROM=2024-12 UNTIL=2023-01
	pipelines/backfill --run '$(call span_run,pipelines/runs/2024-12.toml)' --from '$(FROM)' --until '$(UNTIL)' --extract '$(programs)/extract' $(lake_flag)

test-cluster: build ## a sharded run over real sshd and real Slurm, with a machine that dies (root; installs packages)
	$(CARGO) build --package testkit
	.ci/test-cluster

test-stores: ## the lake's behaviour on real object stores, and a lying one (PyPI)
	.ci/test-stores

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

test-anvil: ## the tests that ask a real node (needs npm)
	$(CARGO) test --package extract --test it -- --ignored anvil

# BENCH holds further arguments, such as BENCH='--days 1' for a quick look; BENCH=--help tells them all.
bench-rpc: ## December 2024 against simulated providers: the bill, next to that of the plan's own algorithm
	$(CARGO) bench --package extract --bench rpc -- $(BENCH)

check-deps: ## who may lean on whom
	.ci/check-deps

ci: ## all that CI runs
	.ci/run
