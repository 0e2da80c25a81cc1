#!/bin/sh
# What a new user does, in a fresh chroot; called by run.sh. /test/1 has the packages, /test/2 and /test/3 newer ones,
# the last with another default configuration. "inside.sh download" gets what they need, "inside.sh depend" installs that
# without them, for an image that is built without a network, "inside.sh systemd" for a system that boots, "inside.sh try"
# does the rest.
# Prints "ok: ..." or "FAILED: ..." for each check, and "time: SECONDS STEP".
set -u
export DEBIAN_FRONTEND=noninteractive

apt_() { apt-get -q -y -o APT::Keep-Downloaded-Packages=true -o APT::Sandbox::User=root "$@" </dev/null; }

if [ "$1" = download ]; then
    apt_ update && apt_ install --download-only /test/1/*.deb
    exit
fi
if [ "$1" = depend ]; then
    apt_ install --no-install-recommends /test/1/*.deb && dpkg --purge gantryd gantry gantry-agent
    exit
fi
if [ "$1" = systemd ]; then
    apt_ update && apt_ install --no-install-recommends systemd systemd-sysv dbus s6 /test/1/*.deb && dpkg --purge gantryd gantry gantry-agent
    exit
fi

mark=$(date +%s%N)
# took STEP: the time since the last call.
took() {
    now=$(date +%s%N)
    printf 'time: %s %s\n' "$(((now - mark) / 1000000)) ms" "$1"
    mark=$(date +%s%N)
}

check() {
    name=$1
    shift
    if "$@" >/tmp/check.log 2>&1; then echo "ok: $name"; else
        echo "FAILED: $name"
        tail -n 20 /tmp/check.log
    fi
}

# await SECONDS COMMAND...: until it succeeds.
await() {
    tries=$(($1 * 20))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.05
    done
}

# All files, without what apt, dpkg, adduser and passwd keep for themselves.
files() {
    find / \( -path /proc -o -path /sys -o -path /dev -o -path /test -o -path /tmp -o -path /var/cache/apt -o -path /var/lib/apt \
        -o -path /var/lib/dpkg -o -path /run/adduser -o -path "/etc/*shadow-" -o -path /var/log/apt -o -path /var/cache/ldconfig -o -path /var/cache/debconf \) -prune -o -print | sort
}

state() {
    files
    cut -d: -f1 /etc/passwd /etc/group | sort
    dpkg-query -W -f '${Package} ${db:Status-Status}\n'
}

version() { dpkg-query -W -f '${Version}' gantryd; }
mine() { grep -qx '# mine' /etc/gantry/config.yml && grep -q 'socket_path: /run/gantry-agents/robot' /etc/gantry/config.yml; }
mode_is() { [ "$(stat -c '%a %U:%G' "$1")" = "$2" ] || { stat -c '%a %U:%G %n' "$1"; return 1; }; }

# What systemd does with gantryd.service, by hand: there is no systemd here.
start_gantryd() {
    install -d -o gantry -g gantry -m 0755 /run/gantry
    setpriv --reuid gantry --regid gantry --init-groups --inh-caps=-all --bounding-set=-all --no-new-privs \
        env XDG_RUNTIME_DIR=/run XDG_STATE_HOME=/var/lib LOGS_DIRECTORY=/var/log/gantry gantryd >>/tmp/gantryd.log 2>&1 &
    gantryd=$!
    await 60 gantry containers || { tail -n 20 /tmp/gantryd.log; return 1; }
}

pages() { gantry api GET /docs | grep -q swagger-ui && gantry api GET /redoc | grep -q redoc; }

gone() { ! kill -0 "$1" 2>/dev/null; }

audited() { await 60 grep -q talker /var/log/gantry/audit.log; }

stop_gantryd() {
    kill "$gantryd" && wait "$gantryd"
}

# A container's s6 tree, with the agent as the package brings it.
start_tree() {
    from=/usr/share/gantry/s6-overlay/s6-rc.d
    # There is no systemd-tmpfiles here, nor setfacl; for one folder the group's bit does the same.
    install -d -m 2750 -g gantry /run/gantry-agents
    mkdir -p /run/gantry-agents/robot /run/service/talker /run/service/gantry-agent/log /etc/s6-overlay
    ln -s gantry-agents/robot /run/agent
    cp -R "$from" /etc/s6-overlay
    printf '#!/bin/sh\nexec sleep 1000\n' >/run/service/talker/run
    chmod 0755 /run/service/talker/run
    cp "$from/gantry-agent/run" /run/service/gantry-agent/run
    cp "$from/gantry-agent-log/run" "$from/gantry-agent-log/notification-fd" /run/service/gantry-agent/log
    s6-svscan /run/service >/tmp/svscan.log 2>&1 &
    svscan=$!
    await 60 test -S /run/agent/s6_agent.sock
}

write_config() {
    cat >>/etc/gantry/config.yml <<'END'
# mine
containers:
  robot:
    socket_path: /run/gantry-agents/robot/s6_agent.sock
END
    gantryd --check-config --config /etc/gantry/config.yml
}

first_request() { gantry services robot | grep talker && gantry status robot talker | grep up; }
agent_logs() { await 60 grep -q s6_agent.sock /var/log/gantry-agent/current || { cat /var/log/gantry-agent/current; return 1; }; }
upgrade() { apt_ install "$@" && [ "$(version)" != "$before" ]; }
# A file that both sides changed is a question; this is how to answer it without a terminal.
upgrade_3() { upgrade -o Dpkg::Options::=--force-confold /test/3/*.deb; }

state >/tmp/before
mark=$(date +%s%N)
check "install" apt_ install /test/1/*.deb
took "install the three packages and what they need"
check "the configuration has no fault" gantryd --check-config --config /etc/gantry/config.yml
check "user" getent passwd gantry
check "state folder" mode_is /var/lib/gantry "750 gantry:gantry"
check "log folder" mode_is /var/log/gantry "750 gantry:gantry"
for f in bash-completion/completions/gantry zsh/vendor-completions/_gantry fish/vendor_completions.d/gantry.fish \
    gantry/s6-overlay/s6-rc.d/gantry-agent/run; do
    check "/usr/share/$f" test -s "/usr/share/$f"
done
mark=$(date +%s%N)
check "gantryd starts and answers" start_gantryd
took "start gantryd until it answers"
if [ -d /usr/share/gantry/apidocs ]; then check "the pages of the API" pages; fi
check "socket of gantryd" mode_is /run/gantry/gantryd.sock "660 gantry:gantry"
check "s6 tree and agent start" start_tree
took "start the agent under s6 until it listens"
check "socket of the agent" mode_is /run/agent/s6_agent.sock "660 root:gantry"
check "configuration with a container" write_config
check "gantryd stops" stop_gantryd
check "gantryd starts again" start_gantryd
check "first request" first_request
took "name the container, restart gantryd, first request"
check "a change" gantry restart robot talker
check "it is in the audit file" audited
check "modes of the audit file" mode_is /var/log/gantry/audit.log "640 gantry:gantry"
check "the agent's own log is where it looks for logs" agent_logs

before=$(version)
mark=$(date +%s%N)
check "upgrade asks nothing" upgrade /test/2/*.deb
took "upgrade"
check "the changed configuration is kept" mine
check "gantryd stops after the upgrade" stop_gantryd
check "gantryd starts after the upgrade" start_gantryd
check "request after the upgrade" first_request
before=$(version)
check "upgrade with another default configuration" upgrade_3
check "the changed configuration is kept again" mine
check "the new default lies beside it" grep -q 'another default' /etc/gantry/config.yml.dpkg-dist

check "gantryd stops at the end" stop_gantryd
touch /var/lib/gantry/state /var/log/gantry/audit.log
s6-svscanctl -t /run/service
check "the s6 tree ends" await 60 gone "$svscan"
mark=$(date +%s%N)
check "remove" apt_ remove gantryd gantry gantry-agent
took "remove"
check "remove keeps the configuration" mine
check "remove keeps the state" test -e /var/lib/gantry/state
check "remove takes the programs" test ! -e /usr/sbin/gantryd -a ! -e /usr/bin/gantry -a ! -e /usr/bin/gantry-agent
mark=$(date +%s%N)
check "purge" apt_ purge gantryd
took "purge"
check "autoremove" apt_ autoremove --purge
# What this script itself made in place of a container.
rm -rf /run/service /run/agent /run/gantry-agents/robot /run/gantry-agents /etc/s6-overlay /var/log/gantry-agent
state >/tmp/after
check "nothing is left behind" diff /tmp/before /tmp/after
