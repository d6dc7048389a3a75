# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Sourced by ./dev: what can run here, how each part is started and when it is ready.

kafka=$root/tests/tools/kafka.sh
programs=${IMGO_BUILD:-build}

# In the order of starting; they are stopped in the reverse order.
cluster_names=(kafka memcached router logic job comet1 comet2)
all_names=(imgo "${cluster_names[@]}")

# Every port is here, once. memcached has one of its own: installing Debian's package also starts a system-wide one on
# the usual 11211.
declare -A default_port=(
    [comet1.tcp]=8080 [comet1.websocket]=8090 [comet1.rpc]=8092
    [comet2.tcp]=8180 [comet2.websocket]=8190 [comet2.rpc]=8192
    [logic.http]=7172 [logic.store-http]=8099 [logic.rpc]=7170
    [router.rpc]=7270 [kafka]=9092 [memcached]=11311
    [imgo.admin]=7073 [comet1.admin]=8093 [comet2.admin]=8193 [logic.admin]=7173 [router.admin]=7273 [job.admin]=7373
)

# The shift belongs to what runs: up and cluster choose it when nothing does.
port_shift=$(cat "$state/port-shift" 2>/dev/null || echo 0)

choose_port_shift() {
    local wanted=${IMGO_PORT_SHIFT:-0}
    [[ $wanted =~ ^[0-9]{1,5}$ ]] || usage "IMGO_PORT_SHIFT is a number"
    [ -z "$(verb_ps)" ] || return 0
    port_shift=$wanted
    echo "$port_shift" >"$state/port-shift"
}

port() {
    echo $((default_port[$1] + port_shift))
}

ports_of() {
    local key
    for key in $(printf '%s\n' "${!default_port[@]}" | sort); do
        case $1:$key in
        imgo:comet1.tcp | imgo:comet1.websocket | imgo:logic.http | imgo:logic.store-http | imgo:imgo.admin) port "$key" ;;
        imgo:*) ;;
        "$1:$1" | "$1:$1."*) port "$key" ;;
        esac
    done
}

is_name() {
    [[ " ${all_names[*]} " == *" $1 "* ]]
}

config_of() {
    echo "; Written by ./dev cluster, which writes it anew; ./dev start keeps what you change here."
    echo "[admin]"
    echo "listen=127.0.0.1:$(port "$1.admin")"
    case $1 in
    comet?)
        echo "[comet]"
        echo "id=${1#comet}"
        echo "tcp=0.0.0.0:$(port "$1.tcp")"
        echo "websocket=0.0.0.0:$(port "$1.websocket")"
        echo "rpc=127.0.0.1:$(port "$1.rpc")"
        echo "[logic]"
        echo "peers=127.0.0.1:$(port logic.rpc)"
        return
        ;;
    router)
        echo "[router]"
        echo "rpc=127.0.0.1:$(port router.rpc)"
        return
        ;;
    logic)
        echo "[logic]"
        echo "http=127.0.0.1:$(port logic.http)"
        echo "store-http=127.0.0.1:$(port logic.store-http)"
        echo "rpc=127.0.0.1:$(port logic.rpc)"
        ;;
    esac
    echo "[router]"
    echo "peers=127.0.0.1:$(port router.rpc)"
    echo "[kafka]"
    echo "brokers=127.0.0.1:$(port kafka)"
    echo "[memcached]"
    echo "servers=127.0.0.1:$(port memcached)"
}

write_config() {
    mkdir -p "$state/cluster"
    config_of "$1" >"$state/cluster/$1.conf"
}

# The flags that the standalone server needs to listen elsewhere than on its default ports.
shifted_flags() {
    [ "$port_shift" -eq 0 ] && return
    echo "--comet.tcp=0.0.0.0:$(port comet1.tcp)"
    echo "--comet.websocket=0.0.0.0:$(port comet1.websocket)"
    echo "--logic.http=127.0.0.1:$(port logic.http)"
    echo "--logic.store-http=127.0.0.1:$(port logic.store-http)"
    echo "--admin.listen=127.0.0.1:$(port imgo.admin)"
}

