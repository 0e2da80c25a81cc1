#!/bin/sh
# Builds the measuring programs and prints the table. usage: bench/run.sh [--save] [PART...]
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
PYTHON=${PYTHON:-/usr/bin/python3}
if [ ! -f build-bench/build.ninja ]; then
    meson setup build-bench --buildtype=release -Dtests=false -Dbench=true >/dev/null
fi
ninja -C build-bench --quiet
GANTRY_BUILD=$BUILD exec "$PYTHON" bench/run.py "$@"
