import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/**
 * Groups of the new protocol (KIP-848) as the Java clients form them: members that come and go
 * while others read, one that dies, a topic that grows, static members, topics by expression, and
 * groups that go over from the classic protocol and back while records flow.
 */
public class ConsumerGroups {
    static final int PARTITIONS = 12;
    static String server;
    static Admin admin;

    static Map<String, Object> config(String group, boolean classic, String instance, String assignor) {
        Map<String, Object> config = new HashMap<>(Map.of(
            "bootstrap.servers", server, "group.id", group, "enable.auto.commit", false,
            "auto.offset.reset", "earliest", "max.poll.records", 50, "metadata.max.age.ms", 500,
            "key.deserializer", StringDeserializer.class,
            "value.deserializer", StringDeserializer.class,
            "group.protocol", classic ? "classic" : "consumer"));
        if (classic) {
            config.put("session.timeout.ms", 6_000);
            config.put("heartbeat.interval.ms", 300);
            config.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        }
        if (instance != null) config.put("group.instance.id", instance);
        if (assignor != null) config.put("group.remote.assignor", assignor);
        return config;
    }

    /** What the members of a group have between them. */
    static class Group {
        final String id;
        final Map<TopicPartition, Member> owners = new ConcurrentHashMap<>();
        final Set<String> seen = ConcurrentHashMap.newKeySet();
        final AtomicInteger overlaps = new AtomicInteger();

        Group(String id) { this.id = id; }
    }

    /** Reads until told to stop; claims each partition while it has it. */
    static class Member extends Thread implements ConsumerRebalanceListener {
        final KafkaConsumer<String, String> consumer;
        final Group group;
        final Object topics;
        final AtomicInteger changes = new AtomicInteger();
        volatile CloseOptions how;
        volatile Throwable failed;
        volatile Set<TopicPartition> has = Set.of();

        Member(Group group, Map<String, Object> config, Object topics) {
            this.consumer = new KafkaConsumer<>(config);
            this.group = group;
            this.topics = topics;
            start();
        }

        public void onPartitionsAssigned(Collection<TopicPartition> added) {
            if (!added.isEmpty()) changes.incrementAndGet();
            for (TopicPartition one : added) {
                Member before = group.owners.put(one, this);
                if (before != null && before != this) group.overlaps.incrementAndGet();
            }
        }

        public void onPartitionsRevoked(Collection<TopicPartition> gone) {
            if (how == null) commit();
            gone.forEach(one -> group.owners.remove(one, this));
        }

        public void onPartitionsLost(Collection<TopicPartition> gone) {
            gone.forEach(one -> group.owners.remove(one, this));
        }

        void commit() {
            try { consumer.commitSync(); }
            catch (CommitFailedException | RetriableException | RebalanceInProgressException | FencedInstanceIdException ignored) { }
        }

        @Override public void run() {
            try {
                if (topics instanceof SubscriptionPattern pattern) consumer.subscribe(pattern, this);
                else consumer.subscribe(List.of((String) topics), this);
                while (how == null) {
                    var records = consumer.poll(Duration.ofMillis(100));
                    has = consumer.assignment();
                    records.forEach(record -> group.seen.add(record.value()));
                    commit();
                }
            } catch (Throwable error) {
                failed = error;
                error.printStackTrace();
            }
            group.owners.values().removeIf(one -> one == this);
            consumer.close(how == null ? CloseOptions.timeout(Duration.ofSeconds(1)) : how);
        }

        void end(CloseOptions how) throws InterruptedException {
            this.how = how;
            join();
        }

        void leave() throws InterruptedException {
            end(CloseOptions.timeout(Duration.ofSeconds(10)));
        }

