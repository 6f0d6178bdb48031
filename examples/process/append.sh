#!/bin/sh
# Records, as they come, at the end of a file: a sink for process-sink in eight lines of shell.
# sh append.sh FILE
while IFS= read -r line; do
  case $line in
    '{"type":"record",'*) printf '%s\n' "$line" >> "$1" ;;
    '{"type":"flush",'*)
      sync "$1" && printf '{"type":"flushed","id":%s\n' "${line#*'"id":'}" ;;
  esac
done
