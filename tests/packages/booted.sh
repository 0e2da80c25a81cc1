#!/bin/sh
# Under a real systemd, as a service of the system that run.sh boots: installs the packages, uses gantryd.service,
# upgrades, removes. /test/1 has the packages, /test/2 newer ones. Prints as inside.sh does, into /test/booted.log.
set -u
exec >/test/booted.log 2>&1
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8

mark=0
begin() { mark=$(date +%s%N); }
took() { printf 'time: %s ms %s\n' "$((($(date +%s%N) - mark) / 1000000))" "$1"; }

check() {
    name=$1
    shift
    if "$@" >/tmp/check.log 2>&1; then echo "ok: $name"; else
        echo "FAILED: $name"
        tail -n 20 /tmp/check.log
    fi
}

await() {
    tries=$(($1 * 20))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { "$@"; return 1; }
        sleep 0.05
    done
}

apt_() { apt-get -q -y -o APT::Keep-Downloaded-Packages=true -o APT::Sandbox::User=root "$@" </dev/null; }
property() { systemctl show -P "$1" gantryd; }
is() { [ "$(property "$1")" = "$2" ] || { echo "$1 is $(property "$1")"; systemctl status --no-pager -l gantryd; return 1; }; }
answers() { gantry containers; }
not_in_journal() { ! journalctl -u gantryd --no-pager | grep -iE "$1"; }

