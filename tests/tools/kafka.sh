#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A real Apache Kafka broker on this machine, for tests and for ./dev cluster.
#
#   kafka.sh fetch             gets the jars (once, 43 MB, through Maven) and prints the folder they are in
#   kafka.sh start DIR PORT    starts a broker on 127.0.0.1:PORT with its data in DIR; returns when it answers
#   kafka.sh stop DIR          SIGTERM, then after 15 s SIGKILL
#   kafka.sh kill DIR          SIGKILL at once, as a power cut would
#   kafka.sh status DIR        prints "running PID PORT" (exit 0) or "stopped" (exit 1)
#
# PORT 0: free ports are chosen on the first start and kept for later ones; DIR/kafka.port tells. The broker is its own
# controller (KRaft), listens on loopback only and needs about 400 MB. DIR keeps everything: data/ (survives stop, kill
# and start), kafka.pid, kafka.port, kafka.controller-port, kafka.log, server.properties. To begin anew, delete DIR.
# Topics are not made by themselves: create them (libimgo does), with their own message.timestamp.type.
#
# IMGO_KAFKA_LISTENERS="NAME:PORT:ADVERTISED …" gives it further listeners, each with the port that its clients are told to
# connect to: that of a proxy, for tests.
#
# start while it runs is fine and does nothing. The jars are kept in ${IMGO_CACHE:-$HOME/.cache/imgo}/kafka-VERSION,
# outside the build folder; start fetches them when they are missing.
#
# Exit status: 0 done; 1 failed (the end of kafka.log is shown); 2 usage; 77 no Java or no jars to be had (meson and
# automake read that as "skipped").

set -u
version=${IMGO_KAFKA_VERSION:-4.1.1}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${IMGO_CACHE:-$HOME/.cache/imgo}
jars=$cache/kafka-$version

skip() {
    echo "SKIPPED: no Kafka: $1" >&2
    echo "  It needs java 17+ and, once, mvn (Debian: apt-get install openjdk-17-jre-headless maven) with a Maven" >&2
    echo "  repository to fetch org.apache.kafka:kafka_2.13:$version from; or put its jars into" >&2
    echo "  $jars" >&2
    exit 77
}

