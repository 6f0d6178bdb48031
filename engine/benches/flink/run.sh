#!/bin/sh
# Nexmark by Apache Flink's SQL, to compare with.
#
#   run.sh fetch              fetch the jars if they are missing (PyPI, 330 MB), print where they are
#   run.sh EVENTS [QUERY…]    run queries over the files EVENTS/nexmark-*.json, one line for each:
#                             name, seconds by the clock, seconds of all processors
#
# The jars stay in $MILLSTREAM_FLINK_DIR, by default target/flink of this repository.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
version=2.3.0
jars=${MILLSTREAM_FLINK_DIR:-$here/../../../target/flink}/$version

fetch() {
    [ -f "$jars/complete" ] && return
    for tool in java python3 unzip; do
        command -v "$tool" > /dev/null && continue
        echo "run.sh: '$tool' is not installed (apt install default-jdk-headless python3-pip unzip)" >&2
        exit 3
    done
    mkdir -p "$jars"
    python3 -m pip download --quiet --no-deps --dest "$jars" "apache-flink-libraries==$version" >&2
    unzip -q -o -j "$jars"/apache_flink_libraries-*.whl 'pyflink/lib/*.jar' -d "$jars"
    rm "$jars"/apache_flink_libraries-*.whl
    touch "$jars/complete"
}

case ${1:?"fetch, or the folder of the events"} in
fetch)
    fetch
    echo "$jars"
    ;;
*)
    fetch
    # What Flink's own start script opens for Java 17, with a heap that never is the limit.
    exec java -Xmx8g --add-exports=java.base/sun.net.util=ALL-UNNAMED \
        --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.util=ALL-UNNAMED \
        --add-opens=java.base/java.time=ALL-UNNAMED -Dlog4j2.level=ERROR \
        -cp "$jars/*" "$here/Nexmark.java" "$here/nexmark.sql" "$@"
    ;;
esac
