import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;

/**
 * Groups as the Java clients form them: members that come and go while others read, with eager
 * and with cooperative assignors; many groups at once; static members that restart.
 */
public class Groups {
    static final int PARTITIONS = 12;
    static final int RECORDS = 3_000;
    static String server;

    static Map<String, Object> config(String group, String assignor, String instance) {
        Map<String, Object> config = new HashMap<>(Map.of(
            "bootstrap.servers", server, "group.id", group, "enable.auto.commit", false,
            "auto.offset.reset", "earliest", "max.poll.records", 50, "session.timeout.ms", 10_000,
            "heartbeat.interval.ms", 300,
            "key.deserializer", StringDeserializer.class,
            "value.deserializer", StringDeserializer.class));
        config.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
        if (instance != null) config.put("group.instance.id", instance);
        return config;
    }

    /** Reads until told to stop; claims each partition while it has it. */
    static class Member extends Thread implements ConsumerRebalanceListener {
        final KafkaConsumer<String, String> consumer;
        final Map<TopicPartition, Member> owners;
        final Set<String> seen;
        final AtomicInteger overlaps, rebalances = new AtomicInteger();
        volatile boolean stop;
        volatile Set<TopicPartition> has = Set.of();

        Member(Map<String, Object> config, Map<TopicPartition, Member> owners, Set<String> seen, AtomicInteger overlaps) {
            this.consumer = new KafkaConsumer<>(config);
            this.owners = owners;
            this.seen = seen;
            this.overlaps = overlaps;
            start();
        }

        public void onPartitionsAssigned(Collection<TopicPartition> added) {
            rebalances.incrementAndGet();
            for (TopicPartition one : added) {
                Member before = owners.put(one, this);
                if (before != null && before != this) overlaps.incrementAndGet();
            }
        }

        public void onPartitionsRevoked(Collection<TopicPartition> gone) {
            try { consumer.commitSync(); } catch (CommitFailedException ignored) { }
            gone.forEach(one -> owners.remove(one, this));
        }

        public void onPartitionsLost(Collection<TopicPartition> gone) {
            gone.forEach(one -> owners.remove(one, this));
        }

        @Override public void run() {
            consumer.subscribe(List.of("records"), this);
            while (!stop) {
                var records = consumer.poll(Duration.ofMillis(100));
                has = consumer.assignment();
                records.forEach(record -> seen.add(record.value()));
                try { consumer.commitSync(); }
                catch (CommitFailedException | org.apache.kafka.common.errors.RebalanceInProgressException ignored) { }
            }
            consumer.close();
        }

        void end() throws InterruptedException {
            stop = true;
            join();
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

    static int owned(List<Member> members) {
        Set<TopicPartition> all = new HashSet<>();
        for (Member member : members) all.addAll(member.has);
        return all.size();
    }

    static void churn(String assignor) throws Exception {
        Map<TopicPartition, Member> owners = new ConcurrentHashMap<>();
        Set<String> seen = ConcurrentHashMap.newKeySet();
        AtomicInteger overlaps = new AtomicInteger();
        Random random = new Random(7);
        List<Member> members = new ArrayList<>();
        for (int step = 0; step < 12; step++) {
            if (members.size() < 2 || (members.size() < 6 && random.nextInt(3) > 0)) {
                members.add(new Member(config("churn-" + assignor, assignor, null), owners, seen, overlaps));
            } else {
                members.remove(random.nextInt(members.size())).end();
            }
            Thread.sleep(random.nextInt(600));
        }
        boolean all = await(() -> seen.size() == RECORDS);
        boolean shared = await(() -> owned(members) == PARTITIONS
            && members.stream().allMatch(m -> m.has.size() >= PARTITIONS / members.size()));
        for (Member member : members) member.end();
        System.out.println(assignor + ": all read " + all + ", shared " + shared + ", overlaps " + overlaps);
    }

    static void many() throws Exception {
        List<Member> members = new ArrayList<>();
        List<Set<String>> read = new ArrayList<>();
        AtomicInteger overlaps = new AtomicInteger();
        for (int group = 0; group < 8; group++) {
            Map<TopicPartition, Member> owners = new ConcurrentHashMap<>();
            Set<String> seen = ConcurrentHashMap.newKeySet();
            read.add(seen);
            for (int i = 0; i < 3; i++)
                members.add(new Member(config("many-" + group, "RangeAssignor", null), owners, seen, overlaps));
        }
        boolean all = await(() -> read.stream().allMatch(seen -> seen.size() == RECORDS));
        for (Member member : members) member.stop = true;
        for (Member member : members) member.end();
        System.out.println("8 groups at once: all read " + all + ", overlaps " + overlaps);
    }

    static void statics() throws Exception {
        Map<TopicPartition, Member> owners = new ConcurrentHashMap<>();
        Set<String> seen = ConcurrentHashMap.newKeySet();
        AtomicInteger overlaps = new AtomicInteger();
        var one = new Member(config("statics", "RangeAssignor", "one"), owners, seen, overlaps);
        var two = new Member(config("statics", "RangeAssignor", "two"), owners, seen, overlaps);
        await(() -> one.has.size() == 6 && two.has.size() == 6);
        int before = one.rebalances.get();
        var had = two.has;
        two.end();
        var again = new Member(config("statics", "RangeAssignor", "two"), owners, seen, overlaps);
        boolean same = await(() -> again.has.equals(had));
        System.out.println("restarted static member has the same " + same
            + ", others rebalanced " + (one.rebalances.get() - before));
        one.end();
        again.end();
    }

    public static void main(String[] args) throws Exception {
        server = args[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", server))) {
            admin.createTopics(List.of(new NewTopic("records", PARTITIONS, (short) 1))).all().get();
        }
        try (var producer = new KafkaProducer<String, String>(Map.of("bootstrap.servers", server,
            "key.serializer", StringSerializer.class, "value.serializer", StringSerializer.class))) {
            for (int i = 0; i < RECORDS; i++) producer.send(new ProducerRecord<>("records", i % PARTITIONS, null, "r" + i));
        }
        churn("RangeAssignor");
        churn("CooperativeStickyAssignor");
        many();
        statics();
    }
}