fetch() {
    command -v java >/dev/null || skip "java is not installed"
    [ -f "$jars/kafka_2.13-$version.jar" ] && return
    command -v mvn >/dev/null || skip "mvn is not installed"
    mkdir -p "$cache" || skip "cannot write $cache"
    exec 9>"$cache/kafka.lock"
    flock 9
    if [ ! -f "$jars/kafka_2.13-$version.jar" ]; then
        local tmp
        tmp=$(mktemp -d "$cache/tmp.XXXXXX") || skip "cannot write $cache"
        cp "$here/kafka/pom.xml" "$tmp/"
        if ! (cd "$tmp" && timeout 300 mvn -q -B -Dkafka.version="$version" dependency:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$tmp/jars" >"$tmp/mvn.log" 2>&1 </dev/null 9>&-); then
            tail -5 "$tmp/mvn.log" >&2
            rm -rf "$tmp"
            skip "mvn could not fetch the jars"
        fi
        rm -rf "$jars"
        mv "$tmp/jars" "$jars"
        rm -rf "$tmp"
    fi
    exec 9>&-
}

# The pid of DIR's broker when it is alive; a recycled pid is not taken for it.
pid_of() {
    local pid
    pid=$(cat "$1/kafka.pid" 2>/dev/null) || return 1
    grep -qzxF -- "$1/server.properties" "/proc/$pid/cmdline" 2>/dev/null || return 1
    echo "$pid"
}

busy() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Below the kernel's range for outgoing connections, so that none of those is in the way.
free_port() {
    local port
    while :; do
        port=$((18000 + RANDOM % 14000))
        busy "$port" || break
    done
    echo "$port"
}

choose_ports() {
    local dir=$1 port=$2
    if [ "$port" != 0 ]; then
        echo "$port" >"$dir/kafka.port"
    elif [ ! -s "$dir/kafka.port" ]; then
        free_port >"$dir/kafka.port"
    fi
    [ -s "$dir/kafka.controller-port" ] || free_port >"$dir/kafka.controller-port"
}

configure() {
    local dir=$1 port controller one name listen advertised listeners= told= map=
    port=$(cat "$dir/kafka.port")
    controller=$(cat "$dir/kafka.controller-port")
    for one in ${IMGO_KAFKA_LISTENERS:-}; do
        IFS=: read -r name listen advertised <<<"$one"
        listeners+=",$name://127.0.0.1:$listen" told+=",$name://127.0.0.1:$advertised" map+=",$name:PLAINTEXT"
    done
    {
        cat "$here/kafka/server.properties"
        echo "log.dirs=$dir/data"
        echo "listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$listeners"
        echo "advertised.listeners=PLAINTEXT://127.0.0.1:$port$told"
        echo "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT$map"
        echo "controller.quorum.voters=1@127.0.0.1:$controller"
    } >"$dir/server.properties"
}

run_java() {
    exec java -Xms128m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
        "-Dlog4j2.configurationFile=$here/kafka/log4j2.properties" -cp "$jars/*" "$@"
}

format() {
    local dir=$1
    [ -f "$dir/data/meta.properties" ] && return
    (run_java kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | cut -c1-22)" \
        -c "$dir/server.properties") >>"$dir/kafka.log" 2>&1 </dev/null
}

# One attempt. 0: it answers; 1: it ended; 2: it did not answer in time.
launch() {
    local dir=$1 mark pid
    mark=$(stat -c %s "$dir/kafka.log" 2>/dev/null || echo 0)
    (cd "$dir" && exec setsid bash -c 'echo $$ >kafka.pid; exec "$@"' bash \
        "$here/kafka.sh" _run "$dir" >>kafka.log 2>&1 </dev/null) &
    for _ in $(seq 600); do
        sleep 0.1
        if tail -c "+$((mark + 1))" "$dir/kafka.log" 2>/dev/null | grep -q 'Kafka Server started'; then
            return 0
        fi
        pid=$(cat "$dir/kafka.pid" 2>/dev/null) || continue
        kill -0 "$pid" 2>/dev/null || return 1
    done
    return 2
}

start() {
    local dir=$1 port=$2 fresh=no
    mkdir -p "$dir" && dir=$(cd "$dir" && pwd) || exit 1
    pid_of "$dir" >/dev/null && return
    fetch
    [ "$port" = 0 ] && [ ! -s "$dir/kafka.port" ] && fresh=yes
    for _ in 1 2 3; do
        rm -f "$dir/kafka.pid"
        choose_ports "$dir" "$port"
        configure "$dir"
        format "$dir" || break
        launch "$dir" && return
        stop "$dir"
        # Somebody may have taken a port between the choice and the start.
        grep -q 'BindException' "$dir/kafka.log" && [ "$fresh" = yes ] || break
        rm -rf "$dir/kafka.port" "$dir/kafka.controller-port"
    done
    echo "kafka.sh: the broker did not start; the end of $dir/kafka.log:" >&2
    tail -20 "$dir/kafka.log" >&2
    exit 1
}

stop() {
    local dir pid
    dir=$(cd "$1" 2>/dev/null && pwd) || return 0
    pid=$(pid_of "$dir") || return 0
    kill "-${2:-TERM}" "$pid"
    for _ in $(seq 150); do
        pid_of "$dir" >/dev/null || break
        sleep 0.1
    done
    pid_of "$dir" >/dev/null && kill -KILL "$pid"
    while pid_of "$dir" >/dev/null; do
        sleep 0.05
    done
    rm -f "$dir/kafka.pid"
}

status() {
    local dir pid
    if dir=$(cd "$1" 2>/dev/null && pwd) && pid=$(pid_of "$dir"); then
        echo "running $pid $(cat "$dir/kafka.port")"
        return
    fi
    echo stopped
    return 1
}

case "${1:-} $#" in
"fetch 1") fetch && echo "$jars" ;;
"start 3") start "$2" "$3" ;;
"stop 2") stop "$2" ;;
"kill 2") stop "$2" KILL ;;
"status 2") status "$2" ;;
"_run 2") run_java kafka.Kafka "$2/server.properties" ;;
*)
    sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
