# What one does with this repository; `make` alone lists it. Needs Rust (with rustfmt and clippy), a C compiler, and
# Go 1.26 or newer for the control plane that the tests start.

CARGO ?= cargo
# The Cargo profile of demo, cluster and run. "quick" (see Cargo.toml) has few optimisations and compiles fastest.
PROFILE ?= quick
QUICK = --locked --profile $(PROFILE) --no-default-features
BUILT = $(or $(CARGO_TARGET_DIR),target)/$(PROFILE)
SECONDS ?= 60

# The URL of `make run` for the API server of the current kubeconfig, and further flags of `outrigger serve`.
WEBHOOK_URL ?= https://127.0.0.1:9443
ARGS ?=

GO ?= go
# The folder of the control plane's programs, which another checkout may share. The tests read it too.
export TESTBED_BIN ?= $(CURDIR)/testbed/bin
# The user's kubectl, or else the built one.
KUBECTL ?= $(shell command -v kubectl || echo $(TESTBED_BIN)/kubectl)

# The image of `make deploy` and the docker targets, and its stage in the Dockerfile.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
IMG ?= outrigger:$(VERSION)
IMAGE ?= outrigger
PLATFORMS ?= linux/amd64,linux/arm64
DOCKER ?= docker
HELM ?= $(shell command -v helm || echo $(TESTBED_BIN)/helm)

# Prints the next step, so that a cold build of several minutes is not silent.
say = @printf '\n==> %s\n'

.NOTPARALLEL:
.PHONY: help build demo cluster run unregister install uninstall deploy undeploy docker-build docker-push docker-buildx build-installer e2e-test test test-istio test-istio-analyze test-oldest test-image test-arm64 test-upgrade faults memory memory-sync failpoints testbed lint bench bench-compare bench-instructions fuzz format clippy doc deny

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build outrigger
	$(CARGO) build --locked

demo: ## Build outrigger, start it without a cluster, send it the Pods of examples/, and show what it adds
	$(say) "Building outrigger (a first build compiles all dependencies: some minutes)"
	$(CARGO) build $(QUICK)
	$(say) "Starting the demo"
	@$(BUILT)/outrigger demo
	@printf '\nThen, on a real control plane (it is built first, with Go):\n\n  make cluster\n'

cluster: testbed ## Start a control plane with outrigger, and print how to use it; Ctrl-C stops both
	$(say) "Building outrigger (a first build compiles all dependencies: some minutes)"
	$(CARGO) build $(QUICK) --package outrigger --package outrigger-testbed
	$(say) "Starting the control plane"
	@exec $(BUILT)/outrigger-testbed

run: ## Run outrigger against the cluster of the current kubeconfig, which must reach WEBHOOK_URL
	$(KUBECTL) get namespace outrigger-system >/dev/null 2>&1 || $(KUBECTL) create namespace outrigger-system
	$(CARGO) build $(QUICK)
	@trap : INT TERM; $(BUILT)/outrigger serve --webhook-url $(WEBHOOK_URL) $(ARGS); status=$$?; \
	printf '\nThe webhooks stay registered: until outrigger runs again, new Pods that a SidecarSet may match are refused.\nTo remove them:\n\n  make unregister\n'; \
	exit $$status

unregister: ## Remove the webhooks that `make run` registered; SidecarSets and Pods stay
	$(KUBECTL) delete --ignore-not-found mutatingwebhookconfiguration/outrigger-mutating validatingwebhookconfiguration/outrigger-validating

# OpenKruise's CRD has a conversion webhook, of which an apply would leave a part.
install: ## Install the CRDs in the cluster of the current kubeconfig; they also replace OpenKruise's
	@case "$$($(KUBECTL) get crd sidecarsets.apps.kruise.io --ignore-not-found \
	-o jsonpath='{.spec.conversion.webhook.clientConfig.service.name}')" in kruise-*) \
	$(KUBECTL) patch crd sidecarsets.apps.kruise.io --type=merge -p '{"spec":{"conversion":{"strategy":"None","webhook":null}}}';; esac
	$(KUBECTL) apply --server-side --force-conflicts -f manifests/crds

uninstall: unregister ## Remove the CRDs including all SidecarSets, and the webhooks of `make run`; stop that first
	$(KUBECTL) delete --ignore-not-found -f manifests/crds

# Replaces the only image in the installer. No helm is needed.
with_image = sed 's|image: outrigger:$(VERSION)$$|image: $(IMG)|' manifests/install.yaml

deploy: ## Install CRDs, permissions and IMG in the cluster of the current kubeconfig, like `kubectl apply -f manifests/install.yaml`
	$(with_image) | $(KUBECTL) apply --server-side -f -

