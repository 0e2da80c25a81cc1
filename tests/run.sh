#!/bin/sh
# Runs the tests. usage: tests/run.sh all | unit | asan | valgrind | e2e | e2e-asan | packages | fuzz [SECONDS]
# Ends with "N passed, N failed" over everything that ran.
# STRICT=1: an end-to-end test that fails beside others is not tried again by itself.
set -u
cd "$(dirname "$0")/.." || exit 2
JOBS=${JOBS:-$(nproc)}
PYTHON=${PYTHON:-/usr/bin/python3}
BUILD=${BUILD:-build}
FUZZ_SECONDS=${FUZZ_SECONDS:-60}
CHECK_FUZZ_SECONDS=${CHECK_FUZZ_SECONDS:-15}
passed=0
failed=0
unsteady=
STRICT=${STRICT:-}
SECOND_TRIES=4

began=$(date +%s)
say() { printf '\n== %s (after %d s)\n' "$*" $(($(date +%s) - began)); }

# count NAME EXIT: one more result that is a single step.
count() {
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $1" >&2
    fi
}

# setup DIR MESON-OPTIONS...: a build folder with the tests in it.
setup() {
    dir=$1
    shift
    if [ ! -f "$dir/build.ninja" ]; then
        meson setup "$dir" -Dtests=true "$@" >"$dir.log" 2>&1 || { cat "$dir.log"; return 1; }
        rm -f "$dir.log"
    fi
    ninja -C "$dir" -j "$JOBS" --quiet
}

# tests DIR MESON-TEST-OPTIONS...: runs meson's tests, adds its counts.
tests() {
    dir=$1
    shift
    meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes "$JOBS" "$@" >"$dir/last-test.txt" 2>&1
    grep -vE '^(ninja|Entering|  *[0-9]+/[0-9]+ .* OK )|^$' "$dir/last-test.txt" | tail -n 400
    p=$(sed -n 's/^Ok: *\([0-9]*\).*/\1/p' "$dir/last-test.txt")
    f=$(awk '/^(Fail|Timeout|Unexpected Pass):/ {n += $NF} END {print n + 0}' "$dir/last-test.txt")
    passed=$((passed + ${p:-0}))
    failed=$((failed + f))
    [ -n "$p" ] || count "meson test in $dir printed no result" 1
}

unit() {
    say "unit and fault tests"
    setup build-test || { count "build of build-test" 1; return; }
    tests build-test
}

asan() {
    say "unit and fault tests under AddressSanitizer and UndefinedBehaviorSanitizer"
    setup build-asan -Db_sanitize=address,undefined -Db_lundef=false || { count "build of build-asan" 1; return; }
    ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        tests build-asan --timeout-multiplier 4
}

valgrind_() {
    say "unit tests under valgrind"
    setup build-test || { count "build of build-test" 1; return; }
    GANTRY_UNDER_VALGRIND=1 tests build-test --suite unit --timeout-multiplier 20 \
        --wrap 'valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect --track-fds=no'
}

# What may run beside each other: the first lane's tests use what a machine has once (/run/service, users, the
# demonstration's port), the others at the most engines of their own; the last lane has all the rest. They mostly wait.
lane_one='test_profiles*.py test_conformance.py test_demo.py test_cli*.py test_docs.py'
lane_two='test_workloads*.py test_persys.py test_docker_driver.py'
lane_three='test_compose*.py test_vm*.py'

# lane NAME BUILD NUMBER PYTEST-ARGUMENTS...: one pytest, its output and exit status in files.
lane() {
    out=$1-e2e-$3.tmp
    build=$2
    shift 3
    # A shell's background job ignores SIGINT, and so would everything that the tests start.
    GANTRY_BUILD=$build env --default-signal=INT,QUIT "$PYTHON" -m pytest -q -p no:cacheprovider --tb=short "$@" >"$out" 2>&1
    echo "pytest ended with $?" >>"$out"
}

# files PATTERNS: those that are there.
files() {
    for pattern in $1; do
        for file in tests/e2e/$pattern; do [ ! -f "$file" ] || echo "$file"; done
    done
}

# again NAME BUILD FAILED-FILE: a busy machine can fail a test that is sound, and a fault that comes seldom looks just so.
# A few that failed are tried once more, the whole file of each by itself; what passes then counts as passed, and the end
# tells its name: it is work for somebody. Crashes and what a sanitizer found, errors of fixtures, and more than a few are
# not tried again.
again() {
    [ -z "$STRICT" ] && [ -s "$3" ] && [ "$(wc -l <"$3")" -le "$SECOND_TRIES" ] || return 0
    ! grep -qx grave "$3" || return 0
    sed 's/::.*//' "$3" | sort -u >"$3.files.tmp"
    while read -r file; do
        say "once more, by itself: $file ($1)"
        lane "$1" "$2" again "$file" </dev/null
        cat "$1-e2e-again.tmp"
        if tail -n 1 "$1-e2e-again.tmp" | grep -qx 'pytest ended with 0'; then
            n=$(grep -c "^$file::" "$3")
            passed=$((passed + n))
            failed=$((failed - n))
            unsteady="$unsteady$(grep "^$file::" "$3" | sed "s/\$/ ($1)/")
"
        fi
        rm -f "$1-e2e-again.tmp"
    done <"$3.files.tmp"
    rm -f "$3.files.tmp"
}

