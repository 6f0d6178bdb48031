import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;

/**
 * Share groups (KIP-932) as the Java clients use them: members that share a topic, one that goes
 * without a word, records that are released, rejected and given out too often, locks that end,
 * transactions, and offsets that are looked at, set and deleted.
 */
public class ShareConsumers {
    static String server;
    static Admin admin;

    static KafkaShareConsumer<String, String> consumer(String group, String topic, boolean explicit) {
        Map<String, Object> config = new HashMap<>(Map.of(
            "bootstrap.servers", server, "group.id", group, "max.poll.records", 50,
            "metadata.max.age.ms", 500, "fetch.max.wait.ms", 200,
            "share.acknowledgement.mode", explicit ? "explicit" : "implicit",
            "key.deserializer", StringDeserializer.class,
            "value.deserializer", StringDeserializer.class));
        var consumer = new KafkaShareConsumer<String, String>(config);
        consumer.subscribe(List.of(topic));
        return consumer;
    }

    static void group(String group, String... settings) throws Exception {
        var ops = Arrays.stream(settings).map(one -> one.split("=")).map(one ->
            new AlterConfigOp(new ConfigEntry(one[0], one[1]), AlterConfigOp.OpType.SET)).toList();
        var resource = new ConfigResource(ConfigResource.Type.GROUP, group);
        admin.incrementalAlterConfigs(Map.of(resource, ops)).all().get();
    }

    static void topic(String topic, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
    }

    static void produce(String topic, String prefix, int from, int to) {
        Map<String, Object> config = Map.of("bootstrap.servers", server, "linger.ms", 0,
            "batch.size", 300, "key.serializer", StringSerializer.class,
            "value.serializer", StringSerializer.class);
        try (var producer = new KafkaProducer<String, String>(config)) {
            for (int i = from; i < to; i++) producer.send(new ProducerRecord<>(topic, "" + i, prefix + i));
        }
    }

    /** What comes until there are as many. */
    static List<ConsumerRecord<String, String>> take(KafkaShareConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        long until = System.currentTimeMillis() + 60_000;
        while (records.size() < count && System.currentTimeMillis() < until)
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        return records;
    }

    static String told(List<ConsumerRecord<String, String>> records) {
        return records.stream().map(one -> one.value() + "x" + one.deliveryCount().get()).sorted().toList().toString();
    }

    static String committed(KafkaShareConsumer<String, String> consumer) {
        return consumer.commitSync().values().stream()
            .map(one -> one.map(error -> error.getClass().getSimpleName()).orElse("ok")).distinct().toList().toString();
    }

