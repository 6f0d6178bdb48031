// Runs Debezium's own connector, and writes its records to a file, one a line: topic, key, value
// and the names of the headers, with tabs between them.
//
// java -cp JARS Run.java PROPERTIES OUTPUT STOP        ends once the file STOP is there

import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

public class Run {
    public static void main(String[] arguments) throws Exception {
        var properties = new Properties();
        try (var file = Files.newInputStream(Path.of(arguments[0]))) {
            properties.load(file);
        }
        var output = new PrintStream(new FileOutputStream(arguments[1]), true);
        var stop = Path.of(arguments[2]);
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
                .using(properties)
                .notifying((List<ChangeEvent<String, String>> events,
                            DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> done) -> {
                    for (var event : events) {
                        output.println(event.destination() + "\t" + event.key() + "\t" + event.value());
                        done.markProcessed(event);
                    }
                    done.markBatchFinished();
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
        while (!Files.exists(stop)) {
            Thread.sleep(100);
        }
        engine.close();
        runner.shutdown();
        runner.awaitTermination(20, TimeUnit.SECONDS);
        System.exit(0);
    }
}
