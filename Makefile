# Bollwerk. The two commands of the README: `make run` and `make test`.
SHELL := /bin/bash
GO ?= go
BIN := bin/bollwerk
AGENT := bin/bollwerk-agent
export CGO_ENABLED := 0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

.PHONY: build run test test-vm unit system race vet fmt staticcheck lint bench bench-agent generate starter clean deps fuzz

build: $(BIN) $(AGENT)

# The go command decides what is stale; it is asked every time.
.PHONY: $(BIN)
$(BIN):
	@mkdir -p bin
	$(GO) build -trimpath -ldflags "-s -w -X main.buildTag=$(VERSION)" -o $(BIN) ./cmd/bollwerk

.PHONY: $(AGENT)
$(AGENT):
	@mkdir -p bin
	$(GO) build -trimpath -ldflags "-s -w -X main.buildTag=$(VERSION)" -o $(AGENT) ./cmd/bollwerk-agent

# run builds the programs, loads the advisories that ship with it, scans this machine
# and an image made on the spot, says what to do, and attacks a container in front of
# the agent.
run: build
	@test/run.sh $(BIN) $(AGENT)

# test runs everything that has a test and installs what it needs.
test: deps
	@test/all.sh

deps:
	@test/deps.sh

unit:
	$(GO) test ./...

race:
	CGO_ENABLED=1 $(GO) test -race ./...

vet:
	$(GO) vet ./...

fmt:
	@out=$$(git ls-files '*.go' | xargs gofmt -l); if [ -n "$$out" ]; then echo "not gofmt-ed:"; echo "$$out"; exit 1; fi

staticcheck:
	$(GO) tool staticcheck ./...

lint: fmt vet staticcheck

# bench builds the bench image once (cached by its recipe) and prints ratios to
# yardsticks measured in the same run.
bench: build deps
	@test/bench/run.sh $(BIN)

# bench-agent measures the agent against the same machine without it.
bench-agent: build deps
	@$(GO) run ./test/agentbench -agent $(AGENT)

# test-vm runs the sensor's tests and the attacks on real kernels with BPF LSM, in QEMU.
test-vm: deps
	@test/vm.sh all

# generate makes the BPF objects and everything else that is generated.
generate:
	$(GO) generate ./sensor/bpf ./profile

# fuzz gives every fuzz target of the module a short turn; FUZZTIME=1m for longer.
fuzz:
	@test/fuzz.sh

clean:
	rm -rf bin dist
