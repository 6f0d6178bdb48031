//! Words that other dialects have for what is there under another name: what is said to who writes
//! them. They are not read as ours, where what they mean differs: a key in ksqlDB is a part of the
//! record's key, and reading it from the value would give other rows.

use super::diagnostic::Diagnostic;
use super::tokens::WINDOW_TABLES;

/// Functions of ksqlDB, Flink and others, and how they are written here.
const FUNCTIONS: [(&str, &str); 56] = [
    ("array_contains_json", "JSON_EXISTS(j, '$.a')"),
    ("as_map", "MAP(keys, values)"),
    ("as_value", "the column itself: what is in the value says 'value.without_key' = 'false'"),
    ("attr", "MIN(x)"),
    ("charindex", "LOCATE(part, text)"),
    ("collect", "ARRAY_AGG(x)"),
    ("collect_list", "ARRAY_AGG(x)"),
    ("collect_set", "ARRAY_AGG(DISTINCT x)"),
    ("count_distinct", "COUNT(DISTINCT x)"),
    ("current_watermark", "'watermark.late' of the table: what becomes of late rows"),
    ("datediff", "TIMESTAMPDIFF(DAY, from, till)"),
    ("dateadd", "time + INTERVAL '1' DAY"),
    ("date_add", "time + INTERVAL '1' DAY"),
    ("date_sub", "time - INTERVAL '1' DAY"),
    ("datetostring", "DATE_FORMAT(day, 'yyyy-MM-dd')"),
    ("earliest_by_offset", "FIRST_VALUE(x ORDER BY time)"),
    ("entries", "UNNEST(MAP_ENTRIES(m))"),
    ("explode", "FROM t CROSS JOIN UNNEST(t.list) AS u (item)"),
    ("extractjsonfield", "JSON_VALUE(j, '$.a'), or JSON_QUERY for an object or a list"),
    ("filter", "array_filter(list, x -> x > 1)"),
    ("format_date", "DATE_FORMAT(day, 'yyyy-MM-dd')"),
    ("format_timestamp", "DATE_FORMAT(time, 'yyyy-MM-dd HH:mm:ss')"),
    ("from_bytes", "ENCODE(bytes, 'hex') or ENCODE(bytes, 'base64')"),
    ("get_json_object", "JSON_VALUE(j, '$.a'), or JSON_QUERY for an object or a list"),
    ("getdate", "the event time of the rows: answers do not depend on when they are computed"),
    ("group_concat", "STRING_AGG(text, ',')"),
    ("histogram", "COUNT(*) … GROUP BY x"),
    ("iif", "IF(condition, a, b)"),
    ("isnull", "x IS NULL"),
    ("json_array_contains", "JSON_EXISTS(j, '$.a')"),
    ("json_array_length", "JSON_LENGTH(j, '$.a')"),
    ("json_concat", "JSON_OBJECT('a' VALUE x, …)"),
    ("json_extract", "JSON_QUERY(j, '$.a'), or JSON_VALUE for what is one value"),
    ("json_items", "UNNEST of a column that is declared as a list"),
    ("json_records", "a column that is declared as MAP<STRING, STRING>"),
    ("latest_by_offset", "LAST_VALUE(x ORDER BY time)"),
    ("mask", "REGEXP_REPLACE(text, '[A-Za-z0-9]', 'x', 'g')"),
    ("parse_date", "TO_DATE(text, 'yyyy-MM-dd')"),
    ("parse_timestamp", "TO_TIMESTAMP(text, 'yyyy-MM-dd HH:mm:ss')"),
    ("reduce", "an aggregate over UNNEST of the list, or a function of your own"),
    ("slice", "list[1:2]"),
    ("splittomap", "STR_TO_MAP(text, ',', '=')"),
    ("stringtodate", "TO_DATE(text, 'yyyy-MM-dd')"),
    ("stringtotimestamp", "TO_TIMESTAMP(text, 'yyyy-MM-dd HH:mm:ss')"),
    ("timestamptostring", "DATE_FORMAT(time, 'yyyy-MM-dd HH:mm:ss')"),
    ("to_bytes", "DECODE(text, 'hex') or DECODE(text, 'base64')"),
    ("to_json", "JSON_STRING(x)"),
    ("to_json_string", "JSON_STRING(x)"),
    ("topk", "ROW_NUMBER() OVER (PARTITION BY key ORDER BY x DESC) AS n … WHERE n <= 3"),
    ("topkdistinct", "ROW_NUMBER() OVER (PARTITION BY key ORDER BY x DESC) AS n … WHERE n <= 3"),
    ("transform", "array_transform(list, x -> x + 1)"),
    ("typeof", "arrow_typeof(x); `millstream explain` shows the types of all columns"),
    ("url_decode_param", "URL_DECODE(text)"),
    ("url_encode_param", "URL_ENCODE(text)"),
    ("url_extract_host", "PARSE_URL(url, 'HOST')"),
    ("url_extract_parameter", "PARSE_URL(url, 'QUERY', 'key')"),
];