        /** Ends without a word to the group. */
        void die() throws InterruptedException {
            end(CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP)
                .withTimeout(Duration.ofSeconds(1)));
        }
    }

    static boolean await(Callable<Boolean> done) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
        while (System.nanoTime() < end) {
            if (done.call()) return true;
            Thread.sleep(50);
        }
        return false;
    }

    /** Whether these members have all partitions between them, none twice, none with none. */
    static boolean share(int partitions, Member... members) throws Exception {
        return await(() -> {
            Set<TopicPartition> all = new HashSet<>();
            int sum = 0, least = partitions, most = 0;
            for (Member member : members) {
                all.addAll(member.has);
                sum += member.has.size();
                least = Math.min(least, member.has.size());
                most = Math.max(most, member.has.size());
            }
            return all.size() == partitions && sum == partitions && most - least <= 1;
        });
    }

    static void topic(String name, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1))).all().get();
    }

    static void send(String topic, int partitions, int from, int to) throws Exception {
        try (var producer = new KafkaProducer<String, String>(Map.of("bootstrap.servers", server,
            "key.serializer", StringSerializer.class, "value.serializer", StringSerializer.class))) {
            for (int i = from; i < to; i++)
                producer.send(new ProducerRecord<>(topic, i % partitions, null, "r" + i));
        }
    }

    static ConsumerGroupDescription describe(String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).all().get().get(group);
    }

    static String say(String group) throws Exception {
        var said = describe(group);
        return said.type() + " " + said.groupState() + ", members " + said.members().size();
    }

    static void lives() throws Exception {
        topic("lives", PARTITIONS);
        send("lives", PARTITIONS, 0, 1_000);
        Group group = new Group("lives");
        Member one = new Member(group, config("lives", false, null, null), "lives");
        Member two = new Member(group, config("lives", false, null, null), "lives");
        Member three = new Member(group, config("lives", false, null, null), "lives");
        System.out.println("three share: " + share(PARTITIONS, one, two, three));
        await(() -> describe("lives").groupState() == GroupState.STABLE);
        System.out.println("lives: " + say("lives") + ", assignor " + describe("lives").partitionAssignor());
        send("lives", PARTITIONS, 1_000, 2_000);
        two.leave();
        System.out.println("one left, two share: " + share(PARTITIONS, one, three));
        three.die();
        System.out.println("one died, the last has all: " + share(PARTITIONS, one));
        admin.createPartitions(Map.of("lives", NewPartitions.increaseTo(PARTITIONS + 3))).all().get();
        System.out.println("the topic grew: " + share(PARTITIONS + 3, one));
        send("lives", PARTITIONS + 3, 2_000, 3_000);
        System.out.println("all read: " + await(() -> group.seen.size() == 3_000) + ", overlaps " + group.overlaps);
        one.leave();
        await(() -> describe("lives").groupState() == GroupState.EMPTY);
        System.out.println("lives: " + say("lives"));
        var offsets = admin.listConsumerGroupOffsets("lives").partitionsToOffsetAndMetadata().get();
        System.out.println("committed " + offsets.values().stream().mapToLong(OffsetAndMetadata::offset).sum());
    }

    static void range() throws Exception {
        topic("left", 4);
        Group group = new Group("range");
        Member one = new Member(group, config("range", false, null, "range"), "left");
        Member two = new Member(group, config("range", false, null, "range"), "left");
        boolean shared = share(4, one, two);
        boolean neighbours = List.of(one, two).stream().allMatch(member -> {
            var numbers = member.has.stream().map(TopicPartition::partition).sorted().toList();
            return numbers.equals(List.of(0, 1)) || numbers.equals(List.of(2, 3));
        });
        System.out.println("range: shared " + shared + ", neighbours " + neighbours);
        one.leave();
        two.leave();
    }

    static void patterns() throws Exception {
        topic("cars-1", 2);
        topic("my-cars-1", 2);
        Group group = new Group("patterns");
        Member one = new Member(group, config("patterns", false, null, null), new SubscriptionPattern("cars-[0-9]+"));
        boolean first = share(2, one);
        topic("cars-2", 3);
        System.out.println("by expression: " + first + ", a new topic: " + share(5, one));
        one.leave();
        Member bad = new Member(new Group("bad"), config("bad", false, null, null), new SubscriptionPattern("cars-("));
        await(() -> bad.failed != null);
        System.out.println("a bad expression: " + bad.failed.getClass().getSimpleName());
    }

    static void statics() throws Exception {
        topic("fixed", PARTITIONS);
        Group group = new Group("statics");
        Member one = new Member(group, config("statics", false, "one", null), "fixed");
        Member two = new Member(group, config("statics", false, "two", null), "fixed");
        boolean shared = share(PARTITIONS, one, two);
        int before = one.changes.get();
        var had = two.has;
        two.leave();
        Member again = new Member(group, config("statics", false, "two", null), "fixed");
        boolean same = await(() -> again.has.equals(had));
        System.out.println("static members shared " + shared + ", restarted one has the same " + same
            + ", others rebalanced " + (one.changes.get() - before));
        Member third = new Member(new Group("x"), config("statics", false, "two", null), "fixed");
        await(() -> third.failed != null);
        System.out.println("the same name twice: " + third.failed.getClass().getSimpleName());
        one.leave();
        again.leave();
    }

    /** From the classic protocol to the new one and back, member by member, while records flow. */
    static void migration() throws Exception {
        topic("moves", PARTITIONS);
        Group group = new Group("moves");
        Member one = new Member(group, config("moves", true, null, null), "moves");
        Member two = new Member(group, config("moves", true, null, null), "moves");
        System.out.println("classic: " + share(PARTITIONS, one, two) + ", " + say("moves"));
        send("moves", PARTITIONS, 0, 1_000);
        Member three = new Member(group, config("moves", false, null, null), "moves");
        System.out.println("both: " + share(PARTITIONS, one, two, three) + ", " + describe("moves").type());
        send("moves", PARTITIONS, 1_000, 2_000);
        one.leave();
        two.leave();
        Member four = new Member(group, config("moves", false, null, null), "moves");
        System.out.println("new: " + share(PARTITIONS, three, four) + ", " + describe("moves").type());
        send("moves", PARTITIONS, 2_000, 3_000);
        Member five = new Member(group, config("moves", true, null, null), "moves");
        System.out.println("both again: " + share(PARTITIONS, three, four, five));
        three.leave();
        four.leave();
        System.out.println("classic again: " + share(PARTITIONS, five) + ", " + describe("moves").type());
        send("moves", PARTITIONS, 3_000, 4_000);
        System.out.println("all read: " + await(() -> group.seen.size() == 4_000) + ", overlaps " + group.overlaps);
        five.leave();
    }

    static void settings() throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.GROUP, "set");
        alter(resource, "consumer.session.timeout.ms", "7000");
        var config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
        var entry = config.get("consumer.session.timeout.ms");
        System.out.println("set " + entry.value() + " " + entry.source());
        for (String[] bad : new String[][] {{"consumer.session.timeout.ms", "10"}, {"no.such.thing", "1"}}) {
            try { alter(resource, bad[0], bad[1]); System.out.println("taken"); }
            catch (ExecutionException error) { System.out.println("refused: " + error.getCause().getClass().getSimpleName()); }
        }
        var features = admin.describeFeatures().featureMetadata().get().finalizedFeatures();
        System.out.println("group.version " + features.get("group.version").maxVersionLevel());
    }

    static void alter(ConfigResource resource, String name, String value) throws Exception {
        var op = new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(op))).all().get();
    }

    public static void main(String[] args) throws Exception {
        server = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", server));
        lives();
        range();
        patterns();
        statics();
        migration();
        settings();
        admin.close();
    }
}
