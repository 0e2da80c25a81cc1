#!/bin/sh
# Tests of everything that installs Gantry: make install, the unit, the manual pages, the Debian packages in a fresh
# chroot and under a booted systemd, the container image. usage: tests/packages/run.sh [PART...]; ends with "N passed, N failed".
# BUILD is the folder with the built programs. What is downloaded is kept in CACHE (build-packages).
# Needs root: a chroot, namespaces, an engine.
set -u
cd "$(dirname "$0")/../.." || exit 2
BUILD=${BUILD:-build}
CACHE=${CACHE:-build-packages}
PYTHON=${PYTHON:-/usr/bin/python3}
passed=0
failed=0
mkdir -p "$CACHE"
work=$(mktemp -d /tmp/gantry-packages.XXXXXX) || exit 2
trap 'rm -rf --one-file-system "$work"' EXIT

say() { printf '\n== %s\n' "$*"; }

# check NAME COMMAND...: one test.
check() {
    name=$1
    shift
    if "$@" >"$work/check.log" 2>&1; then
        passed=$((passed + 1))
        echo "ok: $name"
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        tail -n 30 "$work/check.log"
    fi
}

# take_results FILE: what a script in the chroot printed.
take_results() {
    cat "$1"
    passed=$((passed + $(grep -c '^ok: ' "$1")))
    failed=$((failed + $(grep -c '^FAILED: ' "$1")))
}

# --- make install ---

install_and_compare() {
    make -s install BUILD="$BUILD" DESTDIR="$work/dest" PREFIX="$1" || return 1
    (cd "$work/dest" && find . -type f -o -type l | sort) >"$work/installed"
    for f in sbin/gantryd bin/gantry bin/gantry-agent lib/gantry/gantry-agent share/man/man8/gantryd.8 \
        share/man/man1/gantry.1 share/man/man8/gantry-agent.8 lib/systemd/system/gantryd.service lib/tmpfiles.d/gantry.conf \
        lib/sysusers.d/gantry.conf share/gantry/s6-overlay/s6-rc.d/gantry-agent/run; do
        grep -qx "\.$1/$f" "$work/installed" || { echo "not installed: $1/$f"; return 1; }
    done
    for page in docs/man/*; do
        grep -q "/${page##*/}$" "$work/installed" || { echo "not installed: $page"; return 1; }
    done
    grep -q "^ExecStart=$1/sbin/gantryd" "$work/dest$1/lib/systemd/system/gantryd.service" || return 1
    "$work/dest$1/bin/gantry-agent" --version && "$work/dest$1/bin/gantry" --version && "$work/dest$1/sbin/gantryd" --version &&
        "$work/dest$1/sbin/gantryd" --check-config --config "$work/dest/etc/gantry/config.yml"
}

keeps_configuration() {
    echo "# mine" >>"$work/dest/etc/gantry/config.yml"
    make -s install BUILD="$BUILD" DESTDIR="$work/dest" PREFIX=/usr && grep -qx "# mine" "$work/dest/etc/gantry/config.yml"
}

uninstall_keeps_changes() {
    make -s uninstall BUILD="$BUILD" DESTDIR="$work/dest" PREFIX=/usr || return 1
    left=$(cd "$work/dest" && find . -type f -o -type l)
    [ "$left" = ./etc/gantry/config.yml ] || { echo "left: $left"; return 1; }
}

uninstall_all() {
    make -s uninstall BUILD="$BUILD" DESTDIR="$work/dest" PREFIX=/usr/local || return 1
    left=$(cd "$work/dest" && find . -type f -o -type l -o -type d -name 'gantry*')
    [ -z "$left" ] || { echo "left: $left"; return 1; }
}

part_install() {
    say "make install and uninstall"
    check "install with PREFIX=/usr/local" install_and_compare /usr/local
    check "uninstall leaves nothing" uninstall_all
    rm -rf "$work/dest"
    check "install with PREFIX=/usr" install_and_compare /usr
    check "a second install keeps a changed configuration" keeps_configuration
    check "uninstall keeps only the changed configuration" uninstall_keeps_changes
    rm -rf "$work/dest"
}

# --- make dist ---

