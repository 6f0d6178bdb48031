"""Writes to a topic over a connection with security, reads it back, and is denied another.

The arguments are a topic, one that is not permitted, and librdkafka's settings as NAME=VALUE.
"""

import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

topic, other, *settings = sys.argv[1:]
settings = dict(setting.split("=", 1) for setting in settings)
COUNT = 1000


def main():
    errors = []
    producer = Producer({**settings, "message.timeout.ms": 10_000})
    for number in range(COUNT):
        on_delivery = lambda error, _: errors.append(error) if error else None
        producer.produce(topic, key=str(number % 7), value=str(number), on_delivery=on_delivery)
    assert producer.flush(30) == 0 and not errors, errors
    try:
        producer.produce(other, value="x", on_delivery=lambda error, _: errors.append(error))
        producer.flush(30)
    except KafkaException as refused:
        # The answer about the topic can be there before the record is in its queue.
        errors.append(refused.args[0])
    assert [error.code() for error in errors] == [KafkaError.TOPIC_AUTHORIZATION_FAILED], errors

    group = {"group.id": "readers", "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, **group})
    consumer.subscribe([topic])
    values = set()
    while len(values) < COUNT:
        message = consumer.poll(30)
        assert message is not None, f"{len(values)} of {COUNT} records in time"
        assert message.error() is None, message.error()
        values.add(message.value())
    consumer.commit(asynchronous=False)
    consumer.close()
    print("written, read and denied")


main()
