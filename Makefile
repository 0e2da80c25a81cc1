# Gantry: see README.md. Every target installs what it needs (Debian 12, as root) and says so.
BUILD   ?= build
BUILDTYPE ?= release
PREFIX  ?= /usr
DESTDIR ?=
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
DIST    ?= gantry-$$(cat VERSION).tar.gz
FUZZ_SECONDS ?= 60
# no: without Swagger UI and ReDoc, which are fetched from the npm registry when building
APIDOCS ?= yes
JOBS    ?= $(shell nproc)
MESON    = meson
# Debian's Python owns the packages that the tests use; another python3 may come first in PATH.
PYTHON   = /usr/bin/python3

INSTALL_ENV = BUILD='$(BUILD)' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' SYSCONFDIR='$(SYSCONFDIR)' UNITDIR='$(UNITDIR)' \
  APIDOCS_DIR='$(if $(filter yes,$(APIDOCS)),$(BUILD)/share/apidocs)'

DEPS_BUILD = gcc meson ninja-build pkg-config libuv1-dev libnghttp2-dev libssl-dev libwslay-dev \
  libyaml-dev libjansson-dev uthash-dev node-llhttp zlib1g-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler \
  libsqlite3-dev libsodium-dev libvirt-dev
DEPS_RUN   = s6 busybox-static
DEPS_CHECK = libcmocka-dev valgrind python3-pytest python3-websockets python3-h2 python3-grpcio python3-protobuf \
  curl openssl iproute2 docker.io docker-compose iptables nghttp2-client shellcheck chromium python3-jsonschema python3-yaml zsh fish \
  strace passwd procps libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils genisoimage dnsmasq-base ovmf
DEPS_DEB   = dpkg-dev debhelper build-essential fakeroot
DEPS_PACKAGES = $(DEPS_DEB) debootstrap lintian systemd systemd-container man-db mandoc groff
DEPS_FUZZ  = clang libclang-rt-14-dev
DEPS_BENCH = nginx-light wrk libgrpc-dev

.PHONY: all deps deps-build deps-npm deps-run deps-check deps-deb deps-packages deps-fuzz deps-bench build run check check-unit \
  check-asan check-valgrind check-e2e check-fuzz bench fuzz docs-config install uninstall dist deb image check-packages fmt lint clean help

all: build

help: ## what the targets do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# $(call need,PACKAGES): installs those that are missing, and nothing when none is.
define need
	@missing=""; for p in $(1); do \
	  [ "$$(dpkg-query -W -f='$${db:Status-Status}' $$p 2>/dev/null)" = installed ] || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null \
	  || { echo "could not install$$missing (are you root on Debian 12?)" >&2; exit 1; }; fi
endef

deps: deps-build deps-run deps-check ## install what building, running and testing need
deps-build:
	$(call need,$(DEPS_BUILD))
ifeq ($(APIDOCS),yes)
	@command -v npm >/dev/null || $(MAKE) -s deps-npm
endif
deps-npm:
	$(call need,nodejs npm)
deps-run:
	$(call need,$(DEPS_RUN))
deps-check: $(BUILD)/tools/promtool
	$(call need,$(DEPS_CHECK))
# Only the checker of Debian's package: installing the package would start a Prometheus.
$(BUILD)/tools/promtool: | $(BUILD)/build.ninja
	@mkdir -p $(BUILD)/tools/apt && cd $(BUILD)/tools/apt && { apt-get update -qq && apt-get download -qq prometheus && \
	  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x -C .. --strip-components=3 ./usr/bin/promtool; } >/dev/null 2>&1 \
	  || echo "no promtool: its test is skipped"
	@rm -rf $(BUILD)/tools/apt
deps-deb:
	$(call need,$(DEPS_DEB))
deps-packages:
	$(call need,$(DEPS_PACKAGES))
deps-fuzz:
	$(call need,$(DEPS_FUZZ))
deps-bench:
	$(call need,$(DEPS_BENCH))

