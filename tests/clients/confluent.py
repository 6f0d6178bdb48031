"""confluent-kafka (librdkafka) against the broker at argv[1]: topics, keys, idempotence, groups.

Prints `ok` at the end; any failed assertion ends it with a traceback.
"""

import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP = sys.argv[1]
TOPIC = "confluent-orders"
PARTITIONS = 4
RECORDS = 2_000
PATIENCE_S = 30


def create_topic():
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(timeout=10)
    found = admin.list_topics(timeout=10).topics[TOPIC]
    assert len(found.partitions) == PARTITIONS, found.partitions


def produce():
    delivered = []

    def on_delivery(error, message):
        assert error is None, error
        delivered.append((message.partition(), message.offset()))

    producer = Producer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
        }
    )
    for number in range(RECORDS):
        producer.produce(
            TOPIC,
            key=f"customer-{number % 50}",
            value=f"order {number}",
            headers={"number": str(number)},
            on_delivery=on_delivery,
        )
        producer.poll(0)
    assert producer.flush(30) == 0
    assert len(set(delivered)) == RECORDS, "an offset was given twice"
    for partition in range(PARTITIONS):
        offsets = sorted(offset for at, offset in delivered if at == partition)
        assert offsets == list(range(len(offsets))), "offsets have gaps"


def member():
    return Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": "confluent-group",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 10_000,
        }
    )


def poll_until(members, done, seen):
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, [m.assignment() for m in members]
        for consumer in members:
            message = consumer.poll(0.05)
            if message is None:
                continue
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                continue
            seen.append((message.partition(), message.offset(), message.key(), message.value()))


def consume_in_a_group():
    first, second = member(), member()
    seen = []
    first.subscribe([TOPIC])
    poll_until([first], lambda: len(first.assignment()) == PARTITIONS, seen)
    second.subscribe([TOPIC])
    members = [first, second]
    poll_until(members, lambda: all(len(m.assignment()) == PARTITIONS // 2 for m in members), seen)
    poll_until(members, lambda: len(set(seen)) == RECORDS, seen)
    owners = {}
    for partition, _, key, _ in seen:
        assert owners.setdefault(key, partition) == partition, "a key moved between partitions"
    for consumer in members:
        consumer.commit(asynchronous=False)
    second.close()
    poll_until([first], lambda: len(first.assignment()) == PARTITIONS, seen)
    committed = first.committed([TopicPartition(TOPIC, p) for p in range(PARTITIONS)], timeout=10)
    assert sum(partition.offset for partition in committed) == RECORDS, committed
    first.close()


create_topic()
produce()
consume_in_a_group()
print("ok")