/// How a function of another dialect is written here.
pub(crate) fn function(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    let found = FUNCTIONS.iter().find(|(theirs, _)| *theirs == name);
    found.map(|(_, ours)| format!("here it is {ours}"))
}

#[cfg(test)]
pub(crate) fn function_names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, _)| *name)
}

/// What every row of ksqlDB has, and how one has it here.
pub(crate) fn column(name: &str) -> Option<&'static str> {
    Some(match &*name.to_lowercase() {
        "rowtime" => "declare it: rowtime TIMESTAMP(3) METADATA FROM 'timestamp'",
        "rowpartition" => "declare it: rowpartition INT METADATA FROM 'partition'",
        "rowoffset" => "declare it: rowoffset BIGINT METADATA FROM 'offset'",
        "rowkey" => "declare it: rowkey STRING METADATA FROM 'key'",
        "windowstart" => "select window_start of TUMBLE(…), HOP(…) or SESSION(…) in FROM",
        "windowend" => "select window_end of TUMBLE(…), HOP(…) or SESSION(…) in FROM",
        _ => return None,
    })
}

/// What an option of ksqlDB's tables is here.
pub(super) fn option(key: &str) -> Option<&'static str> {
    Some(match &*key.to_lowercase() {
        "kafka_topic" => "'topic' = 'orders'",
        "value_format" | "value_avro_schema_full_name" => {
            "'format' = 'json', 'csv', 'avro-confluent', 'protobuf-confluent' or 'raw'"
        }
        "key_format" => {
            "'key.format' = 'raw' or 'json'; a column of the key is id STRING METADATA FROM 'key'"
        }
        "value_delimiter" => "'csv.delimiter' = ';'",
        "key_delimiter" => "'key.csv.delimiter' = ';'",
        "timestamp_format" => {
            "a column that is computed: ts AS TO_TIMESTAMP(said, 'yyyy-MM-dd'), and WATERMARK FOR \
             ts AS ts - INTERVAL '5' SECOND"
        }
        "replicas" | "retention_ms" => {
            "millstream topics create, or kafka-topics --create, before the first run"
        }
        "window_type" | "window_size" => "window_start and window_end are columns of the value",
        "wrap_single_value" => "'format' = 'raw' for a value that is no object",
        _ => return None,
    })
}

/// Adds to a mistake of syntax what is written here instead of a clause of ksqlDB, if it is one.
/// `before` and `rest` are the text before the mistake and from there on.
pub(super) fn clause(mistake: Diagnostic, before: &str, rest: &str) -> Diagnostic {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let next = rest.split(|c: char| !is_word(c)).next().unwrap_or_default().to_uppercase();
    let mut words = before.rsplit(|c: char| !is_word(c)).filter(|word| !word.is_empty());
    let last = words.next().unwrap_or_default().to_uppercase();
    let last_but_one = words.next().unwrap_or_default().to_uppercase();
    let is_window =
        |word: &str| ["TUMBLING", "HOPPING"].contains(&word) || WINDOW_TABLES.contains(&word);
    let help = match (&*last_but_one, &*last, &*next) {
        ("WINDOW", window, _) if is_window(window) => {
            "FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY \
             window_start, window_end, …; HOP(…) and SESSION(…) too"
        }
        (_, "WITHIN", _) | (_, _, "WITHIN") => {
            "how near in time rows must be stands in ON: … AND a.ts BETWEEN b.ts - INTERVAL '1' \
             HOUR AND b.ts + INTERVAL '1' HOUR"
        }
        (_, "PARTITION", "BY") => {
            "the key of what is written is of its table: CREATE TABLE o … WITH ('key' = 'id')"
        }
        (_, _, "GRACE") => "'watermark.delay' of the table says how long late rows are awaited",
        _ => return mistake,
    };
    mistake.help(help)
}
