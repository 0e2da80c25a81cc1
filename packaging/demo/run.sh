#!/bin/sh
# The demonstration of `make run`: a small s6 tree, gantry-agent on it, gantryd in front, all real.
# usage: packaging/demo/run.sh [--check]
#   Waits until Ctrl-C, then ends everything that it started. --check tries the printed commands
#   and ends by itself; its exit status tells whether all of them worked.
# BUILD is the folder with the built programs (build); GANTRY_DEMO_DIR the folder for everything
# that the demonstration writes (./demo-state). Nothing outside of it is touched, but, if a Docker Engine
# answers, for one container and its image there, which are removed at the end.
# shellcheck disable=SC2317 # functions that await calls
set -u
umask 022

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
BUILD=${BUILD:-$root/build}
state=${GANTRY_DEMO_DIR:-demo-state}
unset GANTRY_DEMO_DIR
engine=/var/run/docker.sock
case "${DOCKER_HOST:-}" in unix://*) engine=${DOCKER_HOST#unix://} ;; esac
engine=${GANTRY_DOCKER_SOCKET:-$engine}
check=false
profiles=false
profiles_conf=''
workload=''
interrupted=false
ending=false

say() { printf '%s\n' "$*"; }
die() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

case "${1:-}" in
--check) check=true ;;
'') ;;
*)
    echo "usage: $0 [--check]" >&2
    exit 2
    ;;
esac

# --- processes: known by pid and start time, so that a pid that was given to another is left alone ---

# stat_of PID: sets stat_state and stat_start (fields 3 and 22 of proc(5), behind the name in
# parentheses); empty if there is none. Without other programs: Ctrl-C would end those.
stat_of() {
    stat_state='' stat_start='' line=''
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
    # shellcheck disable=SC2086 # words are wanted
    set -- ${line##*) }
    stat_state=$1
    shift 19
    stat_start=$1
}

# alive PID START: still that process, and no zombie.
alive() {
    stat_of "$1"
    [ -n "$stat_start" ] && [ "$stat_start" = "$2" ] && [ "$stat_state" != Z ]
}

# start NAME LOG COMMAND...: in a session of its own, so that Ctrl-C reaches only this script.
start() {
    name=$1
    log=$2
    shift 2
    setsid "$@" </dev/null >>"$log" 2>&1 9>&- &
    pid=$!
    stat_of "$pid"
    printf '%s %s %s\n' "$name" "$pid" "$stat_start" >>"$pids"
}

# running NAME: the last one recorded under that name lives.
running() {
    found_pid='' found_start=''
    while read -r n p since; do
        if [ "$n" = "$1" ]; then found_pid=$p found_start=$since; fi
    done <"$pids"
    [ -n "$found_pid" ] && alive "$found_pid" "$found_start"
}

# await SECONDS COMMAND...: until it succeeds. Ten tries a second. Ctrl-C cuts it short at the start.
await() {
    tries=$(($1 * 10))
    shift
    while ! "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        $interrupted && ! $ending && return 1
        sleep 0.1
    done
}

gone() { ! alive "$1" "$2"; }

# end NAME PID START: politely, then not.
end() {
    alive "$2" "$3" || return 0
    case "$1" in
    svscan) s6-svscanctl -t "$scandir" 2>/dev/null || kill -TERM "$2" ;;
    profiles) s6-svscanctl -t "$pg/service" 2>/dev/null || kill -TERM "$2" ;;
    *) kill -TERM "$2" ;;
    esac
    await 15 gone "$2" "$3" && return 0
    kill -KILL "$2" 2>/dev/null
    await 5 gone "$2" "$3"
}

# tree_gone: nothing supervises a folder of the tree (s6-svscan waits for that, unless it was killed).
tree_gone() {
    for d in "$scandir"/*/ "$scandir"/*/log/; do
        [ -d "$d/supervise" ] && s6-svok "$d" 2>/dev/null && return 1
    done
    return 0
}

