#!/bin/sh
# Puts the built programs and all that belongs to them where the FHS wants them, or takes them away again.
# usage: packaging/install.sh install | uninstall
# From the environment: BUILD (build) the build folder; DESTDIR, PREFIX (/usr); SYSCONFDIR (/etc);
# UNITDIR (PREFIX/lib/systemd/system); APIDOCS_DIR (BUILD/share/apidocs) the built pages of the API; STRIP=true keeps the symbols.
set -eu
umask 022
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr}
SYSCONFDIR=${SYSCONFDIR:-/etc}
UNITDIR=${UNITDIR:-$PREFIX/lib/systemd/system}
APIDOCS_DIR=${APIDOCS_DIR-$BUILD/share/apidocs}
STRIP=${STRIP:-strip}

sbin=$PREFIX/sbin
bin=$PREFIX/bin
lib=$PREFIX/lib/gantry
share=$PREFIX/share/gantry
bash=$PREFIX/share/bash-completion/completions
zsh=$PREFIX/share/zsh/vendor-completions
fish=$PREFIX/share/fish/vendor_completions.d
config=$SYSCONFDIR/gantry/config.yml

# put MODE FILE PATH: one file, whole folders made on the way.
put() { install -D -m "$1" "$2" "$DESTDIR$3"; }

put_programs() {
    put 0755 "$BUILD/src/gantryd/gantryd" "$sbin/gantryd"
    put 0755 "$BUILD/src/gantry/gantry" "$bin/gantry"
    put 0755 "$BUILD/src/gantry-agent/gantry-agent" "$lib/gantry-agent"
    "$STRIP" "$DESTDIR$sbin/gantryd" "$DESTDIR$bin/gantry" "$DESTDIR$lib/gantry-agent"
    ln -sf ../lib/gantry/gantry-agent "$DESTDIR$bin/gantry-agent"
}

# Names of all manual pages, as man8/gantryd.8.
manuals() {
    for page in docs/man/*.[1-8]; do
        [ -f "$page" ] && printf 'man%s/%s\n' "${page##*.}" "${page##*/}"
    done
}

put_manuals() {
    for page in $(manuals); do put 0644 "docs/man/${page#*/}" "$PREFIX/share/man/$page"; done
}

# The pages at /docs and /redoc, if they were built.
put_apidocs() {
    [ -d "$APIDOCS_DIR" ] || return 0
    (cd "$APIDOCS_DIR" && find . -type f) | while read -r f; do
        put 0644 "$APIDOCS_DIR/$f" "$share/apidocs/${f#./}"
    done
}

# Completions come from the program itself. One that cannot run here (built for another machine) has none.
put_completion() {
    if "$BUILD/src/gantry/gantry" completion "$1" >"$tmp" 2>/dev/null && [ -s "$tmp" ]; then put 0644 "$tmp" "$2"; fi
}

put_services() {
    sed "s,/usr/sbin/,$sbin/,g" packaging/systemd/gantryd.service >"$tmp"
    put 0644 "$tmp" "$UNITDIR/gantryd.service"
    put 0644 packaging/systemd/tmpfiles.conf "$PREFIX/lib/tmpfiles.d/gantry.conf"
    put 0644 packaging/systemd/sysusers.conf "$PREFIX/lib/sysusers.d/gantry.conf"
    (cd packaging/s6-overlay && find . -type f) | while read -r f; do
        mode=0644
        [ -x "packaging/s6-overlay/$f" ] && mode=0755
        put "$mode" "packaging/s6-overlay/$f" "$share/s6-overlay/${f#./}"
    done
}

# The administrator's file is never touched.
put_config() {
    if [ ! -e "$DESTDIR$config" ]; then put 0644 packaging/gantryd.yml "$config"; fi
}

# drop FOLDER: if nothing else is in it.
drop() { if [ -d "$DESTDIR$1" ]; then rmdir --ignore-fail-on-non-empty "$DESTDIR$1"; fi; }

uninstall() {
    rm -f "$DESTDIR$sbin/gantryd" "$DESTDIR$bin/gantry" "$DESTDIR$bin/gantry-agent" "$DESTDIR$lib/gantry-agent" \
        "$DESTDIR$UNITDIR/gantryd.service" "$DESTDIR$PREFIX/lib/tmpfiles.d/gantry.conf" \
        "$DESTDIR$PREFIX/lib/sysusers.d/gantry.conf" \
        "$DESTDIR$bash/gantry" "$DESTDIR$zsh/_gantry" "$DESTDIR$fish/gantry.fish"
    for page in $(manuals); do rm -f "$DESTDIR$PREFIX/share/man/$page"; done
    rm -rf "${DESTDIR:?}$share/apidocs" "${DESTDIR:?}$share/s6-overlay"
    if cmp -s packaging/gantryd.yml "$DESTDIR$config"; then rm -f "$DESTDIR$config"; fi
    for d in "$lib" "$share" "$SYSCONFDIR/gantry"; do drop "$d"; done
    if [ -e "$DESTDIR$config" ]; then echo "kept, because it was changed: $DESTDIR$config"; fi
}

case "${1:-}" in
install)
    tmp=$(mktemp)
    trap 'rm -f "$tmp"' EXIT
    put_programs
    put_manuals
    put_apidocs
    put_completion bash "$bash/gantry"
    put_completion zsh "$zsh/_gantry"
    put_completion fish "$fish/gantry.fish"
    put_services
    put_config
    ;;
uninstall) DESTDIR=${DESTDIR%/} && uninstall ;;
*)
    echo "usage: $0 install | uninstall" >&2
    exit 2
    ;;
esac