    /** Three members read 3,000 records of three partitions, and each comes once. */
    static void together() throws Exception {
        topic("queue", 3);
        group("together", "share.auto.offset.reset=earliest");
        produce("queue", "r", 0, 3_000);
        Map<String, Integer> seen = new ConcurrentHashMap<>();
        List<Integer> counts = new CopyOnWriteArrayList<>();
        List<Thread> members = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            Thread member = new Thread(() -> {
                int count = 0;
                long until = System.currentTimeMillis() + 60_000;
                try (var consumer = consumer("together", "queue", false)) {
                    while (seen.size() < 3_000 && System.currentTimeMillis() < until)
                        for (var record : consumer.poll(Duration.ofMillis(200))) {
                            seen.merge(record.value(), 1, Integer::sum);
                            count++;
                        }
                    // What the last poll brought is accepted, too.
                    consumer.commitSync();
                }
                counts.add(count);
            });
            member.start();
            members.add(member);
        }
        for (Thread member : members) member.join();
        System.out.println("all read: " + (seen.size() == 3_000) + ", twice: "
            + seen.values().stream().filter(count -> count > 1).count()
            + ", more than one member read: " + (counts.stream().filter(count -> count > 0).count() > 1));
        System.out.println("partitions " + offsets("together", "queue").size());
        var described = admin.describeShareGroups(List.of("together")).describedGroups().get("together").get();
        System.out.println("group " + described.groupState() + ", members " + described.members().size());
    }

    static Map<TopicPartition, Long> offsets(String group, String topic) throws Exception {
        var all = admin.listShareGroupOffsets(Map.of(group, new ListShareGroupOffsetsSpec()))
            .partitionsToOffsetAndMetadata(group).get();
        return all.entrySet().stream().filter(one -> one.getKey().topic().equals(topic) && one.getValue() != null)
            .collect(Collectors.toMap(Map.Entry::getKey, one -> one.getValue().offset()));
    }

    /** What the first poll brings that brings anything. */
    static List<ConsumerRecord<String, String>> first(KafkaShareConsumer<String, String> consumer) {
        long until = System.currentTimeMillis() + 60_000;
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        while (records.isEmpty() && System.currentTimeMillis() < until)
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        return records;
    }

    /** Records are accepted, released and rejected one by one, until they were given out too often. */
    static void verdicts() throws Exception {
        topic("verdicts", 1);
        group("verdicts", "share.auto.offset.reset=earliest");
        produce("verdicts", "v", 0, 6);
        Map<String, List<Short>> deliveries = new TreeMap<>();
        Set<String> committed = new TreeSet<>();
        try (var consumer = consumer("verdicts", "verdicts", true)) {
            int last = 0;
            while (last < 5) {
                for (var record : first(consumer)) {
                    short count = record.deliveryCount().get();
                    deliveries.computeIfAbsent(record.value(), value -> new ArrayList<>()).add(count);
                    if (record.value().equals("v4")) last = count;
                    consumer.acknowledge(record, switch (record.value()) {
                        case "v1" -> AcknowledgeType.REJECT;
                        case "v2" -> count < 3 ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT;
                        case "v4" -> AcknowledgeType.RELEASE;
                        default -> AcknowledgeType.ACCEPT;
                    });
                }
                committed.add(committed(consumer));
            }
            System.out.println("deliveries " + deliveries + " " + committed);
            System.out.println("then nothing: " + consumer.poll(Duration.ofMillis(700)).isEmpty());
        }
    }

    /** Who closes gives back what it has, and who dies loses it when its lock ends. */
    static void leaving() throws Exception {
        topic("leaving", 1);
        group("leaving", "share.auto.offset.reset=earliest", "share.record.lock.duration.ms=2000");
        produce("leaving", "l", 0, 4);
        var one = consumer("leaving", "leaving", true);
        System.out.println("one has " + told(first(one)));
        try (var two = consumer("leaving", "leaving", true)) {
            System.out.println("two has none: " + two.poll(Duration.ofMillis(700)).isEmpty());
            var records = first(two);
            System.out.println("two has " + told(records));
            records.forEach(record -> two.acknowledge(record, AcknowledgeType.RELEASE));
            System.out.println("  " + committed(two));
            System.out.println("two has " + told(first(two)));
        }
        try (var three = consumer("leaving", "leaving", false)) {
            System.out.println("three has " + take(three, 4).size());
        }
        one.close();
    }

    /** What is aborted is for nobody who reads what is committed. */
    static void transactions() throws Exception {
        topic("transactions", 1);
        group("committed", "share.auto.offset.reset=earliest", "share.isolation.level=read_committed");
        group("uncommitted", "share.auto.offset.reset=earliest");
        Map<String, Object> config = Map.of("bootstrap.servers", server, "transactional.id", "shared",
            "key.serializer", StringSerializer.class, "value.serializer", StringSerializer.class);
        try (var producer = new KafkaProducer<String, String>(config)) {
            producer.initTransactions();
            for (int round = 0; round < 6; round++) {
                producer.beginTransaction();
                for (int i = 0; i < 3; i++) producer.send(new ProducerRecord<>("transactions", "t" + (round * 3 + i))).get();
                if (round % 2 == 0) producer.commitTransaction();
                else producer.abortTransaction();
            }
        }
        for (String group : List.of("committed", "uncommitted"))
            try (var consumer = consumer(group, "transactions", false)) {
                var values = take(consumer, group.equals("committed") ? 9 : 18).stream().map(ConsumerRecord::value).toList();
                System.out.println(group + " " + values);
                consumer.commitSync();
                System.out.println("then nothing: " + consumer.poll(Duration.ofMillis(700)).isEmpty());
            }
    }

    static String failure(KafkaFuture<?> future) throws Exception {
        try {
            future.get();
            return "done";
        } catch (ExecutionException error) {
            return error.getCause().getClass().getSimpleName();
        }
    }

    static void offsets() throws Exception {
        TopicPartition queue = new TopicPartition("queue", 0);
        try (var consumer = consumer("together", "queue", false)) {
            consumer.poll(Duration.ofMillis(1_500));
            System.out.println("with members: "
                + failure(admin.alterShareGroupOffsets("together", Map.of(queue, 5L)).all()) + " "
                + failure(admin.deleteShareGroupOffsets("together", Set.of("queue")).all()) + " "
                + failure(admin.deleteShareGroups(List.of("together")).all()));
        }
        while (admin.describeShareGroups(List.of("together")).describedGroups().get("together").get().groupState()
            != GroupState.EMPTY) Thread.sleep(50);
        System.out.println("altered: " + failure(admin.alterShareGroupOffsets("together", Map.of(queue, 5L)).all()));
        System.out.println("no such topic: " + failure(admin.alterShareGroupOffsets("together",
            Map.of(new TopicPartition("none", 0), 5L)).all()) + " "
            + failure(admin.deleteShareGroupOffsets("together", Set.of("none")).all()));
        System.out.println("deleted: " + failure(admin.deleteShareGroupOffsets("together", Set.of("queue")).all())
            + " " + offsets("together", "queue"));
        for (String group : List.of("together", "none"))
            System.out.println(group + " deleted: " + failure(admin.deleteShareGroups(List.of(group)).all()));
        System.out.println("listed " + admin.listGroups(ListGroupsOptions.forShareGroups()).all().get().stream()
            .map(GroupListing::groupId).sorted().toList());
        System.out.println("share.version "
            + admin.describeFeatures().featureMetadata().get().finalizedFeatures().get("share.version"));
    }

    public static void main(String[] args) throws Exception {
        server = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", server));
        together();
        verdicts();
        leaving();
        transactions();
        offsets();
        admin.close();
    }
}
