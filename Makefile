# What one does with this repository; `make` alone lists it. Needs Rust (with rustfmt and clippy) and a C compiler.

CARGO ?= cargo
# How the demo is built: "quick" (see Cargo.toml) is optimised enough for honest latencies and builds faster than "release".
PROFILE ?= quick
SECONDS ?= 60

# Prints what comes next, so that a cold build of some minutes is not silent.
say = @printf '\n==> %s\n'

.NOTPARALLEL:
.PHONY: help demo test lint bench fuzz format clippy doc deny

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Build outrigger, start it without a cluster, send it the Pods of examples/ and show what it adds
	$(say) "Building outrigger (a first build compiles all dependencies: some minutes)"
	$(CARGO) build --locked --profile $(PROFILE)
	$(say) "Starting the demo"
	$(CARGO) run --locked --quiet --profile $(PROFILE) -- demo

test: format clippy doc ## Check format, lints and documentation, then run all tests
	$(say) "Running the tests"
	$(CARGO) test --locked

lint: format clippy doc deny ## Check format, lints, documentation and the rules for dependencies

bench: ## Measure reviews, in the process and over TLS, beside the goals; see docs/benchmarks.md
	$(say) "Building with all optimisations (minutes) and measuring"
	$(CARGO) bench --locked --bench injection --bench load

fuzz: ## Fuzz the review of Pods for SECONDS (default 60); needs cargo-fuzz (cargo install cargo-fuzz --locked)
	$(say) "Building the fuzzer and running it for $(SECONDS) s"
	RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none review -- -max_total_time=$(SECONDS) -max_len=16384

format:
	$(say) "Checking the format"
	$(CARGO) fmt --check

clippy:
	$(say) "Running clippy (a first build compiles all dependencies: some minutes)"
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc:
	$(say) "Building the documentation"
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

deny:
	$(say) "Checking dependencies, their licences and sources"
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --offline --locked check bans licenses sources; \
	else \
		echo "skipped: cargo-deny is not installed (cargo install cargo-deny --locked)"; \
	fi
