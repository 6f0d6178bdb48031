import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Runs the queries of nexmark.sql as streams over files, one slot, and prints what each took.
 *
 * <p>In Flink's favour: rows go to a blackhole, nothing is checkpointed, state lies on the heap,
 * objects are reused, and each query runs twice, the second time (what is printed) with its code
 * compiled.
 */
public final class Nexmark {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> sections = sections(Files.readString(Path.of(arguments[0])));
        String tables = sections.remove("tables").replace("${EVENTS}", arguments[1]);
        List<String> wanted = Arrays.asList(arguments).subList(2, arguments.length);
        for (var query : sections.entrySet()) {
            if (!wanted.isEmpty() && !wanted.contains(query.getKey())) continue;
            try {
                run(tables, query.getValue());
                double[] took = run(tables, query.getValue());
                System.out.printf("%s %.3f %.3f%n", query.getKey(), took[0], took[1]);
            } catch (Exception failure) {
                System.err.println(query.getKey() + ": " + root(failure));
            }
        }
        System.exit(0);
    }

    static double[] run(String tables, String query) throws Exception {
        Configuration settings = new Configuration();
        settings.setString("parallelism.default", "1");
        settings.setString("pipeline.object-reuse", "true");
        settings.setString("table.local-time-zone", "UTC");
        var environment = TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        for (String statement : tables.split(";")) {
            if (!statement.isBlank()) environment.executeSql(statement);
        }
        String rows = query.strip().replaceAll(";$", "");
        var schema = environment.sqlQuery(rows).getResolvedSchema();
        StringBuilder columns = new StringBuilder();
        for (var column : schema.getColumns()) {
            if (columns.length() > 0) columns.append(", ");
            String type = column.getDataType().getLogicalType().copy(true).asSerializableString();
            columns.append('`').append(column.getName()).append("` ").append(type);
        }
        environment.executeSql(
                "CREATE TABLE answer (" + columns + ") WITH ('connector' = 'blackhole')");
        var processors =
                (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        System.gc();
        long clock = System.nanoTime();
        long processor = processors.getProcessCpuTime();
        StatementSet statements = environment.createStatementSet();
        statements.addInsertSql("INSERT INTO answer " + rows);
        statements.execute().await();
        return new double[] {
            (System.nanoTime() - clock) / 1e9, (processors.getProcessCpuTime() - processor) / 1e9
        };
    }

    /** What stands below each line "-- name". */
    static Map<String, String> sections(String file) {
        Map<String, String> sections = new LinkedHashMap<>();
        for (String part : file.split("(?m)^-- (?=\\w+$)")) {
            int line = part.indexOf('\n');
            if (line > 0 && !part.startsWith("--")) {
                sections.put(part.substring(0, line).strip(), part.substring(line));
            }
        }
        return sections;
    }

    static Throwable root(Throwable failure) {
        return failure.getCause() == null ? failure : root(failure.getCause());
    }
}
