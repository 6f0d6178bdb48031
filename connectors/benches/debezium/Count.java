// Runs Debezium's own connector until it has given so many records, which it turns into JSON and
// leaves there, and prints how long that took from the first to the last, in nanoseconds.
//
// java -cp JARS Count.java PROPERTIES RECORDS

import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

public class Count {
    static long count;
    static long first;
    static long last;

    public static void main(String[] arguments) throws Exception {
        var properties = new Properties();
        try (var file = Files.newInputStream(Path.of(arguments[0]))) {
            properties.load(file);
        }
        long expected = Long.parseLong(arguments[1]);
        var done = new CountDownLatch(1);
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
                .using(properties)
                .notifying((List<ChangeEvent<String, String>> events,
                            DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer) -> {
                    if (count == 0) {
                        first = System.nanoTime();
                    }
                    for (var event : events) {
                        committer.markProcessed(event);
                    }
                    committer.markBatchFinished();
                    count += events.size();
                    last = System.nanoTime();
                    if (count >= expected) {
                        done.countDown();
                    }
                })
                .using((DebeziumEngine.CompletionCallback) (success, message, error) -> {
                    if (!success) {
                        System.err.println(message);
                        System.exit(1);
                    }
                })
                .build();
        var runner = Executors.newSingleThreadExecutor();
        runner.execute(engine);
        done.await();
        System.out.println(last - first);
        engine.close();
        runner.shutdown();
        runner.awaitTermination(20, TimeUnit.SECONDS);
        // What the system has counted for this process.
        Files.lines(Path.of("/proc/self/status")).filter(line -> line.startsWith("VmHWM"))
                .forEach(System.out::println);
        System.exit(0);
    }
}
