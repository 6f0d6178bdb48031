"""confluent-kafka (librdkafka) against the broker at argv[1]: topics, keys, idempotence, groups,
transactions.

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


def copy_in_transactions():
    """Reads in a group and writes in transactions, every second of which is aborted and redone."""
    copied = TOPIC + "-copied"
    producer = Producer(
        {"bootstrap.servers": BOOTSTRAP, "transactional.id": "copier", "linger.ms": 5}
    )
    producer.init_transactions(PATIENCE_S)
    consumer = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": "copiers",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([TOPIC])
    deadline = time.monotonic() + PATIENCE_S
    done, aborted = 0, 0
    while done < RECORDS:
        assert time.monotonic() < deadline, done
        messages = [m for m in consumer.consume(500, 1) if m.error() is None]
        if not messages:
            continue
        producer.begin_transaction()
        for message in messages:
            producer.produce(copied, key=message.key(), value=message.value())
        offsets = consumer.position(consumer.assignment())
        offsets = [offset for offset in offsets if offset.offset >= 0]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
        if aborted <= done // 500:
            producer.abort_transaction()
            aborted += 1
            for partition in {message.partition() for message in messages}:
                first = min(m.offset() for m in messages if m.partition() == partition)
                consumer.seek(TopicPartition(TOPIC, partition, first))
        else:
            producer.commit_transaction()
            done += len(messages)
    committed = consumer.committed([TopicPartition(TOPIC, p) for p in range(PARTITIONS)], 10)
    assert sum(partition.offset for partition in committed) == RECORDS, committed
    consumer.close()
    reader = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": "reader",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    reader.subscribe([copied])
    values = []
    while len(values) < RECORDS:
        assert time.monotonic() < deadline, len(values)
        values.extend(m.value().decode() for m in reader.consume(500, 1) if m.error() is None)
    assert aborted > 1 and not reader.consume(1, 0.5)
    assert sorted(values) == sorted(f"order {number}" for number in range(RECORDS))
    reader.close()


create_topic()
produce()
consume_in_a_group()
copy_in_transactions()
print("ok")
