# Needs Go 1.26, Node 20 or later and npm. Everything else is fetched.

GO      ?= go
BINARY  := bin/sidecar
SHIM    := shim/dist/index.js
MODULES := shim/node_modules/.package-lock.json
GOFILES := go.mod go.sum $(shell find cmd core host rpc -name '*.go')
# One way to compile for all but the race detector, so that it happens once.
STATIC  := CGO_ENABLED=0 GOFLAGS="$(GOFLAGS) -trimpath" $(GO)
TSFILES := shim/build.mjs shim/package.json shim/tsconfig.json $(shell find shim/src -name '*.ts')

.PHONY: build demo test unit shim-test e2e bench record generate lint deps clean help

help:       ## list the targets
	@grep -hE '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1|/' | column -t -s '|'

build: $(BINARY) $(SHIM) ## write bin/sidecar and shim/dist/

$(BINARY): $(GOFILES)
	$(STATIC) build -ldflags '-s -w' -o $@ ./cmd/sidecar

$(SHIM): $(TSFILES) $(MODULES)
	cd shim && npm run --silent build

deps: $(MODULES) ## fetch what the shim is built and tested with, OpenCode among it

# Not `npm ci`: it wants every platform's OpenCode in the lock file, and registries
# that mirror only some of them could not install any.
$(MODULES): shim/package.json shim/package-lock.json
	cd shim && npm install --no-save --no-audit --no-fund --loglevel=error
	@touch $@

demo: build ## watch the real OpenCode run six background agents
	$(STATIC) run ./host/hosttest/demo

test: lint unit shim-test e2e ## everything, as CI runs it

unit: $(MODULES) ## Go tests with the race detector
	$(GO) test -race -p 4 $$($(GO) list ./... | grep -v /e2e) # half of their time is waiting for disks and pauses

shim-test: build ## types and tests of the shim, on Node and on OpenCode's own runtime
	cd shim && npm run --silent typecheck && npm run --silent test && npm run --silent test:bun

e2e: build ## the real OpenCode with the real shim and binary
	$(STATIC) test -count=1 -p 2 -timeout 15m ./cmd/sidecar/e2e/...

bench: build ## print the performance table
	$(STATIC) run ./cmd/sidecar/e2e/bench

record: build ## record testdata/transcripts from the real OpenCode again
	$(STATIC) run ./cmd/sidecar/e2e/record

generate: ## write the files that come from the Go sources
	$(GO) generate ./cmd/sidecar

lint: ## formatting, vet, and the other platforms
	@test -z "$$(gofmt -l cmd core host rpc)" || { gofmt -d cmd core host rpc; exit 1; }
	$(STATIC) vet ./...
	GOOS=darwin GOARCH=arm64 $(GO) build -gcflags=all='-N -l' -o /dev/null ./cmd/sidecar
	GOOS=windows GOARCH=amd64 $(GO) build -gcflags=all='-N -l' -o /dev/null ./cmd/sidecar

clean: ## remove what was built
	rm -rf bin shim/dist