dist_twice() {
    make -s dist DIST="$work/1.tar.gz" && sleep 1 && make -s dist DIST="$work/2.tar.gz" && cmp "$work/1.tar.gz" "$work/2.tar.gz"
}

dist_builds() {
    mkdir "$work/dist" && tar -xzf "$work/1.tar.gz" -C "$work/dist" --strip-components=1 || return 1
    [ -f "$work/dist/Makefile" ] && [ ! -e "$work/dist/.git" ] && make -s -C "$work/dist" build APIDOCS=no JOBS="${JOBS:-$(nproc)}" &&
        "$work/dist/build/gantry" --version
}

part_dist() {
    say "make dist"
    check "two tarballs of one tree are the same file" dist_twice
    check "the tarball builds" dist_builds
    rm -rf "$work/dist"
}

# --- unit and manual pages ---

unit_verifies() {
    # It names its programs; systemd looks for them.
    mkdir -p "$work/unit" && sed "s,/usr/sbin/gantryd,$(readlink -f "$BUILD/src/gantryd/gantryd"),; /^Documentation=/d" packaging/systemd/gantryd.service \
        >"$work/unit/gantryd.service" && systemd-analyze verify --man=no "$work/unit/gantryd.service" 2>"$work/unit/log"
    grep gantryd.service "$work/unit/log" && return 1
    return 0
}

manual_is_clean() {
    mandoc -T lint -W warning "$1" || return 1
    out=$(man --warnings -E UTF-8 -l "$1" 2>&1 >/dev/null)
    [ -z "$out" ] || { echo "$out"; return 1; }
}

# Options that a program tells of in its help are in its page.
manual_is_complete() {
    "$BUILD/src/$1/$1" --help 2>&1 | grep -oE -- '--[a-z][a-z-]+' | sort -u >"$work/options"
    sed 's/\\-/-/g' "$2" >"$work/page"
    while read -r o; do grep -q -e "$o" "$work/page" || { echo "$2 does not tell of $o"; return 1; }; done <"$work/options"
}

part_units() {
    say "unit and manual pages"
    check "systemd accepts the unit" unit_verifies
    check "its exposure is below 3.0" systemd-analyze security --offline=yes --threshold=30 --no-pager packaging/systemd/gantryd.service
    for page in docs/man/*; do check "no warnings in $page" manual_is_clean "$page"; done
    check "gantryd(8) has all options" manual_is_complete gantryd docs/man/gantryd.8
    check "gantry(1) has all options" manual_is_complete gantry docs/man/gantry.1
    check "gantry-agent(8) has all options" manual_is_complete gantry-agent docs/man/gantry-agent.8
}

# --- Debian packages ---

build_packages() { BUILD=$BUILD JOBS=${JOBS:-$(nproc)} sh packaging/deb.sh "$CACHE/deb"; }

# The project has no mail domain of its own; everything else counts.
lint_packages() {
    lintian --allow-root --fail-on error,warning --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog "$CACHE"/deb/*.changes
}

# The first Debian archive in the machine's own apt configuration that has bookworm itself.
mirror() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null | awk '
        /^URIs:/ {uri = $2}
        /^Suites:/ {for (i = 2; i <= NF; i++) if ($i == "bookworm" && uri != "") {print uri; exit}}
        /^deb / {for (i = 2; i < NF; i++) if ($i ~ /^[a-z]+:\/\// && $(i + 1) == "bookworm") {print $i; exit}}'
}

make_base() {
    [ -f "$CACHE/base.tar" ] && return 0
    m=$(mirror)
    [ -n "$m" ] || { echo "no Debian archive with bookworm in /etc/apt"; return 1; }
    debootstrap --variant=minbase bookworm "$work/base" "$m" || return 1
    tar -C "$work/base" -cf "$CACHE/base.tar.tmp" . && mv "$CACHE/base.tar.tmp" "$CACHE/base.tar" && rm -rf "$work/base"
}

# repack FOLDER VERSION: the same packages with another version; "changed" also gets another default configuration.
repack() {
    mkdir -p "$1"
    for deb in "$CACHE"/deb/*.deb; do
        p=$(dpkg-deb -f "$deb" Package)
        rm -rf "$work/repack" && dpkg-deb -R "$deb" "$work/repack" || return 1
        sed -i "s/^Version: .*/Version: $2/; s/(= [^)]*)/(= $2)/g" "$work/repack/DEBIAN/control"
        if [ "$p" = gantryd ] && [ "${3:-}" = changed ]; then
            echo "# another default" >>"$work/repack/etc/gantry/config.yml"
            (cd "$work/repack" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums)
        fi
        dpkg-deb --root-owner-group -b "$work/repack" "$1" || return 1
    done
}

