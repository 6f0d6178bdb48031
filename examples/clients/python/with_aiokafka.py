"""Writes four orders to a topic and reads them back in a group, with aiokafka (asyncio).

    python3 -m venv .venv
    .venv/bin/pip install -r requirements.txt
    .venv/bin/python with_aiokafka.py localhost:9092
"""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

ORDERS = [("ada", "3 apples"), ("grace", "1 book"), ("ada", "2 pears"), ("alan", "1 pen")]


async def create_topic(bootstrap):
    """A topic is a number of partitions; each is a log of its own, which keeps its order."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    topic = NewTopic("orders", num_partitions=3, replication_factor=1)
    answer = await admin.create_topics([topic])
    await admin.close()
    for name, code, *_ in answer.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(name)


async def write(bootstrap):
    """A key's messages go to one partition, so they stay in order."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        # send_and_wait() comes back when the broker has the message; send() gives a future.
        for customer, order in ORDERS:
            await producer.send_and_wait("orders", key=customer.encode(), value=order.encode())


async def read(bootstrap):
    """The members of a group share a topic's partitions.

    Their group remembers how far it has read: run this twice, and it reads on where it stopped.
    """
    consumer = AIOKafkaConsumer(
        "orders",
        bootstrap_servers=bootstrap,
        group_id="warehouse",
        auto_offset_reset="earliest",  # where a group begins that has never read
    )
    async with consumer:  # at its end it commits what was read, and leaves the group
        for _ in ORDERS:
            message = await consumer.getone()
            customer, order = message.key.decode(), message.value.decode()
            print(f"partition {message.partition}: {customer} = {order}")


async def main(bootstrap):
    await create_topic(bootstrap)
    await write(bootstrap)
    await read(bootstrap)


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"))