$(BUILD)/build.ninja: | deps-build
	$(MESON) setup $(BUILD) --buildtype=$(BUILDTYPE) --prefix=$(PREFIX) -Dtests=false >/dev/null

build: deps-build $(BUILD)/build.ninja ## build/gantryd, build/gantry, build/gantry-agent
	@ninja -C $(BUILD) -j $(JOBS) --quiet
	@for p in gantryd gantry gantry-agent; do ln -sf src/$$p/$$p $(BUILD)/$$p.tmp 2>/dev/null; mv -f $(BUILD)/$$p.tmp $(BUILD)/$$p; done
ifeq ($(APIDOCS),yes)
	@$(MAKE) -s $(BUILD)/share/apidocs
endif

$(BUILD)/share/apidocs: $(wildcard web/apidocs/*)
	@mkdir -p $(BUILD)/share
	@sh web/apidocs/build.sh $(BUILD)/share/apidocs $(BUILD)/npm

run: build deps-run ## a demonstration on real parts; Ctrl-C ends it
	@BUILD=$(BUILD) sh packaging/demo/run.sh

check: build deps-run deps-check deps-packages deps-fuzz ## all tests: unit, faults, sanitizers, valgrind, end to end, packages, fuzzers' corpora
	@JOBS=$(JOBS) BUILD=$(BUILD) PYTHON=$(PYTHON) sh tests/run.sh all

check-unit check-asan check-valgrind check-e2e check-e2e-asan: check-%: build deps-run deps-check ## one part of check
	@JOBS=$(JOBS) BUILD=$(BUILD) PYTHON=$(PYTHON) sh tests/run.sh $*

fuzz: deps-build deps-fuzz ## each fuzzer for FUZZ_SECONDS (60)
	@JOBS=$(JOBS) sh tests/run.sh fuzz $(FUZZ_SECONDS)

docs-config: build ## the pages and the default file that the tables of configuration and documents make
	@$(BUILD)/gantryd --print-config default > packaging/gantryd.yml
	@$(BUILD)/gantryd --print-config reference > docs/configuration.md
	@$(BUILD)/gantryd --print-config man > docs/man/gantryd.yml.5
	@$(BUILD)/gantryd --print-config workload > docs/workload.md

bench: build deps-run deps-check deps-bench ## ratios against nginx, the raw engine, the s6 tools, virsh; BENCH="PART..." for some
	@BUILD=$(BUILD) PYTHON=$(PYTHON) sh bench/run.sh $(BENCH)

install: build ## DESTDIR, PREFIX (/usr), SYSCONFDIR (/etc), UNITDIR are honoured
	@$(INSTALL_ENV) sh packaging/install.sh install

uninstall: ## removes what install put there; a changed configuration stays
	@$(INSTALL_ENV) sh packaging/install.sh uninstall

dist: ## gantry-VERSION.tar.gz of the committed tree, the same file each time
	@git archive --format=tar --prefix=gantry-$$(cat VERSION)/ HEAD | gzip -n -9 >$(DIST)

image: deb ## container image gantry, on BASE
	docker build $(if $(BASE),--build-arg BASE=$(BASE)) -t gantry -f packaging/docker/Dockerfile $(BUILD)/deb

deb: build deps-deb ## Debian packages gantryd, gantry, gantry-agent in build/deb
	@BUILD=$(BUILD) JOBS=$(JOBS) sh packaging/deb.sh $(BUILD)/deb

check-packages: build deps-run deps-check deps-packages ## make install, unit, manuals, packages in a chroot, image
	@JOBS=$(JOBS) BUILD=$(BUILD) PYTHON=$(PYTHON) sh tests/run.sh packages

fmt: ## clang-format over the sources
	$(call need,clang-format)
	@git ls-files '*.c' '*.h' | xargs clang-format -i

lint: deps-build build ## clang-tidy, shellcheck, the list of banned functions, file and function lengths
	$(call need,clang-tidy clang-format shellcheck)
	@sh tests/lint.sh $(BUILD)

clean: ## removes the build folders
	rm -rf $(BUILD) build-asan build-test build-fuzz
