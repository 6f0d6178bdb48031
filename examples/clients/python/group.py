"""Shows how the members of a group share a topic: each partition is one member's, while it lives.

    python3 -m venv .venv
    .venv/bin/pip install -r requirements.txt

Start members in terminals of their own; each says which partitions it has, and what it reads:

    .venv/bin/python group.py read north
    .venv/bin/python group.py read south
    .venv/bin/python group.py read west

In one more, write orders of a few customers, and see all of a customer's orders at one member:

    .venv/bin/python group.py write 12

Then stop a member with Ctrl-C: its partitions move to the others, who keep what they have. Kill
one with `kill -9`, and they move when the broker has not heard from it for session.timeout.ms.
"""

import argparse
import signal

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC = "shared-orders"
PARTITIONS = 6
CUSTOMERS = ["ada", "alan", "barbara", "edsger", "frances", "grace", "john", "tony"]


def create_topic(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    try:
        admin.create_topics([NewTopic(TOPIC, num_partitions=PARTITIONS)])[TOPIC].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def write(bootstrap, count):
    """Writes orders that are numbered from 1, by each customer in turn."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(1, count + 1):
        customer = CUSTOMERS[number % len(CUSTOMERS)]
        producer.produce(TOPIC, key=customer, value=f"order {number}")
    producer.flush()
    print(f"{count} orders written")


def read(bootstrap, name):
    """Reads as a member of the group, until Ctrl-C or `kill`."""
    held = set()

    def say(line):
        print(f"{name}: {line}", flush=True)

    def say_held():
        say("has partitions " + (" ".join(map(str, sorted(held))) or "none"))

    # With the cooperative assignor, members keep their partitions while others come and go, and
    # only those that move are named here.
    def on_assign(_, partitions):
        held.update(partition.partition for partition in partitions)
        say_held()

    def on_revoke(_, partitions):
        held.difference_update(partition.partition for partition in partitions)
        say_held()

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "packers",
            "partition.assignment.strategy": "cooperative-sticky",
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6_000,  # a member not heard from for so long is taken for dead
            "heartbeat.interval.ms": 500,  # how soon a member hears that others come or go
            # Committed by hand, after the work: whoever has the partition next goes on from there.
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([TOPIC], on_assign=on_assign, on_revoke=on_revoke)
    # `kill` ends it as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            message = consumer.poll()
            if message.error():
                raise KafkaException(message.error())
            customer, order = message.key().decode(), message.value().decode()
            say(f"partition {message.partition()}: {customer}, {order}")
            consumer.commit(message, asynchronous=False)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()  # leaves the group, so that its partitions move at once


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap-server", default="localhost:9092", metavar="HOST:PORT")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write").add_argument("count", type=int)
    commands.add_parser("read").add_argument("name")
    arguments = parser.parse_args()
    create_topic(arguments.bootstrap_server)
    if arguments.command == "write":
        write(arguments.bootstrap_server, arguments.count)
    else:
        read(arguments.bootstrap_server, arguments.name)


main()
