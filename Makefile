# Everything that a person or CI runs. `make help` lists it.
GO   ?= go
BIN  := bin/nudge
NPM  := events/clickhouse/embedded/npm
LINT := bin/golangci-lint

# The race detector needs a C compiler; where there is none the tests run without it.
RACE := $(shell $(GO) env CGO_ENABLED | grep -q 1 && command -v "$$($(GO) env CC)" >/dev/null 2>&1 && echo -race)

# A process with the race detector sleeps a second at its end, and the tests start hundreds. What the detector has
# found by then it has said, and it is the exit code.
export GORACE ?= atexit_sleep_ms=0

.DEFAULT_GOAL := help
.PHONY: help setup build demo test lint bench docs pictures fmt clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{split($$1, t, ":"); printf "  make %-8s %s\n", t[1], $$2}'

setup: .chdb/done ## fetch the embedded ClickHouse engine (npm, 110 MB) and the Go modules
	$(GO) mod download

# The lock file pins the engine by its hash. NUDGE_LIBCHDB, when set, is used instead.
.chdb/done: $(NPM)/package.json $(NPM)/package-lock.json $(NPM)/.npmrc tools/libchdb.sh
	sh tools/libchdb.sh $(NPM) .chdb

build: ## build bin/nudge
	$(GO) build -o $(BIN) ./cmd/nudge

demo: setup build ## a day of real shop data through the engine, and the report of it
	$(BIN) demo examples/shop

test: setup ## every test, with the race detector
	$(if $(RACE),,@echo 'no C compiler: the tests run without the race detector' >&2)
	sh tools/inmemory.sh $(GO) test $(RACE) -shuffle=on -timeout 20m ./...

lint: $(LINT) ## golangci-lint, as CI runs it
	$(LINT) run ./...

$(LINT): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

bench: setup ## the benchmark tables (takes minutes; one at a time)
	$(GO) run ./cmd/bench all

docs: setup ## write the generated pages of docs/ again
	$(GO) test ./channels/all ./cmd/nudge ./engine/check -run 'Docs' -update

pictures: setup ## the pictures of docs/webpush.md again (needs chromium, xvfb, xauth, xdotool, scrot)
	NUDGE_PICTURES=$(CURDIR)/docs xvfb-run -a -s '-screen 0 900x560x24' $(GO) test ./engine/e2etest -run TestPictures -count 1

fmt: $(LINT) ## format the Go code
	$(LINT) fmt ./...

clean: ## remove what was built and the demo's data
	rm -rf bin data
