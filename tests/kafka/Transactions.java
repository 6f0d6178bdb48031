import java.time.Duration;
import java.util.*;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/**
 * Transactions as the Java clients do them, of version 2 where the broker has it: prints what
 * consumers see, so that two brokers can be compared.
 */
public class Transactions {
    static String server;

    static KafkaProducer<String, String> producer(String id, Object... more) {
        Map<String, Object> config = new HashMap<>(Map.of(
            "bootstrap.servers", server, "transactional.id", id,
            "key.serializer", StringSerializer.class, "value.serializer", StringSerializer.class,
            "linger.ms", 0, "max.block.ms", 20_000));
        for (int i = 0; i < more.length; i += 2) config.put((String) more[i], more[i + 1]);
        return new KafkaProducer<>(config);
    }

    static Map<String, Object> consumer(String group) {
        return new HashMap<>(Map.of(
            "bootstrap.servers", server, "group.id", group, "enable.auto.commit", false,
            "auto.offset.reset", "earliest", "isolation.level", "read_committed",
            "key.deserializer", StringDeserializer.class,
            "value.deserializer", StringDeserializer.class));
    }

    static List<String> committed(String topic, int count) {
        List<String> seen = new ArrayList<>();
        try (var consumer = new KafkaConsumer<String, String>(consumer("reader-" + topic))) {
            List<TopicPartition> all = new ArrayList<>();
            for (int i = 0; i < 3; i++) all.add(new TopicPartition(topic, i));
            consumer.assign(all);
            consumer.seekToBeginning(all);
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
            while (seen.size() < count && System.nanoTime() < end)
                consumer.poll(Duration.ofMillis(200)).forEach(r -> seen.add(r.partition() + ":" + r.value()));
            consumer.poll(Duration.ofMillis(300)).forEach(r -> seen.add(r.partition() + ":" + r.value()));
        }
        Collections.sort(seen);
        return seen;
    }

    static void send(KafkaProducer<String, String> producer, String topic, String value) throws Exception {
        for (int i = 0; i < 3; i++) producer.send(new ProducerRecord<>(topic, i, "k", value)).get();
    }

    static String name(Throwable error) {
        Throwable cause = error instanceof java.util.concurrent.ExecutionException ? error.getCause() : error;
        return cause.getClass().getSimpleName();
    }

    public static void main(String[] args) throws Exception {
        server = args[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", server))) {
            var features = admin.describeFeatures().featureMetadata().get().finalizedFeatures();
            System.out.println("transaction.version " + features.get("transaction.version"));
            admin.createTopics(List.of(new NewTopic("in", 3, (short) 1), new NewTopic("out", 3, (short) 1))).all().get();

            commitAndAbort();
            offsets(admin);
            fencing();
            timeout();
            looking(admin);
        }
    }

    static void commitAndAbort() throws Exception {
        try (var producer = producer("t1")) {
            producer.initTransactions();
            for (int round = 0; round < 6; round++) {
                producer.beginTransaction();
                send(producer, "in", "r" + round);
                if (round % 3 == 1) producer.abortTransaction(); else producer.commitTransaction();
            }
            producer.beginTransaction();
            producer.commitTransaction();
            producer.beginTransaction();
            producer.abortTransaction();
        }
        System.out.println("committed " + committed("in", 12));
    }

    static void offsets(Admin admin) throws Exception {
        Map<String, Object> config = consumer("copier");
        try (var producer = producer("copy"); var consumer = new KafkaConsumer<String, String>(config)) {
            producer.initTransactions();
            consumer.subscribe(List.of("in"));
            int copied = 0, round = 0;
            while (copied < 12) {
                var records = consumer.poll(Duration.ofMillis(500));
                if (records.isEmpty()) continue;
                producer.beginTransaction();
                for (var record : records) producer.send(new ProducerRecord<>("out", record.partition(), "k", "c" + record.value()));
                Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
                for (var tp : records.partitions()) {
                    var list = records.records(tp);
                    next.put(tp, new OffsetAndMetadata(list.get(list.size() - 1).offset() + 1));
                }
                producer.sendOffsetsToTransaction(next, consumer.groupMetadata());
                if (round++ == 0) {
                    producer.abortTransaction();
                    consumer.seekToBeginning(consumer.assignment());
                    copied = 0;
                } else {
                    producer.commitTransaction();
                    copied += records.count();
                }
            }
        }
        System.out.println("copied " + committed("out", 12));
        var offsets = admin.listConsumerGroupOffsets("copier").partitionsToOffsetAndMetadata().get();
        var sorted = new TreeMap<String, Long>();
        offsets.forEach((tp, om) -> sorted.put(tp.toString(), om.offset()));
        System.out.println("offsets " + sorted);
    }