make_root() {
    root=$work/root
    mkdir -p "$root" && tar -C "$root" -xf "$CACHE/base.tar" || return 1
    cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null
    mkdir -p "$root/test/1" "$CACHE/archives/partial" "$root/var/cache/apt/archives" || return 1
    cp "$CACHE"/deb/*.deb "$root/test/1" && repack "$root/test/2" "$(cat VERSION)+next1" &&
        repack "$root/test/3" "$(cat VERSION)+next2" changed && cp tests/packages/inside.sh "$root/test"
}

# in_root PHASE: inside.sh in the chroot, in namespaces that end with it. "try" has a network of its own: lo.
in_root() {
    net=
    [ "$1" = try ] && net=--net
    # shellcheck disable=SC2016,SC2086
    unshare --mount --pid --fork --kill-child $net sh -c '
        mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --bind "$2" "$1/var/cache/apt/archives" || exit 1
        [ "$3" = try ] && { ip link set lo up || exit 1; }
        exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" sh /test/inside.sh "$3"' - "$root" "$CACHE/archives" "$1"
}

part_deb() {
    say "Debian packages in a fresh chroot"
    check "they build" build_packages
    check "lintian finds nothing" lint_packages
    check "base system" make_base
    check "fresh chroot" make_root
    check "download of what they need" in_root download
    in_root try >"$work/try.log" 2>&1 || echo "FAILED: inside.sh ended before its end" >>"$work/try.log"
    take_results "$work/try.log"
}

# --- a booted system ---

# The base system with systemd and what the packages need, so that booting it needs no network.
make_booted() {
    [ -f "$CACHE/booted.tar" ] && return 0
    in_root systemd || return 1
    tar -C "$work/root" --one-file-system --exclude=./test/* -cf "$CACHE/booted.tar.tmp" . && mv "$CACHE/booted.tar.tmp" "$CACHE/booted.tar"
}

make_booted_root() {
    mkdir -p "$work/booted" && tar -C "$work/booted" -xf "$CACHE/booted.tar" || return 1
    cp -R "$work/root/test/1" "$work/root/test/2" tests/packages/booted.sh "$work/booted/test" || return 1
    cat >"$work/booted/etc/systemd/system/gantry-test.service" <<END
[Unit]
After=multi-user.target
[Service]
Type=exec
ExecStart=/bin/sh /test/booted.sh
END
    mkdir -p "$work/booted/etc/systemd/system/default.target.wants"
    ln -s ../gantry-test.service "$work/booted/etc/systemd/system/default.target.wants"
}

boot() {
    timeout -s KILL 600 systemd-nspawn -q -D "$work/booted" --boot --private-network --register=no --keep-unit --console=pipe \
        --machine "gantry-test-$$" </dev/null >"$work/boot.log" 2>&1
    [ -f "$work/booted/test/booted.log" ] || cat "$work/boot.log"
    grep -qx end "$work/booted/test/booted.log"
}

part_systemd() {
    say "gantryd.service under systemd, in a container"
    [ -d "$CACHE/deb" ] || check "packages" build_packages
    check "base system" make_base
    [ -d "$work/root" ] || check "fresh chroot" make_root
    check "base system with systemd" make_booted
    check "fresh system" make_booted_root
    check "it boots, and runs all tests" boot
    [ -f "$work/booted/test/booted.log" ] && take_results "$work/booted/test/booted.log"
}

# --- container image ---

# An engine of the tests' own, as for the end-to-end tests; it ends with this script's end of its input.
start_engine() {
    mkfifo "$work/engine" || return 1
    "$PYTHON" tests/e2e/dockerd.py run <"$work/engine" >"$work/engine.socket" 2>"$work/engine.log" &
    engine=$!
    exec 8>"$work/engine"
    for _ in $(seq 1200); do
        [ -s "$work/engine.socket" ] && break
        kill -0 "$engine" 2>/dev/null || break
        sleep 0.1
    done
    [ -s "$work/engine.socket" ] || { cat "$work/engine.log"; return 1; }
    DOCKER_HOST=unix://$(cat "$work/engine.socket")
    export DOCKER_HOST DOCKER_BUILDKIT=0
}

stop_engine() {
    exec 8>&-
    wait "$engine"
}

# A base image that already has the libraries: the engine has no network.
import_base() {
    in_root depend || return 1
    tar -C "$work/root" --one-file-system --exclude=./test -c . | docker import - gantry-base:test
}

build_image() { docker build -q --build-arg BASE=gantry-base:test -t gantry:test -f packaging/docker/Dockerfile "$CACHE/deb"; }

compose() {
    GANTRY_IMAGE=gantry:test GANTRY_AGENTS=$work/agents GANTRY_CONFIG=$work/config.yml DOCKER_SOCKET=${DOCKER_HOST#unix://} \
        docker-compose -p gantry-test -f packaging/docker/compose.yml "$@"
}

compose_is_valid() {
    compose config >"$work/compose.out" 2>&1 || { cat "$work/compose.out"; return 1; }
    for line in "network_mode: host" "restart: always" "/agents:rw" "/app/config.yml:ro" "/var/run/docker.sock:rw"; do
        grep -q "$line" "$work/compose.out" || { echo "no $line"; return 1; }
    done
}

compose_up() {
    mkdir -p "$work/agents/robot" && cp packaging/gantryd.yml "$work/config.yml" || return 1
    printf 'containers:\n  robot:\n    socket_path: /agents/robot/s6_agent.sock\n' >>"$work/config.yml"
    compose up -d
}

# COMMAND in the running container, until it succeeds.
ask_image() {
    for _ in $(seq 600); do
        docker exec gantry gantry "$@" && return 0
        sleep 0.1
    done
    docker logs gantry
    return 1
}

# Another container, with the agent of the build and its socket in the mounted folder.
run_agent() {
    docker run -d --name robot -v "$work/agents/robot:/var/run/agent" \
        -v "$(readlink -f "$BUILD/src/gantry-agent/gantry-agent"):/usr/bin/gantry-agent:ro" busybox:local /usr/bin/gantry-agent serve
}

# A workload with a secret: the key is made in its own volume, and is not the image's.
keeps_workloads() {
    printf 'id: web\ncontainer: {image: "busybox:1", image_pull: never, secret_env: {PIN: "1234"}}\n' |
        docker exec -i gantry gantry apply -f - &&
        docker exec gantry sh -c 'test -s /var/lib/gantry-key/secret.key && test ! -e /etc/gantry/secret.key && gantry delete web --wait'
}

healthy() {
    docker inspect -f '{{json .Config.Healthcheck.Test}} {{.HostConfig.RestartPolicy.Name}}' gantry | grep -q 'gantry.*always'
}

compose_down() { docker rm -f robot && compose down -v && [ -z "$(docker ps -aq)" ]; }

part_image() {
    say "container image, with an engine of its own"
    [ -d "$CACHE/deb" ] || check "packages" build_packages
    check "base system" make_base
    [ -d "$work/root" ] || check "fresh chroot" make_root
    check "engine" start_engine
    check "base image" import_base
    check "docker build" build_image
    check "compose file" compose_is_valid
    check "docker-compose up" compose_up
    check "it answers" ask_image containers
    check "it sees the engine" ask_image docker status gantry
    check "a container with an agent" run_agent
    check "it reaches the agent" ask_image services robot
    check "a workload with a secret is kept" keeps_workloads
    check "restarts, has a health check" healthy
    check "docker-compose down" compose_down
    stop_engine
}

[ $# -gt 0 ] || set -- install dist units deb systemd image
for part in "$@"; do
    case "$part" in
    install | dist | units | deb | systemd | image) "part_$part" ;;
    *)
        echo "usage: $0 [install] [dist] [units] [deb] [systemd] [image]" >&2
        exit 2
        ;;
    esac
done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
