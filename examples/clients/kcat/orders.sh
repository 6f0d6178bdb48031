#!/bin/sh
# Writes four orders to a topic and reads them back in a group, with kcat (librdkafka).
#
#     apt install kcat        (macOS: brew install kcat)
#     ./orders.sh localhost:9092
set -eu
bootstrap=${1:-localhost:9092}

# -P writes. The topic is made by its first message, with one partition; for three, make it before:
# millstream topics create orders --partitions 3. Each line is a message, with its key before the
# equals sign (-K). A key's messages go to one partition, so they stay in order; the partitioner
# named here picks the same one as Java's client does.
kcat -b "$bootstrap" -P -t orders -K = -X topic.partitioner=murmur2_random <<ORDERS
ada=3 apples
grace=1 book
ada=2 pears
alan=1 pen
ORDERS

# -G reads as a member of a group, of which each has some of the partitions. The group remembers
# how far it has read: run this twice, and it reads on where it stopped. -c ends it after four.
kcat -b "$bootstrap" -q -G warehouse -c 4 -f 'partition %p: %k = %s\n' \
  -X auto.offset.reset=earliest orders