# end_workload: the container and its image, while gantryd is there to remove the one.
end_workload() {
    id=$(cat "$state/workload" 2>/dev/null)
    [ -n "$id" ] || return 0
    "$state/gantry" delete --force --wait --timeout 30s "$id" >/dev/null 2>&1 ||
        say "demo: the container $id may be left: docker rm -f $id" >&2
    ask_engine -X DELETE "http://engine/images/$id" >/dev/null 2>&1
    rm -f "$state/workload"
}

# end_all: everything in the file of pids, the last one first, and what s6-svscan left.
end_all() {
    [ -f "$pids" ] || return 0
    ok=true
    ending=true
    end_workload
    sed -n '1!G;h;$p' "$pids" >"$pids.reverse"
    while read -r name pid since; do end "$name" "$pid" "$since" || ok=false; done <"$pids.reverse"
    if ! await 5 tree_gone; then
        for d in "$scandir"/*/ "$scandir"/*/log/; do
            [ -d "$d/supervise" ] && s6-svc -xd "$d" 2>/dev/null
        done
        await 10 tree_gone || ok=false
    fi
    rm -f "$pids.reverse"
    old=$(cat "$state/sockets" 2>/dev/null)
    case "$old" in "$state/run" | /tmp/gantry-demo.??????) rm -rf "$old" ;; esac
    ending=false
    $ok && rm -f "$pids"
}

ask_engine() { curl -sS --fail --max-time 30 --unix-socket "$engine" "$@"; }

# --- what is needed ---

program() {
    for p in "$BUILD/src/$1/$1" "$BUILD/$1"; do
        if [ -x "$p" ]; then
            (cd "$(dirname "$p")" && printf '%s/%s\n' "$(pwd)" "$1")
            return
        fi
    done
    die "$1 is not built in \"$BUILD\": run \"make build\""
}
gantryd=$(program gantryd) || exit 1
agent=$(program gantry-agent) || exit 1
cli=$(program gantry) || exit 1
for tool in s6-svscan s6-svscanctl s6-svok s6-svc s6-log setsid flock awk sed; do
    command -v "$tool" >/dev/null || die "$tool is not installed: run \"make deps-run\""
done

# --- the folder, once ---

if [ -e "$state" ] && [ ! -f "$state/.gantry-demo" ] && [ -n "$(ls -A "$state" 2>/dev/null)" ]; then
    die "\"$state\" exists and is not a demonstration's folder; set GANTRY_DEMO_DIR to another"
