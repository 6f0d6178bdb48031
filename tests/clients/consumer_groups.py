"""confluent-kafka (librdkafka) against the broker at argv[1], in groups of the new protocol (KIP-848):
members that come, leave and die, a topic that grows, topics by expression, a static member, and a
group that goes over from the classic protocol while records flow.

Prints `ok` at the end; any failed assertion ends it with a traceback.
"""

import subprocess
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

BOOTSTRAP = sys.argv[1]
PARTITIONS = 6
PATIENCE_S = 120

admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def create_topic(name, partitions):
    admin.create_topics([NewTopic(name, partitions)])[name].result(timeout=10)


def produce(topic, begin, end):
    producer = Producer({"bootstrap.servers": BOOTSTRAP})
    for number in range(begin, end):
        producer.produce(topic, key=str(number % 50), value=str(number))
    assert producer.flush(30) == 0


class Member:
    def __init__(self, group, topic, seen, protocol="consumer", instance=None):
        config = {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": group,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "topic.metadata.refresh.interval.ms": 500,
        }
        if protocol == "classic":
            config["partition.assignment.strategy"] = "cooperative-sticky"
            config["session.timeout.ms"] = 6000
            config["heartbeat.interval.ms"] = 300
        if instance:
            config["group.instance.id"] = instance
        self.consumer = Consumer(config)
        self.seen = seen
        self.owned = set()
        self.consumer.subscribe([topic], on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_lost)

    def on_assign(self, consumer, partitions):
        self.owned |= {(one.topic, one.partition) for one in partitions}
        consumer.incremental_assign(partitions)

    def on_revoke(self, consumer, partitions):
        self.commit()
        self.on_lost(consumer, partitions)

    def on_lost(self, consumer, partitions):
        self.owned -= {(one.topic, one.partition) for one in partitions}
        consumer.incremental_unassign(partitions)

    def commit(self):
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException as error:
            # Nothing new, or a rebalance has come between.
            passing = (
                KafkaError._NO_OFFSET,
                KafkaError.REBALANCE_IN_PROGRESS,
                KafkaError.STALE_MEMBER_EPOCH,
                KafkaError.ILLEGAL_GENERATION,
            )
            assert error.args[0].code() in passing, error

    def poll(self):
        message = self.consumer.poll(0.05)
        while message is not None:
            assert message.error() is None, message.error()
            self.seen.add(int(message.value()))
            message = self.consumer.poll(0)
        self.commit()

    def leave(self):
        self.consumer.close()


def until(what, members, done):
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, f"{what}: {[sorted(one.owned) for one in members]}"
        for member in members:
            member.poll()


def share(what, members, partitions):
    def done():
        owned = [one.owned for one in members]
        sizes = [len(one) for one in owned]
        whole = len(set().union(*owned)) == sum(sizes) == partitions
        return whole and max(sizes) - min(sizes) <= 1

    until(what, members, done)


def kinds(group):
    listed = admin.list_consumer_groups(request_timeout=10).result()
    return [(one.type.name, one.state.name) for one in listed.valid if one.group_id == group]


def lives():
    create_topic("lives", PARTITIONS)
    produce("lives", 0, 500)
    seen = set()
    members = [Member("lives", "lives", seen) for _ in range(3)]
    share("three", members, PARTITIONS)
    assert kinds("lives") == [("CONSUMER", "STABLE")], kinds("lives")
    produce("lives", 500, 1000)
    members.pop().leave()
    share("two", members, PARTITIONS)
    admin.create_partitions([NewPartitions("lives", PARTITIONS + 2)])["lives"].result(timeout=10)
    share("grown", members, PARTITIONS + 2)
    until("all read", members, lambda: seen == set(range(1000)))
    for member in members:
        member.leave()


def dies():
    """A process of its own joins and is killed; its part comes back once its session is over."""
    create_topic("dies", PARTITIONS)
    member = Member("dies", "dies", set())
    share("one", [member], PARTITIONS)
    code = (
        "import sys; from confluent_kafka import Consumer\n"
        "c = Consumer({'bootstrap.servers': sys.argv[1], 'group.id': 'dies',"
        " 'group.protocol': 'consumer'})\n"
        "c.subscribe(['dies'])\n"
        "while True: c.poll(0.1)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, BOOTSTRAP])
    until("both", [member], lambda: len(member.owned) == PARTITIONS // 2)
    other.kill()
    other.wait()
    share("the other is gone", [member], PARTITIONS)
    member.leave()


def expressions():
    create_topic("cars-1", 2)
    create_topic("boats-1", 2)
    member = Member("expressions", "^cars-[0-9]+", set())
    share("one topic", [member], 2)
    create_topic("cars-2", 3)
    share("two topics", [member], 5)
    member.leave()


def statics():
    create_topic("fixed", PARTITIONS)
    one, two = (Member("statics", "fixed", set(), instance=name) for name in ("one", "two"))
    share("two", [one, two], PARTITIONS)
    had, others = set(two.owned), set(one.owned)
    two.leave()
    two = Member("statics", "fixed", set(), instance="two")
    until("back", [two], lambda: two.owned == had)
    one.poll()
    assert one.owned == others
    one.leave()
    two.leave()


def migrates():
    create_topic("moves", PARTITIONS)
    seen = set()
    old = [Member("moves", "moves", seen, protocol="classic") for _ in range(2)]
    share("classic", old, PARTITIONS)
    assert kinds("moves") == [("CLASSIC", "STABLE")], kinds("moves")
    produce("moves", 0, 500)
    new = Member("moves", "moves", seen)
    share("both", [*old, new], PARTITIONS)
    produce("moves", 500, 1000)
    for member in old:
        member.leave()
    share("new", [new], PARTITIONS)
    assert kinds("moves") == [("CONSUMER", "STABLE")], kinds("moves")
    until("all read", [new], lambda: seen == set(range(1000)))
    back = Member("moves", "moves", seen, protocol="classic")
    share("both again", [new, back], PARTITIONS)
    new.leave()
    share("classic again", [back], PARTITIONS)
    assert kinds("moves")[0][0] == "CLASSIC"
    back.leave()


lives()
dies()
expressions()
statics()
migrates()
print("ok")
