// Writes four orders to a topic and reads them back in a group, with Kafka's own client.
// Needs Java 11 or newer, and Maven to fetch the client.
//
//     mvn -q dependency:copy-dependencies -DoutputDirectory=jars
//     java -cp 'jars/*' Orders.java localhost:9092

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Orders {
    static final List<ProducerRecord<String, String>> ORDERS = List.of(
            new ProducerRecord<>("orders", "ada", "3 apples"),
            new ProducerRecord<>("orders", "grace", "1 book"),
            new ProducerRecord<>("orders", "ada", "2 pears"),
            new ProducerRecord<>("orders", "alan", "1 pen"));

    public static void main(String[] args) throws Exception {
        String bootstrap = args.length > 0 ? args[0] : "localhost:9092";
        createTopic(bootstrap);
        write(bootstrap);
        read(bootstrap);
    }

    /** A topic is a number of partitions; each is a log of its own, which keeps its order. */
    static void createTopic(String bootstrap) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            NewTopic topic = new NewTopic("orders", Optional.of(3), Optional.empty());
            admin.createTopics(List.of(topic)).all().get();
        } catch (ExecutionException failure) {
            if (!(failure.getCause() instanceof TopicExistsException)) {
                throw failure;
            }
        }
    }

    /** A key's messages go to one partition, so they stay in order. */
    static void write(String bootstrap) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(
                settings, new StringSerializer(), new StringSerializer())) {
            for (ProducerRecord<String, String> order : ORDERS) {
                // Waits until the broker has it. Where many are sent, keep the futures and wait
                // for them at the end: messages then share requests.
                producer.send(order).get();
            }
        }
    }

    /**
     * The members of a group share a topic's partitions. Their group remembers how far it has
     * read: run this twice, and it reads on where it stopped.
     */
    static void read(String bootstrap) {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", bootstrap,
                "group.id", "warehouse",
                "auto.offset.reset", "earliest"); // where a group begins that has never read
        // At its end it commits what was read, and leaves the group.
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(
                settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of("orders"));
            for (int read = 0; read < ORDERS.size(); ) {
                for (ConsumerRecord<String, String> order : consumer.poll(Duration.ofSeconds(1))) {
                    System.out.printf("partition %d: %s = %s%n",
                            order.partition(), order.key(), order.value());
                    read++;
                }
            }
        }
    }
}
