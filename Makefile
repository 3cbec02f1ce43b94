# The words of the project. `make` alone prints them.

.PHONY: help run build test demo drill check bench

help:
	@echo "make run        build what is needed and serve; LAN=1: for other machines too; PORT=9000: on another port"
	@echo "make demo       the same, with a simulated class of 30"
	@echo "make build      server with console, optimised: target/release/mimamori"
	@echo "make test       install what the tests need, run all of them"
	@echo "make check      formatting, lints, docs, dependency rules; no servers"
	@echo "make drill      the long and timed tests: figures beside their targets"
	@echo "make bench      the benchmarks: figures beside what they compare with"

run:
	@exec env LAN='$(LAN)' PORT='$(PORT)' scripts/run.sh

demo:
	@exec env LAN='$(LAN)' PORT='$(PORT)' scripts/demo.sh

build:
	@scripts/build.sh release

test:
	@scripts/test.sh

check:
	@scripts/check.sh

drill:
	@scripts/drill.sh

bench:
	@scripts/bench.sh