# pytest's own closing lines, whose counts are added.
e2e() {
    say "end to end ($1)"
    ignored=
    for pattern in $lane_one $lane_two $lane_three; do ignored="$ignored --ignore-glob=tests/e2e/$pattern"; done
    # The words are to be split: none of them has a blank.
    # shellcheck disable=SC2046
    lane "$1" "$2" 1 $(files "$lane_one") &
    first=$!
    # shellcheck disable=SC2046
    lane "$1" "$2" 2 $(files "$lane_two") &
    second=$!
    # shellcheck disable=SC2046
    lane "$1" "$2" 3 $(files "$lane_three") &
    third=$!
    # shellcheck disable=SC2086
    lane "$1" "$2" 4 $ignored tests/e2e
    wait "$first" "$second" "$third"
    : >"$1-failed.tmp"
    for number in 1 2 3 4; do
        out=$1-e2e-$number.tmp
        cat "$out"
        sed -n 's/^FAILED \(tests[^ ]*::[^ ]*\).*/\1/p' "$out" >>"$1-failed.tmp"
        ! grep -qE '^ERROR |Sanitizer|runtime error:|ended with (99|-[0-9]+)' "$out" || echo grave >>"$1-failed.tmp"
        line=$(tail -n 2 "$out" | head -n 1)
        rc=$(sed -n '$s/.* //p' "$out")
        rm -f "$out"
        p=$(echo "$line" | sed -n 's/.*[^0-9]*\b\([0-9][0-9]*\) passed.*/\1/p')
        f=$(echo "$line" | sed -n 's/.*\b\([0-9][0-9]*\) failed.*/\1/p')
        x=$(echo "$line" | sed -n 's/.*\b\([0-9][0-9]*\) error.*/\1/p')
        passed=$((passed + ${p:-0}))
        failed=$((failed + ${f:-0} + ${x:-0}))
        [ "$rc" -eq 0 ] || [ $((${f:-0} + ${x:-0})) -gt 0 ] || count "pytest ended with $rc" 1
    done
    again "$1" "$2" "$1-failed.tmp"
    rm -f "$1-failed.tmp"
}

e2e_asan() {
    setup build-asan -Db_sanitize=address,undefined -Db_lundef=false || { count "build of build-asan" 1; return; }
    GANTRY_SANITIZED=1 e2e sanitized build-asan
}

packages() {
    say "packages"
    if ! command -v debootstrap lintian >/dev/null; then make -s deps-packages || { count "what the package tests need" 1; return; }; fi
    BUILD=$1 JOBS=$JOBS PYTHON=$PYTHON sh tests/packages/run.sh >packages-run.tmp 2>&1
    cat packages-run.tmp
    p=$(sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p' packages-run.tmp | tail -n 1)
    f=$(sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p' packages-run.tmp | tail -n 1)
    rm -f packages-run.tmp
    if [ -z "$p" ]; then count "the package tests printed no result" 1; else
        passed=$((passed + p))
        failed=$((failed + f))
    fi
}

fuzz_build() {
    if ! command -v clang >/dev/null; then make -s deps-fuzz || return 1; fi
    if [ ! -f build-fuzz/build.ninja ]; then
        CC=clang meson setup build-fuzz -Dtests=false -Dfuzz=true -Db_lundef=false -Db_pie=false \
            --buildtype=debugoptimized >/dev/null || return 1
    fi
    ninja -C build-fuzz -j "$1" --quiet
}

# While other tests mostly wait; what fails here fails again, and is told, when it is its turn.
fuzz_build_beside() {
    ionice -c 3 nice -n 19 sh tests/run.sh fuzz-build >fuzz-build.tmp 2>&1 &
    beside=$!
}

fuzz() {
    say "fuzzers, $1 s each"
    fuzz_build "$JOBS" || { count "build of build-fuzz" 1; return; }
    BUILD=build-fuzz FUZZ_SEED=${FUZZ_SEED:-} sh tests/fuzz/run.sh "$1" >fuzz-run.tmp 2>&1
    cat fuzz-run.tmp
    p=$(sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p' fuzz-run.tmp | tail -n 1)
    f=$(sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p' fuzz-run.tmp | tail -n 1)
    rm -f fuzz-run.tmp
    if [ -z "$p" ]; then count "the fuzzers printed no result" 1; else
        passed=$((passed + p))
        failed=$((failed + f))
    fi
}

case "${1:-all}" in
all)
    unit
    asan
    valgrind_
    fuzz_build_beside
    e2e release "$BUILD"
    e2e_asan
    wait "$beside"
    rm -f fuzz-build.tmp
    packages "$BUILD"
    # Always the same numbers, so that a failure comes again; make fuzz, the long form, draws new ones.
    FUZZ_SEED=1 fuzz "$CHECK_FUZZ_SECONDS"
    ;;
unit) unit ;;
asan) asan ;;
valgrind) valgrind_ ;;
e2e) e2e release "$BUILD" ;;
e2e-asan) e2e_asan ;;
packages) packages "$BUILD" ;;
fuzz) fuzz "${2:-$FUZZ_SECONDS}" ;;
fuzz-build)
    fuzz_build 1
    exit
    ;;
*)
    echo "usage: tests/run.sh all | unit | asan | valgrind | e2e | e2e-asan | packages | fuzz [SECONDS]" >&2
    exit 2
    ;;
esac
echo
[ -z "$unsteady" ] || printf 'UNSTEADY, passed only by itself:\n%s\n' "$unsteady"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
