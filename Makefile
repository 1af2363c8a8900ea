# Everything that a person or CI runs. `make help` lists it.
GO        ?= go
BIN       := bin/nudge
LIBCHDB   := .chdb/node_modules
SEED      ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup build demo test lint bench fmt clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(LIBCHDB)/.done ## fetch the embedded ClickHouse engine (npm, 110 MB) and the Go modules
	$(GO) mod download

$(LIBCHDB)/.done: .chdb/package-lock.json .chdb/package.json
	cd .chdb && npm ci --no-audit --no-fund
	touch $@

build: ## build bin/nudge
	$(GO) build -o $(BIN) ./cmd/nudge

demo: setup build ## a day of real shop data through the engine, and the report of it
	$(BIN) demo examples/shop

test: setup ## every test, with the race detector
	$(GO) test -race -shuffle=on ./...

lint: bin/golangci-lint ## golangci-lint, as CI runs it
	bin/golangci-lint run ./...

bin/golangci-lint: tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

bench: setup ## the benchmark tables (takes minutes; one at a time)
	$(GO) run ./cmd/bench all

fmt: bin/golangci-lint ## format the Go code
	bin/golangci-lint fmt ./...

clean: ## remove what was built and the demo's data
	rm -rf bin data