program() {
    local path
    path=$root/$programs/$(target_of "$programs" "$1") || die "$1 is not built in $programs: ./dev up or cluster does it"
    [ -x "$path" ] || die "$1 is not built in $programs: ./dev up or cluster does it"
    echo "$path"
}

run() {
    local name=$1 binary flags user=()
    case $name in
    kafka)
        "$kafka" start "$state/kafka" "$(port kafka)" 8>&- 9>&- || return
        ;;
    memcached)
        [ "$(id -u)" -ne 0 ] || user=(-u nobody)
        launch memcached memcached -M -m 256 -U 0 -l 127.0.0.1 -p "$(port memcached)" "${user[@]}"
        ;;
    imgo)
        binary=$(program imgo) || return
        mapfile -t flags < <(shifted_flags)
        mkdir -p "$state/standalone"
        launch imgo "$binary" --store.path="$state/standalone" "${flags[@]}"
        ;;
    *)
        binary=$(program "imgo-${name%[0-9]}") || return
        [ -f "$state/cluster/$name.conf" ] || write_config "$name"
        launch "$name" "$binary" --config "$state/cluster/$name.conf"
        ;;
    esac
}

ready() {
    local port
    for port in $(ports_of "$1"); do
        answers_tcp "$port" || return 1
    done
    case $1 in
    kafka | memcached) ;;
    *) curl -fs -m 2 -o /dev/null "http://127.0.0.1:$(port "$1.admin")/healthz" ;;
    esac
}

# start_one NAME: returns when it is ready; says why when it is not.
start_one() {
    local name=$1 limit=${IMGO_READY_SECONDS:-60} began=$SECONDS
    pid_of "$name" >/dev/null && return
    # shellcheck disable=SC2046 # one port a word
    ports_free $(ports_of "$name") || return
    say "starting $name …"
    run "$name" || return
    # One without a port is taken to be ready when it has not ended at once.
    [ -n "$(ports_of "$name")" ] || sleep 0.5
    while :; do
        if ! pid_of "$name" >/dev/null; then
            say "./dev: $name ended by itself; the end of its log:"
            break
        fi
        ready "$name" && return
        if [ $((SECONDS - began)) -ge "$limit" ]; then
            say "./dev: $name is not ready after $limit s (IMGO_READY_SECONDS); the end of its log:"
            break
        fi
        sleep 0.1
    done
    tail -n 20 "$(log_of "$name")" >&2
    return 1
}

stop_one() {
    local name=$1 grace=${2:-20}
    pid_of "$name" >/dev/null || return 0
    say "stopping $name …"
    end "$name" TERM "$grace" && return
    say "./dev: $name did not end within $grace s of SIGTERM; killing it"
    end "$name" KILL 10 || die "$name does not end"
}

log_of() {
    case $1 in
    kafka) echo "$state/kafka/kafka.log" ;;
    *) echo "$logs/$1.log" ;;
    esac
}

