# `make test` runs every check, `make demo` shows what the program does.

HOST := $(shell rustc --version --verbose | sed -n 's/^host: //p')
RBUILD := target/$(HOST)/release/rbuild

.PHONY: build test demo packages bases clean-demo

build: packages
	cargo build --release --package rbuild

test: packages bases
	cargo xtask ci

demo: build
	scripts/demo $(RBUILD) target/demo

packages:
	scripts/packages

bases:
	scripts/bases target/bases nginx node postgres python redis

clean-demo:
	-[ ! -d target/demo/store ] || $(RBUILD) --root target/demo/store network prune --force
	rm -rf target/demo
