#!/bin/sh
# The machine's load as a record, each time that it is called: a source for process-source with
# process.format=lines and process.interval.ms=10000.
read -r one five fifteen _ < /proc/loadavg
printf '{"host":"%s","load":[%s,%s,%s]}\n' "$(uname -n)" "$one" "$five" "$fifteen"