one_name() {
    [ $# -eq 1 ] || usage "the name of one part is expected: ${all_names[*]}"
    is_name "$1" || usage "no such part: $1 (${all_names[*]})"
}

# The two commands that show it working; paths as seen from where ./dev was called.
try_it() {
    local cli options=""
    cli=$(program imgo-cli) || return
    [ "$caller" = "$root" ] && cli=${cli#"$root"/}
    [ "$port_shift" -eq 0 ] || options=" --tcp 127.0.0.1:$(port comet1.tcp)"
    cat <<END
Try it: listen as user 1001 here, and push from another terminal.
  curl -d 'uid=1001&token=demo&expire=86400' http://127.0.0.1:$(port logic.http)/1/admin/token/new && $cli listen --token demo$options
  curl -d '{"hello":"world"}' 'http://127.0.0.1:$(port logic.http)/1/push?uid=1001'
END
}

verb_ps() {
    local name pid
    for name in "${all_names[@]}"; do
        pid=$(pid_of "$name") && echo "$name $pid"
    done
    return 0
}

# The standalone server and the cluster use the same ports.
not_beside() {
    local name
    for name; do
        ! pid_of "$name" >/dev/null || die "$name runs; the standalone server and the cluster share their ports: ./dev down first"
    done
}

verb_up() {
    [ $# -eq 0 ] || usage "up: unknown argument $1"
    local was
    need_packages "${packages_build[@]}"
    lock 9 processes
    choose_port_shift
    not_beside "${cluster_names[@]}"
    if was=$(pid_of imgo); then
        echo "imgo is up already (pid $was)."
    else
        build_programs "$programs" imgo imgo-cli
        start_one imgo || exit 1
        echo "imgo is up (pid $(pid_of imgo)): all roles in one process."
    fi
    cat <<END
  clients    TCP 0.0.0.0:$(port comet1.tcp), WebSocket ws://127.0.0.1:$(port comet1.websocket)/sub
  HTTP API   http://127.0.0.1:$(port logic.http), messages also http://127.0.0.1:$(port logic.store-http)
  figures    http://127.0.0.1:$(port imgo.admin)/metrics and /healthz
  data       .imgo/standalone    log: ./dev logs imgo    end: ./dev down
END
    try_it
}

verb_cluster() {
    [ $# -eq 0 ] || usage "cluster: unknown argument $1"
    local name ports=() stopped=()
    need_packages "${packages_build[@]}" "${packages_cluster[@]}"
    lock 9 processes
    choose_port_shift
    not_beside imgo
    for name in "${cluster_names[@]}"; do
        pid_of "$name" >/dev/null && continue
        stopped+=("$name")
        mapfile -t -O ${#ports[@]} ports < <(ports_of "$name")
    done
    if [ ${#stopped[@]} -gt 0 ]; then
        ports_free "${ports[@]}" || exit 1
        build_programs "$programs" imgo-comet imgo-logic imgo-router imgo-job imgo-cli
        for name in "${stopped[@]}"; do
            case $name in
            kafka | memcached) ;;
            *) write_config "$name" ;;
            esac
            start_one "$name" || exit 1
        done
        echo "The cluster is up:"
    else
        echo "The cluster is up already:"
    fi
    cat <<END
  clients    comet 1: TCP 0.0.0.0:$(port comet1.tcp), WebSocket ws://127.0.0.1:$(port comet1.websocket)/sub
             comet 2: TCP 0.0.0.0:$(port comet2.tcp), WebSocket ws://127.0.0.1:$(port comet2.websocket)/sub
  HTTP API   http://127.0.0.1:$(port logic.http), messages also http://127.0.0.1:$(port logic.store-http)
  inside     Kafka 127.0.0.1:$(port kafka), memcached 127.0.0.1:$(port memcached); configuration .imgo/cluster/*.conf
  parts      ./dev ps    stop | start | kill | logs NAME    end: ./dev down
END
    try_it
}

verb_start() {
    one_name "$@"
    lock 9 processes
    if pid_of "$1" >/dev/null; then
        say "$1 runs already"
        return
    fi
    start_one "$1"
}

verb_stop() {
    one_name "$@"
    lock 9 processes
    pid_of "$1" >/dev/null || { say "$1 does not run"; return; }
    stop_one "$1"
}

verb_kill() {
    one_name "$@"
    lock 9 processes
    pid_of "$1" >/dev/null || { say "$1 does not run"; return; }
    end "$1" KILL 10 || die "$1 does not end"
}

verb_logs() {
    local follow=() name=() argument
    for argument; do
        case $argument in
        -f) follow=(-F) ;;
        *) name+=("$argument") ;;
        esac
    done
    one_name "${name[@]}"
    [ -f "$(log_of "${name[0]}")" ] || die "${name[0]} has no log yet"
    exec tail -n 200 "${follow[@]}" "$(log_of "${name[0]}")"
}

verb_down() {
    local i
    [ $# -eq 0 ] || usage "down: unknown argument $1"
    lock 9 processes
    for ((i = ${#all_names[@]} - 1; i >= 0; i--)); do
        stop_one "${all_names[i]}"
    done
}
