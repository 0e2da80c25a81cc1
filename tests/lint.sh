#!/bin/sh
# The rules that tools can check. usage: tests/lint.sh BUILD
set -u
cd "$(dirname "$0")/.." || exit 2
BUILD=${1:-build}
bad=0
complain() {
    [ -z "$2" ] && return
    printf '%s\n%s\n\n' "$1" "$2"
    bad=1
}

sources=$(git ls-files 'src/*.c' 'src/*.h')
# shellcheck disable=SC2086 # the names of our files hold no blanks
{
    complain "calls that we do not use:" "$(grep -nE '\b(sprintf|strcpy|strcat|strtok|atoi|gets|system|popen|alloca|usleep|sleep)[[:space:]]*\(' $sources |
        grep -vE ':[0-9]+:[[:space:]]*(//|\*|/\*)')"
    complain "files over 1,000 lines:" "$(wc -l $sources | awk '$2 != "total" && $1 > 1000')"
    complain "rooms that include upwards:" "$(
        grep -nE '#include "(net|core|driver|service|session|secret|s6|store|api)/' src/base/*.[ch]
        grep -nE '#include "(core|driver|service|session|secret|s6|store|api)/' src/net/*.[ch]
        grep -nE '#include "(net|driver|service|secret|s6|store|api)/' src/core/*.[ch]
        grep -nE '#include "(api|core|driver|service)/' src/s6/*.[ch]
        grep -nE '#include "(api|driver)/' src/service/*.[ch]
        grep -rnE '#include "(api|driver|service|s6|store)/' src/secret
        grep -rnE '#include "(api|driver|service|s6|secret)/' src/store
        grep -rnE '#include "api/' src/driver
        grep -rnE '#include "driver/' src/api)"
}
# Functions over 60 lines: from a line that ends a head at column 0 to the "}" at column 0.
# shellcheck disable=SC2046
complain "functions over 60 lines:" "$(awk 'FNR == 1 {start = 0} /^\{/ {start = FNR; head = prev} {if ($0 !~ /^[{} ]/ && $0 != "") prev = $0}
    /^\}/ {if (start && FNR - start > 61) print FILENAME ":" start ": " FNR - start - 1 " lines: " head; start = 0}' $(git ls-files 'src/*.c'))"
# shellcheck disable=SC2046
complain "shellcheck:" "$(shellcheck $(git ls-files '*.sh') 2>&1)"
complain "clang-tidy:" "$(git ls-files 'src/*.c' | xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$BUILD" 2>/dev/null | grep -E 'warning:|error:' | sort -u)"
[ "$bad" -eq 0 ] && echo "lint: nothing found"
exit "$bad"
