#!/bin/sh
# Builds the Debian packages gantryd, gantry and gantry-agent. usage: packaging/deb.sh OUTPUT-FOLDER
# Who publishes them says so in DEBFULLNAME and DEBEMAIL.
# The tracked files, as they are now, are copied below the folder, so that the tree stays as it is.
set -eu
umask 022
cd "$(dirname "$0")/.."
out=${1:?usage: packaging/deb.sh OUTPUT-FOLDER}
mkdir -p "$out"
out=$(cd "$out" && pwd)
version=$(cat VERSION)
tree=$out/gantry-$version

# In a clone what git knows, else (from a tarball) everything.
files() {
    if [ -e .git ]; then git ls-files -z --cached --others --exclude-standard; else
        find . -path "${out#"$PWD"/}" -prune -o -type f -print0
    fi
}

# The time of the last change: packages of one tree are the same files.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y VERSION)
fi
export SOURCE_DATE_EPOCH

rm -rf "$tree" "$out"/*.deb "$out"/*.changes "$out"/*.buildinfo
mkdir "$tree"
# shellcheck disable=SC2016 # the inner shell expands
files | xargs -0 sh -c 'for f in "$@"; do [ -e "$f" ] && printf "%s\0" "$f"; done' - |
    tar -c --null -T - | tar -x -C "$tree"
cp -R "$tree/packaging/debian" "$tree/debian"
maintainer="${DEBFULLNAME:-Gantry developers} <${DEBEMAIL:-gantry@localhost}>"
awk -v m="$maintainer" '/^Maintainer:/ {$0 = "Maintainer: " m} {print}' packaging/debian/control >"$tree/debian/control"
cat >"$tree/debian/changelog" <<END
gantry ($version) unstable; urgency=medium

  * See CHANGELOG.md.

 -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
# The pages of the API, if they were built.
apidocs=${BUILD:-build}/share/apidocs
if [ -d "$apidocs" ]; then
    mkdir -p "$tree/apidocs"
    cp -R "$apidocs/." "$tree/apidocs"
fi
cd "$tree"
if ! DEB_BUILD_OPTIONS="parallel=${JOBS:-$(nproc)} noautodbgsym" dpkg-buildpackage -b -us -uc >"$out/build.log" 2>&1; then
    tail -n 40 "$out/build.log" >&2
    echo "the packages were not built; all of the log is in $out/build.log" >&2
    exit 1
fi
cd "$out"
rm -rf "$tree"
ls -- *.deb
