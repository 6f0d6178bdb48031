"""Writes four orders to a topic and reads them back in a group, with confluent-kafka.

    python3 -m venv .venv
    .venv/bin/pip install -r requirements.txt
    .venv/bin/python with_confluent_kafka.py localhost:9092
"""

import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

ORDERS = [("ada", "3 apples"), ("grace", "1 book"), ("ada", "2 pears"), ("alan", "1 pen")]
bootstrap = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"

# A topic is a number of partitions; each is a log of its own, which keeps its order.
admin = AdminClient({"bootstrap.servers": bootstrap})
try:
    admin.create_topics([NewTopic("orders", num_partitions=3)])["orders"].result()
except KafkaException as error:
    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
        raise

# A key's messages go to one partition, so they stay in order. The partitioner named here picks
# the same one as Java's client does; librdkafka's own would pick another.
producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})


def on_delivery(error, message):
    """Called from flush() or poll() when the broker has the message, or when all tries failed."""
    if error:
        raise KafkaException(error)


for customer, order in ORDERS:
    producer.produce("orders", key=customer, value=order, on_delivery=on_delivery)
producer.flush()

# The members of a group share a topic's partitions. Their group remembers how far it has read:
# run this twice, and it reads on where it stopped.
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": "warehouse",
        "auto.offset.reset": "earliest",  # where a group begins that has never read
    }
)
consumer.subscribe(["orders"])
for _ in ORDERS:
    message = consumer.poll()  # without an argument, it waits
    if message.error():
        raise KafkaException(message.error())
    customer, order = message.key().decode(), message.value().decode()
    print(f"partition {message.partition()}: {customer} = {order}")
consumer.close()  # commits what was read, and leaves the group