# First the ConfigMap that makes outrigger delete its webhook configurations, see docs/operations.md.
undeploy: ## Remove what `make deploy` installed, except for CRDs and namespace: SidecarSets stay
	$(KUBECTL) create configmap outrigger-disabled -n outrigger-system --dry-run=client -o yaml | $(KUBECTL) apply --server-side -f -
	$(KUBECTL) delete --ignore-not-found --wait -f manifests/install.yaml -l app.kubernetes.io/component!=crds
	$(KUBECTL) delete --ignore-not-found mutatingwebhookconfiguration/outrigger-mutating validatingwebhookconfiguration/outrigger-validating
	$(KUBECTL) delete --ignore-not-found -n outrigger-system configmap/outrigger-disabled

build-installer: ## Write dist/install.yaml with IMG
	@mkdir -p dist
	$(with_image) > dist/install.yaml

# The rendered chart after a Namespace.
manifests/install.yaml: $(shell find -L manifests/chart -type f) $(TESTBED_BIN)/helm
	@{ echo '# outrigger without helm: kubectl apply --server-side -f install.yaml. Made from the chart by `make manifests/install.yaml`.'; \
	echo '# Deleting all of it also deletes the CRDs, and with them all SidecarSets: see docs/operations.md.'; \
	printf -- '---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: outrigger-system\n  labels:\n    app.kubernetes.io/name: outrigger\n'; \
	printf '    app.kubernetes.io/component: crds # left by make undeploy\n    pod-security.kubernetes.io/enforce: restricted\n'; \
	$(TESTBED_BIN)/helm template outrigger manifests/chart --namespace=outrigger-system --no-hooks 2>/dev/null; } > $@

# Runs a command of the container engine, or says that there is none.
docker = @if $(DOCKER) version >/dev/null 2>&1; then set -x; $(1); \
	else echo "There is no container engine ($(DOCKER)). Run this on a machine with one: $(1)" >&2; exit 1; fi

docker-build: ## Build IMG from the stage IMAGE of the Dockerfile (outrigger, sync, k8s-gsidecar)
	$(call docker,$(DOCKER) build --target $(IMAGE) --tag $(IMG) .)

docker-push: ## Push IMG
	$(call docker,$(DOCKER) push $(IMG))

docker-buildx: ## Build IMG for PLATFORMS, and push it
	$(call docker,$(DOCKER) buildx build --platform $(PLATFORMS) --target $(IMAGE) --tag $(IMG) --push .)

test: format clippy doc testbed ## Check format, lints and documentation, then run all tests
	$(say) "Running the tests"
	$(CARGO) test --locked --workspace

test-istio: ## Check the output for developers and MeshServices with Istio's own code (a first build downloads and compiles pilot: minutes)
	$(say) "Building pilot and asking it"
	$(GO) test -C testbed/go/istio-routes -mod=readonly -buildvcs=false ./...

e2e-test: testbed ## Run the tests that need a control plane
	$(CARGO) test --locked --test cluster

test-image: ## Compile and assemble the images like the Dockerfile, run them, and print their sizes (minutes)
	$(say) "Compiling the program of the images"
	@manifests/image/test.sh amd64

test-arm64: ## The same for arm64, under qemu-user (many minutes); needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static
	$(say) "Compiling the program of the images for arm64"
	@manifests/image/test.sh arm64

# The version from which to upgrade.
OLD ?= b3f97eb
test-upgrade: testbed ## Upgrade from an older version's (OLD) manifests and program to the chart, and back, under load (minutes)
	$(say) "Building $(OLD) in a checkout of its own"
	@old=$$(mktemp -d) && trap 'git worktree remove --force '$$old EXIT && git worktree add --quiet --detach $$old $(OLD) && \
	env -u CARGO_TARGET_DIR $(CARGO) build --locked --manifest-path $$old/Cargo.toml && \
	OUTRIGGER_OLD=$$old $(CARGO) test --locked --test cluster -- an_older_version_is_upgraded

test-istio-analyze: ## Compare `outrigger check` with Istio's own code (a first build takes minutes)
	$(say) "Building outrigger and istioctl"
	$(CARGO) build --locked --release
	$(GO) build -C testbed/go/istio-analyze -mod=readonly -buildvcs=false -o $(TESTBED_BIN)/istioctl istio.io/istio/istioctl/cmd/istioctl
	$(say) "Comparing them"
	OUTRIGGER=$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release/outrigger ISTIOCTL=$(TESTBED_BIN)/istioctl $(GO) test -C testbed/go/istio-analyze -mod=readonly -buildvcs=false -count=1 -v ./...

