"""Writes four orders to a topic and reads them back in a group, with kafka-python.

    python3 -m venv .venv
    .venv/bin/pip install -r requirements.txt
    .venv/bin/python with_kafka_python.py localhost:9092
"""

import sys
from itertools import islice

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

ORDERS = [("ada", "3 apples"), ("grace", "1 book"), ("ada", "2 pears"), ("alan", "1 pen")]
bootstrap = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"

# A topic is a number of partitions; each is a log of its own, which keeps its order.
admin = KafkaAdminClient(bootstrap_servers=bootstrap)
try:
    admin.create_topics([NewTopic("orders", num_partitions=3, replication_factor=1)])
except TopicAlreadyExistsError:
    pass
admin.close()

# A key's messages go to one partition, so they stay in order. What is sent waits in the producer
# for a moment, so that several messages share a request; get() waits until the broker has them.
producer = KafkaProducer(bootstrap_servers=bootstrap)
sent = [
    producer.send("orders", key=customer.encode(), value=order.encode())
    for customer, order in ORDERS
]
for future in sent:
    future.get(timeout=30)
producer.close()

# The members of a group share a topic's partitions. Their group remembers how far it has read:
# run this twice, and it reads on where it stopped.
consumer = KafkaConsumer(
    "orders",
    bootstrap_servers=bootstrap,
    group_id="warehouse",
    auto_offset_reset="earliest",  # where a group begins that has never read
)
for message in islice(consumer, len(ORDERS)):
    customer, order = message.key.decode(), message.value.decode()
    print(f"partition {message.partition}: {customer} = {order}")
consumer.close()  # commits what was read, and leaves the group