fi
state_full=$(mkdir -p "$state" && cd "$state" && pwd) || die "cannot make \"$state\""
case "$state_full" in
*[!A-Za-z0-9._/+,@%=\ -]*) die "\"$state_full\" has characters that do not go into a configuration; set GANTRY_DEMO_DIR" ;;
esac
: >>"$state/.gantry-demo" || die "cannot write to \"$state\""
shown=$state
case "$shown" in /*) ;; *) shown=./$shown ;; esac
state=$state_full
scandir=$state/scandir
pids=$state/pids
pg=$state/profiles

exec 9>>"$state/lock" || die "cannot write to \"$state\""
flock -n 9 || die "already running in \"$state\"; end that one with Ctrl-C, or set GANTRY_DEMO_DIR"

trap '' PIPE INT TERM HUP
if [ -f "$pids" ]; then
    say "An earlier run was killed; ending what it left."
    end_all || die "could not end all of it; see $pids"
fi
trap 'interrupted=true' INT TERM HUP
rm -rf "$scandir" "$pg" "$state/logs" "$state/www" "$state/run" "$state/config.yml" "$state/gantry" "$state"/*.log \
    "$state/store" "$state/keys"
mkdir -p "$scandir" "$state/logs" "$state/www" "$state/run" || die "cannot write to \"$state\""
# The kernel takes 107 bytes for the path of a socket.
sockets=$state/run
if [ "${#sockets}" -gt 90 ]; then
    sockets=$(mktemp -d /tmp/gantry-demo.XXXXXX) || die "cannot make a folder for the sockets"
fi
printf '%s\n' "$sockets" >"$state/sockets"
chmod 0755 "$sockets"

# --- the s6 tree ---

# service NAME: its folder, and the script from standard input. The scripts use relative paths only.
service() {
    mkdir -p "$scandir/$1"
    { printf '#!/bin/sh\n' && cat; } >"$scandir/$1/run"
    chmod 0755 "$scandir/$1/run"
}

# logged NAME: a logger, and a folder for its files: 5 old ones of 100 kB.
logged() {
    mkdir -p "$scandir/$1/log" "$state/logs/$1"
    printf '#!/bin/sh\nexec s6-log -b n5 s100000 ../../../logs/%s\n' "$1" >"$scandir/$1/log/run"
    chmod 0755 "$scandir/$1/log/run"
}

# port_from FIRST: the first port that nobody listens on.
port_from() {
    port=$1
    while [ "$port" -lt $(($1 + 200)) ]; do
        hex=$(printf ':%04X' "$port")
        cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
            awk -v p="$hex" '$4 == "0A" && $2 ~ p "$" {used = 1} END {exit used}' && break
        port=$((port + 1))
    done
    printf '%s\n' "$port"
}

make_tree() {
    web_port=$(port_from 18080)
    say "<h1>Hello from the service \"web\"</h1>" >"$state/www/index.html"
    if command -v busybox >/dev/null; then
        service web <<END
echo "serving http://127.0.0.1:$web_port/"
exec busybox httpd -f -vv -p 127.0.0.1:$web_port -h ../../www 2>&1
END
    else
        service web <<'END'
echo "busybox is not installed, so this only waits"
exec sleep 1000000
END
    fi
    service ticker <<'END'
trap 'echo "stopping"; kill "$!"; exit 0' TERM
n=0
while :; do
    n=$((n + 1))
    echo "tick $n"
    sleep 1 &
    wait "$!"
done
END
    service crasher <<'END'
trap 'kill "$!"; exit 0' TERM
echo "starting, for three seconds"
sleep 3 &
wait "$!"
echo "something is wrong, giving up"
exit 3
END
    service database <<'END'
echo "opening tables"
sleep 1
echo "ready"
echo >&3
exec sleep 1000000
END
    echo 3 >"$scandir/database/notification-fd"
    service maintenance <<'END'
exec sleep 1000000
END
    : >"$scandir/maintenance/down"
    for s in web ticker crasher database; do logged "$s"; done
}

# --- the programs ---

write_config() {
    cat >"$state/config.yml" <<END
# Written by the demonstration at each start.
containers:
  demo:
    socket_path: "$sockets/agent.sock"
    services:
      - {id: web, label: "Web page on port $web_port"}
      - {id: ticker, label: "Logs a line a second"}
      - {id: crasher, label: "Crashes every few seconds"}
      - {id: database, label: "Tells when it is ready"}
      - {id: maintenance, label: "Normally down"}
state:
  path: "$state/store/state.db"
secrets:
  key_file: "$state/keys/secret.key"
  sources: [file]
auth:
  tokens: "$state/store/tokens.json"
audit:
  file: "$state/audit.log"
http:
  listeners:
    - address: "127.0.0.1:$api_port"
    - address: "unix:$sockets/gantryd.sock"
docker: {socket: "$engine"}
node: {id: "gantry-demo-$api_port"}
# A machine that has just built all this is busy.
workloads:
  admission: {memory: 0, cpu: 0, disk: 0}
END
    cat >"$state/gantry" <<END
#!/bin/sh
# gantry, talking to the demonstration.
GANTRY_HOST="unix:$sockets/gantryd.sock" exec "$cli" "\$@"
END
    chmod 0755 "$state/gantry"
}

# The profile "assistant" and an s6-svscan of its own, run by an ordinary user: as root, by nobody, if he can get there.
make_profiles() {
    as='' pg_user=$(id -un)
    if [ "$(id -u)" -eq 0 ]; then
        as='s6-setuidgid nobody' pg_user=nobody
        $as test -x "$state" || return 0
    fi
    mkdir -p "$pg/service" "$pg/home/profiles/assistant" || return 1
    : >"$pg/home/profiles/assistant/profile.yaml"
    printf '{"gateway_state": "running"}\n' >"$pg/home/profiles/assistant/gateway_state.json"
    cat >"$pg/home/profiles/assistant/gateway" <<'END'
#!/bin/sh
echo "at your service, as $(id -un)"
exec sleep 1000000
END
    chmod 0755 "$pg/home/profiles/assistant/gateway"
    [ -z "$as" ] || chown -R nobody: "$pg/service" "$pg/home" || return 1
    cat >"$state/profiles.conf" <<END
home = $pg/home
scandir = $pg/service
user = $pg_user
uid = $(id -u "$pg_user")
gid = $(id -g "$pg_user")
END
    # A path with a blank is nothing for s6's scripts: then without profiles.
    "$agent" reconcile --config "$state/profiles.conf" >"$state/reconcile.log" 2>&1 || return 0
    # shellcheck disable=SC2086 # two words, or none
    start profiles "$state/profiles.log" $as s6-svscan "$pg/service"
    profiles=true
    profiles_conf=$state/profiles.conf
}

# A workload, if an engine answers: an image of busybox and nothing else, made here, so that no registry is needed.
make_workload() {
    "$state/gantry" docker ps >/dev/null 2>&1 || return 0
    command -v curl >/dev/null && command -v busybox >/dev/null || return 0
    id=gantry-demo-$api_port
    printf '%s\n' "$id" >"$state/workload"
    tar -C "$(dirname "$(command -v busybox)")" --transform 's,^,bin/,' -cf - busybox |
        ask_engine -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
            "http://engine/images/create?fromSrc=-&repo=$id" >"$state/image.log" 2>&1 || return 0
    cat >"$state/workload.yml" <<END
id: $id
container:
  image: $id
  image_pull: never
  command: [/bin/busybox, sh, -c, "echo 'kept running'; trap exit TERM; while :; do busybox sleep 1 & wait \$!; done"]
  env: {PATH: /bin}
  stop_timeout_s: 3
END
    "$state/gantry" apply -f "$state/workload.yml" --wait --timeout 60s >"$state/workload.log" 2>&1 && workload=$id
    return 0
}

tree_ready() { s6-svok "$scandir/maintenance" 2>/dev/null && s6-svok "$scandir/ticker/log" 2>/dev/null; }
agent_ready() { [ -S "$sockets/agent.sock" ] || ! running agent; }
# Answers, with the agent behind it; or has ended.
gantryd_ready() { "$state/gantry" status demo ticker >/dev/null 2>&1 || ! running gantryd; }

start_gantryd() {
    api_port=8081
    for try in 1 2 3 4 5; do
        api_port=$(port_from "$api_port")
        write_config
        start gantryd "$state/gantryd.log" "$gantryd" --config "$state/config.yml"
        await 10 gantryd_ready && running gantryd && return 0
        running gantryd && return 1 # it lives but does not answer
        api_port=$((api_port + 1))  # somebody was faster; or the next try shows the same fault
        [ "$try" -lt 5 ] || return 1
    done
}

start_all() {
    make_tree
    : >"$pids"
    start svscan "$state/svscan.log" s6-svscan "$scandir"
    await 10 tree_ready || return 1
    make_profiles || return 1
    # The scripts in the tree are the sources here, so that an edit takes effect at the next restart.
    start agent "$state/agent.log" "$agent" serve --socket "$sockets/agent.sock" --scandir "$scandir" \
        --log-dir "$state/logs" --source-dir "$scandir" --backup-dir "$state/run-backups" \
        ${profiles_conf:+--profile-config "$profiles_conf"}
    await 10 agent_ready && running agent || return 1
    start_gantryd || return 1
    make_workload
}

# --- what the user sees ---

try_1="$shown/gantry status demo"
try_2="$shown/gantry logs -f demo ticker"
try_3="$shown/gantry restart demo web"
try_6="$shown/gantry profiles list demo"
try_7="$shown/gantry get"

introduce() {
    url=http://127.0.0.1:$api_port
    try_5="curl -s $url/containers/demo/services/crasher/status"
    if "$state/gantry" docker ps >/dev/null 2>&1; then
        docker="with the Docker engine of this machine"
        try_4="$shown/gantry docker ps -a"
    else
        docker="without Docker (no engine answers at $engine; it may come later)"
        try_4="$shown/gantry up demo maintenance"
    fi
    say ""
    say "Gantry runs at $url, $docker."
    say "Try, in another terminal:"
    say ""
    for t in "$try_1" "$try_2" "$try_3" "$try_4" "$try_5"; do say "  $t"; done
    say ""
    if $profiles; then
        say "A profile has its gateway there too, made at the start as in a container that starts again:"
        say ""
        say "  $try_6"
        say ""
    fi
    [ -n "$workload" ] || return 0
    say "A workload is kept running on the engine; remove its container, $workload, and it comes back:"
    say ""
    say "  $try_7"
    say ""
}

# attempt COMMAND: as printed, from the folder in which this was started.
attempt() {
    say "\$ $1"
    # shellcheck disable=SC2086 # words are wanted; paths with blanks come in through $state/gantry
    case "$1" in
    "$shown/gantry logs -f"*)
        timeout --preserve-status -s INT 8 "$state/gantry" ${1#"$shown/gantry"} >"$state/check.log" 2>&1
        code=$?
        cat "$state/check.log"
        [ "$code" -eq 130 ] && grep -q '^tick [0-9]' "$state/check.log"
        ;;
    "$shown/gantry "*) "$state/gantry" ${1#"$shown/gantry"} ;;
    *) $1 --fail --max-time 60 ;;
    esac
    code=$?
    [ "$code" -eq 0 ] || say "FAILED ($code): $1"
    printf '\n\n'
    return "$code"
}

try_all() {
    failures=0
    for t in "$try_1" "$try_2" "$try_3" "$try_4" "$try_5"; do
        $interrupted && return 1
        attempt "$t" || failures=$((failures + 1))
    done
    if $profiles; then attempt "$try_6" || failures=$((failures + 1)); fi
    if [ -n "$workload" ]; then attempt "$try_7" || failures=$((failures + 1)); fi
    [ "$failures" -eq 0 ]
}

# Until a signal comes, or one of the three has ended by itself (then 1).
watch() {
    say "Ctrl-C ends it."
    while ! $interrupted; do
        for name in svscan agent gantryd; do
            running "$name" || {
                # Ctrl-C may have ended the tools that looked, and nothing else.
                $interrupted && return 0
                say "demo: $name has ended by itself; the end of its log:" >&2
                tail -n 5 "$state/$name.log" >&2
                return 1
            }
        done
        sleep 1 9>&- &
        wait "$!" || kill "$!" 2>/dev/null
    done
    return 0
}

if start_all; then
    introduce
    if $check; then try_all; else watch; fi
    result=$?
elif $interrupted && ! $check; then
    result=0
else
    result=1
    if ! $interrupted; then
        say "demo: it did not start; the ends of the logs:" >&2
        for f in "$state"/*.log; do [ -s "$f" ] && tail -n 5 "$f" >&2; done
    fi
fi

trap '' INT TERM HUP
say ""
say "Ending everything..."
if end_all; then
    say "All has ended: no process is left. Logs and state are in $shown."
else
    say "demo: some processes could not be ended; they are listed in $pids" >&2
    result=1
fi
exit "$result"