test-oldest: ## Run the tests that need a control plane with the oldest supported Kubernetes
	@$(MAKE) --no-print-directory testbed $(OLDEST)
	$(say) "Running the tests against Kubernetes $(call version,kubernetes-oldest)"
	env $(OLDEST) $(CARGO) test --locked --test cluster

faults: testbed ## Run the tests of faults under load for longer than `make test`
	$(say) "Running the long tests"
	OUTRIGGER_LONG=1 $(CARGO) test --locked --test cluster -- certificates_that_cert_manager_renews
	OUTRIGGER_LONG=1 $(CARGO) test --locked --test cluster -- connections_that_idled_are_good
	OUTRIGGER_LONG=1 $(CARGO) test --locked --test cluster -- a_follower_is_in_step
	OUTRIGGER_LONG=1 $(CARGO) test --locked --test cluster -- while_etcd_hangs
	OUTRIGGER_LONG=1 $(CARGO) test --locked --test cluster -- a_leader_that_is_killed
	OUTRIGGER_LONG=1 $(CARGO) test --locked --test cluster -- no_job_is_led_beside_an_older_version
	OUTRIGGER_LONG=1 $(CARGO) test --locked --test cluster -- a_pod_right_after_its_namespace
	OUTRIGGER_LONG=1 $(CARGO) test --locked --test cluster -- a_rollout_of_1000_pods --nocapture
	OUTRIGGER_LONG=1 $(CARGO) test --locked --test cluster -- many_new_sets
	OUTRIGGER_LONG=1 $(CARGO) test --locked --release --test hostile -- --nocapture --test-threads=1

memory: testbed ## Measure the memory of a start with many SidecarSets
	$(say) "Building with all optimisations (minutes) and measuring"
	OUTRIGGER_LONG=1 $(CARGO) test --locked --release --test cluster -- a_start_beside_many_sets --nocapture

memory-sync: testbed ## Measure a file sync agent with 3,000 ConfigMaps: memory, first sync, latency, idle CPU
	$(say) "Building with all optimisations (minutes) and measuring"
	OUTRIGGER_LONG=1 $(CARGO) test --locked --release --test cluster -- an_agent_of_three_thousand --nocapture

failpoints: testbed ## Kill outrigger before and after each of its writes, and check the result (minutes)
	$(say) "Running the tests of failpoints"
	OUTRIGGER_LONG=1 $(CARGO) test --locked --test cluster -- after_a_kill_at_each_write

lint: format clippy doc deny ## Check format, lints, documentation and the rules for dependencies

# The program that benchmarks compare this one with, built once from the version OLD.
OLD_PROGRAM ?= $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/old/release/outrigger
$(OLD_PROGRAM):
	$(say) "Building $(OLD) with all optimisations (minutes)"
	@old=$$(mktemp -d) && trap 'git worktree remove --force '$$old EXIT && git worktree add --quiet --detach $$old $(OLD) && \
	$(CARGO) build --locked --release --bin outrigger --manifest-path $$old/Cargo.toml --target-dir $(patsubst %/release/outrigger,%,$@)

measure = OLD=$(OLD_PROGRAM) $(CARGO) bench --locked --bench load --

bench: $(OLD_PROGRAM) ## Measure reviews beside an older version (OLD) and the least there could be; writes docs/benchmarks
	$(say) "Building with all optimisations (minutes) and measuring"
	$(measure) --write
	$(CARGO) bench --locked --bench injection

bench-compare: $(OLD_PROGRAM) ## The same for a few scenarios; fails where a goal is missed
	$(say) "Building with all optimisations (minutes) and measuring"
	$(measure) quick --strict

bench-instructions: $(OLD_PROGRAM) ## Count the instructions of a review beside an older version's (OLD); needs valgrind
	$(say) "Building with all optimisations (minutes) and counting"
	$(measure) instructions

fuzz: ## Fuzz the review of Pods for SECONDS (default 60); needs cargo-fuzz (cargo install cargo-fuzz --locked)
	$(say) "Building the fuzzer and running it for $(SECONDS) s"
	RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none review -- -max_total_time=$(SECONDS) -max_len=16384

format:
	$(say) "Checking the format"
	$(CARGO) fmt --all --check

clippy:
	$(say) "Running clippy (a first build compiles all dependencies: some minutes)"
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

doc:
	$(say) "Building the documentation"
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

deny:
	$(say) "Checking dependencies, their licences and sources"
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --offline --locked check bans licenses sources; \
	else \
		echo "skipped: cargo-deny is not installed (cargo install cargo-deny --locked)"; \
	fi