install_all() { apt_ install /test/1/*.deb && is ActiveState active && answers; }
sandboxed() {
    s=/proc/$(property MainPID)/status
    grep -q '^Uid:.*'"$(id -u gantry)" "$s" && grep -q '^CapEff:\s*0*$' "$s" && grep -q '^CapBnd:\s*0*$' "$s" &&
        grep -q '^NoNewPrivs:\s*1' "$s" && grep -q '^Seccomp:\s*2' "$s"
}

# Without an engine a workload is kept, and waits; how full the machine is can be seen from inside the unit.
keeps_workloads() {
    gantry node -o json | grep -E '"memory_total_bytes":[1-9]' | grep -E '"disk_total_bytes":[1-9]' || return 1
    printf 'id: web\ncontainer: {image: "busybox:1", secret_env: {PIN: "1234"}}\n' >/tmp/web.yaml
    gantry apply -f /tmp/web.yaml && [ "$(stat -c '%U %a' /var/lib/gantry/state.db)" = 'gantry 600' ] &&
        gantry explain web && systemctl restart gantryd && gantry get web && gantry delete web
}

# What the engine does for "-v /run/gantry-agents/robot:/var/run/agent": a folder of root's.
start_agent() {
    mkdir -m 0755 /run/gantry-agents/robot && chown 0:0 /run/gantry-agents/robot || return 1
    mkdir -p /run/service/talker /run/service/gantry-agent && ln -s gantry-agents/robot /run/agent || return 1
    printf '#!/bin/sh\nexec sleep 1000\n' >/run/service/talker/run && chmod 0755 /run/service/talker/run
    cp /usr/share/gantry/s6-overlay/s6-rc.d/gantry-agent/run /run/service/gantry-agent/run
    s6-svscan /run/service >/tmp/svscan.log 2>&1 &
    await 60 test -S /run/agent/s6_agent.sock
}

sees_agent() { gantry services robot | grep talker; }
reload_adds() {
    printf '# mine\ncontainers:\n  robot:\n    socket_path: /run/gantry-agents/robot/s6_agent.sock\n' >>/etc/gantry/config.yml
    pid=$(property MainPID)
    systemctl reload gantryd && await 60 sees_agent && is MainPID "$pid"
}

reload_survives_faults() {
    cp /etc/gantry/config.yml /tmp/good.yml && echo "nonsense: 1" >>/etc/gantry/config.yml
    pid=$(property MainPID)
    systemctl reload gantryd
    await 60 is ActiveState active && sees_agent && is MainPID "$pid" && cp /tmp/good.yml /etc/gantry/config.yml
}

bad_start_is_final() {
    echo "nonsense: 1" >>/etc/gantry/config.yml
    systemctl restart gantryd
    await 60 is ActiveState failed && is ExecMainStatus 3 && is NRestarts 0
    rc=$?
    cp /tmp/good.yml /etc/gantry/config.yml
    systemctl reset-failed gantryd
    systemctl start gantryd && await 60 sees_agent && [ "$rc" -eq 0 ]
}

restarted() { [ "$(property MainPID)" != "$pid" ] && is ActiveState active && is NRestarts "$1"; }
killed_comes_back() {
    pid=$(property MainPID)
    kill -KILL "$pid" && await 60 restarted 1 && await 60 sees_agent
}

# 10 s instead of 30, for the test's sake.
stuck_comes_back() {
    mkdir -p /run/systemd/system/gantryd.service.d
    printf '[Service]\nWatchdogSec=10\n' >/run/systemd/system/gantryd.service.d/test.conf
    systemctl daemon-reload && systemctl restart gantryd && sleep 13 && is NRestarts 0 || return 1
    pid=$(property MainPID)
    kill -STOP "$pid" && await 60 restarted 1 && await 60 sees_agent || return 1
    rm -r /run/systemd/system/gantryd.service.d && systemctl daemon-reload && systemctl restart gantryd
}

upgrade() {
    pid=$(property MainPID)
    apt_ install /test/2/*.deb && is ActiveState active && [ "$(property MainPID)" != "$pid" ] && await 60 sees_agent &&
        grep -qx '# mine' /etc/gantry/config.yml
}

# As the guide says; root itself may not own the tokens that it looks at.
check_as_service() {
    gantry token create alice --role operator --expires 30d && gantry token list | grep alice && [ -s /var/lib/gantry/tokens.json ] &&
        runuser -u gantry -- env XDG_STATE_HOME=/var/lib gantryd --check-config --config /etc/gantry/config.yml &&
        gantry token revoke alice
}

# The other way to change the configuration: look, compare, reload.
config_verbs() {
    runuser -u gantry -- env XDG_STATE_HOME=/var/lib gantry config check || return 1
    printf 'log:\n  level: debug\n' >/tmp/debug.yml
    install -D -m 0644 /tmp/debug.yml /etc/gantry/conf.d/debug.yml
    gantry config diff | grep log.level && gantry config reload && gantry config show | grep 'log.level.*debug' &&
        rm -r /etc/gantry/conf.d && gantry config reload
}

stops_at_once() { systemctl stop gantryd && is Result success && is ExecMainStatus 0 && [ ! -e /run/gantry ]; }
remove() { systemctl start gantryd && apt_ remove gantryd && ! systemctl is-active gantryd; }
purge() {
    apt_ purge gantryd && systemctl daemon-reload && is LoadState not-found && [ ! -e /etc/gantry ] && [ ! -e /var/lib/gantry ] &&
        [ ! -e /var/log/gantry ] && ! getent passwd gantry && [ -z "$(find /etc/systemd /var/lib/systemd -name 'gantryd*')" ]
}

begin
check "systemd: install starts the service" install_all
took "install the three packages, started by systemd"
check "systemd: user, no capabilities, no new privileges, seccomp" sandboxed
check "systemd: a workload is kept" keeps_workloads
check "systemd: agent under s6" start_agent
begin
check "systemd: reload takes a new container" reload_adds
took "reload with a new container until its services are shown"
check "systemd: a reload with faults changes nothing" reload_survives_faults
check "systemd: a start with faults is not tried again" bad_start_is_final
check "systemd: a killed one comes back" killed_comes_back
check "systemd: a stuck one is found by the watchdog" stuck_comes_back
check "systemd: a token; the configuration checked as the service's user" check_as_service
check "systemd: gantry config check, diff, reload, show" config_verbs
begin
check "systemd: upgrade starts the new one" upgrade
took "upgrade, restarted by systemd"
check "systemd: nothing was denied" not_in_journal 'denied|not permitted|read-only'
check "systemd: stop" stops_at_once
check "systemd: remove stops it" remove
check "systemd: purge leaves no unit, user, folder" purge
echo "end"
systemctl poweroff --no-block
