// Kafka Connect's own converters and transforms, for comparison with ours.
//
// Each line of input is a JSON object: "transforms", a list of settings with "type" among them;
// "converter", the settings of the JsonConverter of both sides; "key", "value" (JSON text or
// null), "headers" (pairs of a name and text), "sink". Each line of output is what came of it, or
// {"error": …}, or {"dropped": true}.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.connect.connector.ConnectRecord;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.header.ConnectHeaders;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.storage.SimpleHeaderConverter;
import org.apache.kafka.connect.transforms.Transformation;

public class Connect {
    static final ObjectMapper JSON = new ObjectMapper();
    static final SimpleHeaderConverter HEADERS = new SimpleHeaderConverter();

    public static void main(String[] args) throws Exception {
        HEADERS.configure(new HashMap<>());
        BufferedReader in =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode answer;
            try {
                answer = run(JSON.readTree(line));
            } catch (Exception error) {
                answer = JSON.createObjectNode().put("error", String.valueOf(error.getMessage()));
            }
            out.println(JSON.writeValueAsString(answer));
        }
    }

    static Map<String, Object> settings(JsonNode node) {
        Map<String, Object> settings = new HashMap<>();
        node.fields().forEachRemaining(field -> settings.put(field.getKey(), field.getValue().asText()));
        return settings;
    }

    static SchemaAndValue read(JsonConverter converter, JsonNode text) {
        byte[] bytes = text.isNull() ? null : text.asText().getBytes(StandardCharsets.UTF_8);
        return converter.toConnectData("topic", bytes);
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    static ObjectNode run(JsonNode task) throws Exception {
        JsonConverter converter = new JsonConverter();
        converter.configure(settings(task.get("converter")), false);
        SchemaAndValue key = read(converter, task.get("key"));
        SchemaAndValue value = read(converter, task.get("value"));
        ConnectHeaders headers = new ConnectHeaders();
        for (JsonNode pair : task.get("headers")) {
            byte[] bytes = pair.get(1).asText().getBytes(StandardCharsets.UTF_8);
            headers.add(pair.get(0).asText(), HEADERS.toConnectHeader("topic", "", bytes));
        }
        ConnectRecord record = task.get("sink").asBoolean()
            ? new SinkRecord("topic", 3, key.schema(), key.value(), value.schema(), value.value(), 42L,
                1709215445678L, TimestampType.CREATE_TIME, headers)
            : new SourceRecord(null, null, "topic", 3, key.schema(), key.value(), value.schema(),
                value.value(), 1709215445678L, headers);
        for (JsonNode step : task.get("transforms")) {
            String name = "org.apache.kafka.connect.transforms." + step.get("type").asText();
            Transformation transform =
                (Transformation) Class.forName(name).getDeclaredConstructor().newInstance();
            transform.configure(settings(step));
            record = transform.apply(record);
            if (record == null) {
                return JSON.createObjectNode().put("dropped", true);
            }
        }
        ObjectNode answer = JSON.createObjectNode().put("topic", record.topic());
        answer.put("key", text(converter.fromConnectData("", record.keySchema(), record.key())));
        answer.put("value", text(converter.fromConnectData("", record.valueSchema(), record.value())));
        ArrayNode list = answer.putArray("headers");
        for (Object one : record.headers()) {
            Header header = (Header) one;
            byte[] bytes = HEADERS.fromConnectHeader("", "", header.schema(), header.value());
            list.addArray().add(header.key()).add(text(bytes));
        }
        return answer;
    }

    static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }
}
