// Java's clients under quotas: who is slowed down, and what the admin client and Kafka's own commands
// say of it.
//
//   java -cp 'JARS/*' Quotas.java HOST:PORT
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.Exit;

public class Quotas {
    static String address;

    static Properties properties(String clientId) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", address);
        properties.put("client.id", clientId);
        return properties;
    }

    static boolean throttled(Map<MetricName, ? extends Metric> metrics, String name) {
        return metrics.entrySet().stream()
                .filter(metric -> metric.getKey().name().equals(name))
                .anyMatch(metric -> metric.getValue().metricValue() instanceof Double value && value > 0);
    }

    static boolean writes(String clientId) {
        Properties properties = properties(clientId);
        properties.put("batch.size", 16384);
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int i = 0; i < 1200; i++) {
                producer.send(new ProducerRecord<>("quotas", new byte[1000]));
            }
            producer.flush();
            return throttled(producer.metrics(), "produce-throttle-time-max");
        }
    }

    static boolean reads(String clientId) {
        Properties properties = properties(clientId);
        properties.put("max.partition.fetch.bytes", 100_000);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(
                properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            TopicPartition partition = new TopicPartition("quotas", 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            for (int read = 0; read < 1200; ) {
                read += consumer.poll(Duration.ofSeconds(1)).count();
            }
            return throttled(consumer.metrics(), "fetch-throttle-time-max");
        }
    }

    static void set(Admin admin, String type, String name, String quota, Double value) throws Exception {
        ClientQuotaEntity entity = new ClientQuotaEntity(java.util.Collections.singletonMap(type, name));
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(
                entity, List.of(new ClientQuotaAlteration.Op(quota, value))))).all().get();
        // Kafka's brokers learn of it a little later.
        long until = System.currentTimeMillis() + 30_000;
        while (System.currentTimeMillis() < until) {
            Map<String, Double> known =
                    admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get().get(entity);
            if (value == null ? known == null || known.get(quota) == null
                    : known != null && value.equals(known.get(quota))) {
                return;
            }
            Thread.sleep(20);
        }
        throw new IllegalStateException("the quota is not there");
    }

    static void described(Admin admin) throws Exception {
        Map<String, String> lines = new TreeMap<>();
        admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get().forEach((entity, quotas) ->
                lines.put(new TreeMap<>(entity.entries()).toString(), new TreeMap<>(quotas).toString()));
        lines.forEach((entity, quotas) -> System.out.println("  " + entity + " " + quotas));
    }

    // One of Kafka's commands, with what it prints.
    static void command(String line) throws Exception {
        String[] words = line.split(" ");
        String[] arguments = Arrays.copyOfRange(words, 1, words.length + 2);
        arguments[words.length - 1] = "--bootstrap-server";
        arguments[words.length] = address;
        PrintStream before = System.out;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setOut(new PrintStream(printed, true));
        try {
            Class.forName(words[0]).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (java.lang.reflect.InvocationTargetException stopped) {
            if (!(stopped.getCause() instanceof Ended)) {
                throw stopped;
            }
        } finally {
            System.setOut(before);
        }
        String name = words[0].substring(words[0].lastIndexOf('.') + 1);
        System.out.println(name + " " + Arrays.stream(words).skip(1).collect(Collectors.joining(" ")));
        printed.toString().lines().filter(text -> !text.isBlank()).sorted()
                .forEach(text -> System.out.println("  " + text.stripTrailing()));
    }

    static class Ended extends RuntimeException {}

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        Exit.setExitProcedure((status, message) -> { throw new Ended(); });
        try (Admin admin = Admin.create(properties("admin"))) {
            admin.createTopics(List.of(new NewTopic("quotas", 1, (short) 1))).all().get();
            System.out.println("free: writes " + writes("free") + ", reads " + reads("free"));
            set(admin, "client-id", "limited", "producer_byte_rate", 100_000.0);
            set(admin, "client-id", "limited", "consumer_byte_rate", 100_000.0);
            System.out.println("limited: writes " + writes("limited") + ", reads " + reads("limited"));
            System.out.println("another: writes " + writes("another") + ", reads " + reads("another"));
            set(admin, "user", "ANONYMOUS", "controller_mutation_rate", 1.0);
            described(admin);
            CreateTopicsOptions once = new CreateTopicsOptions().retryOnQuotaViolation(false);
            admin.createTopics(List.of(new NewTopic("many", 40, (short) 1)), once).all().get();
            try {
                admin.createTopics(List.of(new NewTopic("more", 1, (short) 1)), once).all().get();
                System.out.println("created");
            } catch (java.util.concurrent.ExecutionException error) {
                System.out.println("refused: " + error.getCause().getClass().getSimpleName());
            }
            set(admin, "user", "ANONYMOUS", "controller_mutation_rate", null);
            for (String[] entity : new String[][] {{"users", "alice", "producer_byte_rate=1024"},
                    {"clients", "app", "request_percentage=200"}, {"ips", "10.1.2.3", "connection_creation_rate=20"}}) {
                String which = " --entity-type " + entity[0] + " --entity-name " + entity[1];
                command("kafka.admin.ConfigCommand --alter --add-config " + entity[2] + which);
            }
            set(admin, "user", null, "consumer_byte_rate", 2048.0);
            for (String which : List.of("users --entity-name alice", "users --entity-default", "clients", "ips")) {
                command("kafka.admin.ConfigCommand --describe --entity-type " + which);
            }
            command("kafka.admin.ConfigCommand --alter --delete-config request_percentage"
                    + " --entity-type clients --entity-name app");
        }
        command("org.apache.kafka.tools.LeaderElectionCommand --election-type preferred --topic quotas --partition 0");
        command("org.apache.kafka.tools.reassign.ReassignPartitionsCommand --list");
        command("org.apache.kafka.tools.ClientMetricsCommand --alter --name ours --interval 1000 --metrics org.apache.");
        command("org.apache.kafka.tools.ClientMetricsCommand --describe --name ours");
        command("org.apache.kafka.tools.ClientMetricsCommand --list");
        command("org.apache.kafka.tools.ClientMetricsCommand --delete --name ours");
    }
}
