#!/bin/sh
# Runs the fuzz targets. usage: tests/fuzz/run.sh SECONDS [TARGET...]
# BUILD: the build folder (build-fuzz); JOBS: how many at a time; FUZZ_SEED: a number that makes a run repeatable.
# Each target works on a copy of its corpus for so many seconds; what it finds goes to tests/fuzz/crashes/.
# One line a target; ends with "N passed, N failed", exit 1 if any failed.
set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 2
root=$(cd "$here/../.." && pwd) || exit 2
build=${BUILD:-build-fuzz}
case $build in /*) ;; *) build=$root/$build ;; esac
case ${1:-} in
'' | *[!0-9]*)
    echo "usage: tests/fuzz/run.sh SECONDS [TARGET...]" >&2
    exit 2
    ;;
esac
seconds=$1
shift
if [ $# -eq 0 ]; then
    for f in "$here"/fuzz_*.c; do
        name=${f##*/fuzz_}
        set -- "$@" "${name%.c}"
    done
fi
crashes=$here/crashes
mkdir -p "$crashes"
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# one NAME: runs a target and writes its line to $work/NAME.line, "ok" to $work/NAME.ok if it passed.
one() {
    name=$1
    exe=$build/tests/fuzz/fuzz_$name
    log=$work/$name.log
    mkdir -p "$work/$name"
    cp "$here/corpus/$name"/* "$work/$name/" 2>/dev/null
    inputs=$(find "$work/$name" -type f | wc -l)
    if [ ! -x "$exe" ]; then
        echo "$name: FAILED, not built ($exe)" >"$work/$name.line"
        return
    fi
    ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1} \
        UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1} \
        "$exe" "$work/$name" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=1024 -max_len=65536 \
        ${FUZZ_SEED:+"-seed=$FUZZ_SEED"} \
        -artifact_prefix="$crashes/$name-" -print_final_stats=1 >"$log" 2>&1
    rc=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    found=$(find "$work/$name" -type f | wc -l)
    # No corpus, or no run beyond it, proves nothing.
    if [ $rc -eq 0 ] && [ "$inputs" -gt 0 ] && [ "${runs:-0}" -gt "$inputs" ]; then
        echo "$name: passed, $runs runs, corpus $inputs -> $found" >"$work/$name.line"
        touch "$work/$name.ok"
        return
    fi
    cp "$log" "$crashes/$name.log"
    {
        echo "$name: FAILED (exit $rc, ${runs:-0} runs, corpus $inputs), see tests/fuzz/crashes/$name.log"
        grep -aE 'ERROR|SUMMARY|runtime error|invariant|Test unit written' "$log" | head -n 5 | sed 's/^/    /'
    } >"$work/$name.line"
}

# collect NAME...: waits for what runs and counts it.
passed=0
failed=0
collect() {
    wait
    for name in "$@"; do
        cat "$work/$name.line"
        if [ -f "$work/$name.ok" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    done
}

jobs=${JOBS:-$(nproc)}
batch=
n=0
for target in "$@"; do
    one "$target" &
    batch="$batch $target"
    n=$((n + 1))
    if [ $n -ge "$jobs" ]; then
        # shellcheck disable=SC2086  # a list of names without blanks
        collect $batch
        batch=
        n=0
    fi
done
# shellcheck disable=SC2086
collect $batch
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