# The control plane. A program is rebuilt when the versions in its Go module change. Go's cache makes later builds
# take seconds.

# With KUBEBUILDER_ASSETS set, etcd, kube-apiserver and kubectl come from there.
CONTROL_PLANE := $(if $(KUBEBUILDER_ASSETS),,etcd kube-apiserver kubectl) kube-controller-manager kube-scheduler
# The Go module of Kubernetes' programs. A second one builds the oldest supported version in the same way into its own
# folder.
KUBERNETES_MODULE ?= kubernetes
OLDEST = KUBERNETES_MODULE=kubernetes-oldest TESTBED_BIN=$(CURDIR)/testbed/bin-oldest KUBEBUILDER_ASSETS=
version = $(shell sed -n 's|.*k8s.io/kubernetes v\([^ ]*\).*|\1|p' testbed/go/$(1)/go.mod)
KUBERNETES := $(call version,$(KUBERNETES_MODULE))
KUBERNETES_MINOR := $(word 2,$(subst ., ,$(KUBERNETES)))
# The version that Kubernetes' programs report.
KUBERNETES_VERSION := -X k8s.io/component-base/version.gitVersion=v$(KUBERNETES) \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(KUBERNETES_MINOR) \
	-X k8s.io/client-go/pkg/version.gitVersion=v$(KUBERNETES)

# Builds a package of the Go module into the target.
go_build = CGO_ENABLED=0 $(GO) build -C testbed/go/$(1) -mod=readonly -buildvcs=false -trimpath \
	-ldflags "-s -w $(3)" -o $@ $(2) && touch $@
# Prints the folder of a dependency of the Go module, and downloads it if necessary.
go_folder = $$(cd testbed/go/$(1) && $(GO) mod download $(2) && $(GO) list -mod=readonly -m -f '{{.Dir}}' $(2))
go_files = testbed/go/$(1)/go.mod testbed/go/$(1)/go.sum

testbed: $(addprefix $(TESTBED_BIN)/,$(CONTROL_PLANE) helm kwok kwok-stages.yaml cert-manager cert-manager-crds.yaml istio-crds.yaml) ## Build the control plane for tests

$(TESTBED_BIN)/etcd: $(call go_files,$(KUBERNETES_MODULE))
	$(say) "Building etcd"
	$(call go_build,$(KUBERNETES_MODULE),go.etcd.io/etcd/server/v3)

$(TESTBED_BIN)/kube%: $(call go_files,$(KUBERNETES_MODULE))
	$(say) "Building $(@F) $(KUBERNETES) (the first of Kubernetes' programs takes some minutes)"
	$(call go_build,$(KUBERNETES_MODULE),k8s.io/kubernetes/cmd/$(@F),$(KUBERNETES_VERSION))

$(TESTBED_BIN)/kwok: $(call go_files,kwok)
	$(say) "Building kwok"
	$(call go_build,kwok,sigs.k8s.io/kwok/cmd/kwok)

$(TESTBED_BIN)/cert-manager: $(call go_files,cert-manager) testbed/go/cert-manager/main.go
	$(say) "Building cert-manager's controllers"
	$(call go_build,cert-manager,.)

$(TESTBED_BIN)/helm: $(call go_files,helm)
	$(say) "Building helm (some minutes)"
	$(call go_build,helm,helm.sh/helm/v4/cmd/helm)

$(TESTBED_BIN)/kwok-stages.yaml: $(call go_files,kwok)
	$(say) "Taking kwok's stages from its module"
	@mkdir -p $(@D)
	@folder=$(call go_folder,kwok,sigs.k8s.io/kwok)/kustomize/stage && \
	for stage in node/fast/node-initialize pod/fast/pod-complete pod/fast/pod-delete; do \
		cat $$folder/$$stage.yaml && echo ---; \
	done > $@

$(TESTBED_BIN)/cert-manager-crds.yaml: $(call go_files,cert-manager)
	$(say) "Taking cert-manager's CRDs from its module"
	@mkdir -p $(@D)
	@folder=$(call go_folder,cert-manager,github.com/cert-manager/cert-manager)/deploy/crds && \
	for crd in $$folder/*.yaml; do cat $$crd && echo ---; done > $@

$(TESTBED_BIN)/istio-crds.yaml: $(call go_files,istio)
	$(say) "Taking Istio's CRDs from istio.io/api"
	@mkdir -p $(@D)
	@cat $(call go_folder,istio,istio.io/api)/kubernetes/customresourcedefinitions.gen.yaml > $@

.DELETE_ON_ERROR:
