# Every goal installs what it needs first. `make demo` needs Python 3.11 or newer; the others Node.js 20 or newer too.

.PHONY: help demo test check bench generate console setup clean

help:
	@echo 'make demo      money becomes energy and money again, on two chains, here and now: needs Python alone'
	@echo 'make test      every test: Python, forge, ape'
	@echo 'make check     format, lint, types, generated files'
	@echo 'make bench     gas, latency and throughput'
	@echo 'make generate  compile the contracts and write what is generated from them'
	@echo 'make console   ape console with a network ready to use'
	@echo 'make setup     install everything that development needs'
	@echo 'make clean     remove what was built or installed'

demo: .venv/base.stamp
	.venv/bin/energyshare demo

test: setup
	scripts/test

check: setup
	scripts/check

bench: setup
	scripts/bench

generate: setup
	scripts/generate

console: setup
	scripts/ape console

setup: .venv/dev.stamp node_modules/setup.stamp

.venv/base.stamp: requirements/base.txt pyproject.toml
	scripts/setup base

.venv/dev.stamp: requirements/dev.txt pyproject.toml
	scripts/setup dev

node_modules/setup.stamp: package.json package-lock.json .npmrc
	scripts/setup node

clean:
	rm -rf .venv node_modules build *.egg-info cache forge-cache forge-out contracts/.cache .ape .build
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find energyshare scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
