#!/bin/sh
# Apache Kafka itself, one node (KRaft), for tests and comparisons.
#
#   start-kafka.sh fetch             fetch the jars if they are missing, and print where they are
#   start-kafka.sh run DIR PORT      format DIR if it is empty and serve it on 127.0.0.1:PORT
#                                    (PORT + 1 is the controller's) until standard input ends;
#                                    with - for DIR, a temporary one that goes when it ends
#   start-kafka.sh class NAME ARGS   run one of Kafka's tools, such as kafka.tools.DumpLogSegments
#   start-kafka.sh commands          run many of them in one process, as Commands.java says
#   start-kafka.sh connect           run Connect's transforms and converters, as Connect.java says
#   start-kafka.sh standalone FILES  run Connect's own worker with these properties
#   start-kafka.sh streams ARGS      run Kafka Streams' word count, as WordCount.java says
#
# `run` ends with its caller, however that ends: hold its standard input open for as long as the
# broker is wanted. It prints "ready 127.0.0.1:PORT" when clients may connect, and "stopped" with
# the end of the log if it cannot go on.
#
# The jars come from Maven Central (43 MB; 35 MB for Connect's worker, 95 MB for Streams) and stay in
# $MILLSTREAM_KAFKA_DIR, by default target/kafka of this repository.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n '/kafka_2.13/{n;s/.*<version>\(.*\)<.*/\1/p;}' "$here/pom.xml")
jars=${MILLSTREAM_KAFKA_DIR:-$here/../../target/kafka}/$version
pom=$here/pom.xml
# Connect's worker brings a web server along, and Streams a database, which nothing else needs.
case ${1:-} in
    standalone) jars=$jars-connect pom=$here/connect-pom.xml ;;
    streams) jars=$jars-streams pom=$here/streams-pom.xml ;;
esac
complete=$jars/complete-$(cksum < "$pom" | cut -d ' ' -f 1)

# In a subshell, so that the lock ends with it: a Java process that inherited the descriptor would
# keep the others waiting for as long as it lives.
fetch() (
    [ -f "$complete" ] && exit
    for tool in java mvn; do
        command -v "$tool" > /dev/null && continue
        echo "start-kafka.sh: '$tool' is not installed (apt install default-jre-headless maven)" >&2
        exit 3
    done
    mkdir -p "$jars"
    # One fetch at a time; the others wait for it and find the jars.
    exec 9> "$jars/lock"
    flock 9
    [ -f "$complete" ] && exit
    mvn -q -B -f "$pom" dependency:copy-dependencies \
        -DoutputDirectory="$jars" -DincludeScope=runtime >&2
    touch "$complete"
)

# Becomes the java process: call it in a subshell to come back.
java_class() {
    # A small heap and the quick compiler: what counts here is a short start.
    exec java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 ${KAFKA_JVM_OPTIONS:-} \
        -cp "$jars/*" "$@"
}

configure() {
    mkdir -p "$dir"
    cat > "$dir/server.properties" << PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.heartbeat.interval.ms=1000
group.share.min.session.timeout.ms=6000
group.share.session.timeout.ms=6000
group.share.min.heartbeat.interval.ms=1000
group.share.heartbeat.interval.ms=1000
group.share.min.record.lock.duration.ms=1000
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
PROPERTIES
    [ -f "$dir/data/meta.properties" ] && return
    (java_class kafka.tools.StorageTool format -t "$(cluster_id)" \
        -c "$dir/server.properties" --feature share.version=1) > "$dir/format.log" 2>&1 \
        || { cat "$dir/format.log" >&2; exit 1; }
}

cluster_id() {
    # One that begins with a dash would be taken for an option.
    head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 1-22 | sed 's/^-/A/'
}

run() {
    dir=$1 port=$2 temporary=
    if [ "$dir" = - ]; then
        dir=$(mktemp -d) temporary=$dir
    fi
    server=
    trap 'end_run' EXIT
    trap 'exit 143' INT TERM
    configure
    # The log goes through a pipe whose reader says when the server has started.
    mkfifo "$dir/output.$$"
    java_class -Dlog4j2.configurationFile="$here/log4j2.properties" \
        kafka.Kafka "$dir/server.properties" > "$dir/output.$$" 2>&1 < /dev/null &
    server=$!
    announce < "$dir/output.$$" &
    cat > /dev/null
}

end_run() {
    [ -z "$server" ] || kill -9 "$server" 2> /dev/null || true
    rm -rf "$dir/output.$$" $temporary
}

announce() {
    while IFS= read -r line; do
        echo "$line" >> "$dir/server.log"
        case $line in *"Kafka Server started"*) echo "ready 127.0.0.1:$port" ;; esac
    done
    tail -n 20 "$dir/server.log" >&2
    echo stopped
}

command=${1:?usage: start-kafka.sh fetch | run DIR PORT | class NAME ARGS | commands}
shift
fetch
case $command in
    fetch) echo "$jars" ;;
    run) run "${1:?DIR}" "${2:?PORT}" ;;
    class) java_class "$@" ;;
    connect) java_class -Duser.timezone=UTC -Dorg.apache.logging.log4j.level=OFF \
        "$here/Connect.java" ;;
    standalone) java_class -Dlog4j2.configurationFile="$here/log4j2.properties" \
        org.apache.kafka.connect.cli.ConnectStandalone "$@" ;;
    streams) java_class -Dlog4j2.configurationFile="$here/log4j2.properties" \
        "$here/WordCount.java" "$@" ;;
    commands) java_class -Dorg.apache.logging.log4j.level=OFF "$here/Commands.java" ;;
    *) echo "start-kafka.sh: unknown command '$command'" >&2; exit 2 ;;
esac