    static void fencing() throws Exception {
        var old = producer("fenced");
        old.initTransactions();
        old.beginTransaction();
        send(old, "out", "zombie");
        var heir = producer("fenced");
        heir.initTransactions();
        try {
            send(old, "out", "zombie2");
            System.out.println("zombie wrote");
        } catch (Exception e) { System.out.println("zombie write: " + name(e)); }
        try {
            old.commitTransaction();
            System.out.println("zombie committed");
        } catch (Exception e) { System.out.println("zombie commit: " + name(e)); }
        old.close(Duration.ZERO);
        heir.beginTransaction();
        send(heir, "out", "heir");
        heir.commitTransaction();
        heir.close();
        System.out.println("after fencing " + committed("out", 15));
    }

    static void timeout() throws Exception {
        try (var producer = producer("slow", "transaction.timeout.ms", 1000)) {
            producer.initTransactions();
            producer.beginTransaction();
            send(producer, "out", "slow");
            // Apache Kafka looks for timeouts every 10 s only.
            Thread.sleep(Integer.getInteger("timeout.wait.ms", 2500));
            try {
                producer.commitTransaction();
                System.out.println("slow committed");
            } catch (Exception e) { System.out.println("slow commit: " + name(e)); }
            try {
                producer.abortTransaction();
                System.out.println("slow aborted");
                producer.beginTransaction();
                send(producer, "out", "again");
                producer.commitTransaction();
                System.out.println("slow goes on");
            } catch (Exception e) { System.out.println("slow abort: " + name(e)); }
        }
        System.out.println("after timeout " + committed("out", 15).size());
    }

    static void looking(Admin admin) throws Exception {
        try (var producer = producer("open")) {
            producer.initTransactions();
            producer.beginTransaction();
            send(producer, "out", "open");
            var described = admin.describeTransactions(List.of("open")).description("open").get();
            System.out.println("open " + described.state() + " " + new TreeSet<>(described.topicPartitions().stream().map(Object::toString).toList()));
            var listed = new TreeSet<String>();
            admin.listTransactions().all().get().forEach(l -> listed.add(l.transactionalId() + "=" + l.state()));
            System.out.println("listed " + listed);
            var pattern = admin.listTransactions(new ListTransactionsOptions().filterOnTransactionalIdPattern("o.*")).all().get();
            System.out.println("pattern " + pattern.stream().map(TransactionListing::transactionalId).toList());
            var tp = new TopicPartition("out", 0);
            var states = admin.describeProducers(List.of(tp)).partitionResult(tp).get().activeProducers();
            var open = states.stream().filter(s -> s.currentTransactionStartOffset().isPresent()).toList();
            System.out.println("open in partition " + open.size() + " sequence " + open.get(0).lastSequence());
            admin.abortTransaction(new AbortTransactionSpec(tp, open.get(0).producerId(), (short) open.get(0).producerEpoch(), 0)).all().get();
            states = admin.describeProducers(List.of(tp)).partitionResult(tp).get().activeProducers();
            System.out.println("left open in partition " + states.stream().filter(s -> s.currentTransactionStartOffset().isPresent()).count());
            admin.fenceProducers(List.of("open")).all().get();
            try { producer.commitTransaction(); System.out.println("committed"); }
            catch (Exception e) { System.out.println("fenced by admin: " + name(e)); }
        }
    }
}
