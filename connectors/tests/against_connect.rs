//! Converters and transforms against Kafka Connect's own, which run in a Java process beside
//! these: the same records through both have to come out the same, to the letter.
//!
//! Skipped where there is no Java. Where ours differ on purpose, the test beside them says so.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use broker::ids::Offset;
use bytes::Bytes;
use connectors::convert::Converter;
use connectors::data::{ConnectRecord, Text};
use connectors::transforms::Outcome;
use connectors::validate;
use serde_json::{Value, json};

struct Java {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Java {
    fn start() -> Option<Java> {
        for tool in ["javac", "mvn"] {
            let found = Command::new(tool).arg("-version").output();
            if !found.is_ok_and(|output| output.status.success()) {
                eprintln!("skipped: comparing with Kafka Connect needs '{tool}'");
                return None;
            }
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kafka/start-kafka.sh");
        let mut process = Command::new(script)
            .arg("connect")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        Some(Java { process, input, output })
    }

    fn run(&mut self, task: &Value) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{task}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: '{line}' for {task}"))
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

/// The same by ours.
fn ours(task: &Value) -> Result<Value, String> {
    let mut properties: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |key: &str, value: &str| properties.insert(key.to_owned(), value.to_owned());
    set("connector.class", "file-source");
    set("file", "f");
    set("topic", "topic");
    set("value.converter", "org.apache.kafka.connect.json.JsonConverter");
    for (key, value) in task["converter"].as_object().unwrap() {
        set(&format!("value.converter.{key}"), value.as_str().unwrap());
    }
    let mut names = Vec::new();
    for (index, step) in task["transforms"].as_array().unwrap().iter().enumerate() {
        for (key, value) in step.as_object().unwrap() {
            set(&format!("transforms.t{index}.{key}"), value.as_str().unwrap());
        }
        names.push(format!("t{index}"));
    }
    set("transforms", &names.join(","));
    let config = validate("c", &properties, Path::new(".")).map_err(|all| format!("{all:?}"))?;
    let mut converter = config.converters().value.clone();
    let mut read = |text: &Value| {
        let bytes = text.as_str().map(|text| Bytes::copy_from_slice(text.as_bytes()));
        converter.read(bytes.as_ref()).map_err(|error| error.to_string())
    };
    let (key, value) = (read(&task["key"])?, read(&task["value"])?);
    let mut record = ConnectRecord::new(&Text::from("topic"), key, value);
    record.partition = Some(3);
    record.timestamp_ms = Some(1_709_215_445_678);
    record.kafka_offset = task["sink"].as_bool().unwrap().then_some(Offset(42));
    for pair in task["headers"].as_array().unwrap() {
        let bytes = Bytes::copy_from_slice(pair[1].as_str().unwrap().as_bytes());
        record.add_header(pair[0].as_str().unwrap(), Converter::Simple.read(Some(&bytes)).unwrap());
    }
    for step in &mut config.steps().to_vec() {
        match step.apply(&mut record).map_err(|error| error.to_string())? {
            Outcome::Keep => {}
            Outcome::Drop => return Ok(json!({ "dropped": true })),
        }
    }
    let write = |converter: &mut Converter, data: &connectors::data::SchemaAndValue| {
        let mut out = Vec::new();
        match converter.write(data, &mut out).map_err(|error| error.to_string())? {
            true => Ok(Value::from(String::from_utf8(out).unwrap())),
            false => Ok::<Value, String>(Value::Null),
        }
    };
    let (key, value) = (write(&mut converter, &record.key)?, write(&mut converter, &record.value)?);
    let mut headers = Vec::new();
    for header in &record.headers {
        let text = write(&mut Converter::Simple, &header.value)?;
        headers.push(json!([header.name.as_str(), text]));
    }
    Ok(json!({ "topic": record.topic.as_str(), "key": key, "value": value, "headers": headers }))
}

/// Text of JSON to compare: to the letter, unless Java's has the order of a hash table in it.
fn comparable(answer: &Value) -> Value {
    let mut answer = answer.clone();
    for part in ["key", "value"] {
        let Some(text) = answer[part].as_str() else { continue };
        let has_map = text.contains("\"type\":\"map\"");
        if has_map || !text.starts_with("{\"schema\":{") {
            answer[part] = serde_json::from_str(text).unwrap();
        }
    }
    for header in answer["headers"].as_array_mut().into_iter().flatten() {
        if let Some(Ok(map @ Value::Object(_))) = header[1].as_str().map(serde_json::from_str) {
            header[1] = map;
        }
    }
    answer
}

fn task(transforms: &[Value], converter: &Value, key: Option<&str>, value: Option<&str>) -> Value {
    json!({
        "transforms": transforms, "converter": converter, "key": key, "value": value,
        "headers": [["trace", "17"], ["tags", "[\"a\",\"b\"]"], ["trace", "x y"]], "sink": true,
    })
}

/// What differs between the two.
fn difference(java: &mut Java, task: &Value) -> Option<String> {
    let (theirs, ours) = (java.run(task), ours(task));
    let same = match &ours {
        Ok(ours) => theirs["error"].is_null() && comparable(&theirs) == comparable(ours),
        Err(_) => !theirs["error"].is_null(),
    };
    let shown = match &ours {
        Ok(ours) => ours.to_string(),
        Err(error) => format!("error: {error}"),
    };
    (!same).then(|| format!("{task}\n  theirs {theirs}\n  ours   {shown}\n"))
}

fn no_differences(differences: Vec<String>, compared: usize) {
    assert!(compared > 0);
    assert!(
        differences.is_empty(),
        "{} of {compared}:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// A struct with all types, with its schema.
const ROW: &str = r#"{"schema":{"type":"struct","name":"shop.row","version":2,"doc":"a row","fields":[
  {"field":"b","type":"boolean"},{"field":"i8","type":"int8"},{"field":"i16","type":"int16"},
  {"field":"i32","type":"int32","doc":"d","default":5},{"field":"i64","type":"int64"},
  {"field":"f32","type":"float"},{"field":"f64","type":"double"},{"field":"s","type":"string"},
  {"field":"raw","type":"bytes","optional":true},{"field":"opt","type":"string","optional":true},
  {"field":"def","type":"string","optional":true,"default":"d"},
  {"field":"dec","type":"bytes","name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"2"}},
  {"field":"day","type":"int32","name":"org.apache.kafka.connect.data.Date","version":1},
  {"field":"time","type":"int32","name":"org.apache.kafka.connect.data.Time","version":1,"optional":true},
  {"field":"at","type":"int64","name":"org.apache.kafka.connect.data.Timestamp","version":1},
  {"field":"list","type":"array","items":{"type":"int32","optional":true},"optional":true},
  {"field":"in","type":"struct","optional":true,"name":"inner","fields":[
    {"field":"x","type":"int32"},{"field":"y","type":"string","optional":true,"default":"q"}]}]},
 "payload":{"b":true,"i8":-7,"i16":300,"i32":70000,"i64":1709215445678,"f32":1.5,"f64":1.0E10,
  "s":"12","raw":"AP8=","opt":null,"def":null,"dec":"B88=","day":19782,"time":50645678,
  "at":1709215445678,"list":[1,null,3],"in":{"x":1,"y":null}}}"#;

const PLAIN: &str = r#"{"b":true,"i64":1709215445678,"f64":12.75,"s":"12","none":null,
  "list":[1,"a",null],"in":{"x":1,"deep":{"y":"z","e":{}}},"text":"2024-02-29 14:04:05"}"#;

/// One transform by its settings.
fn one(text: &str) -> Vec<Value> {
    let lines = text.split(';').filter_map(|pair| pair.split_once('='));
    vec![lines.map(|(key, value)| (key.trim(), value)).collect::<Value>()]
}

fn settings() -> Vec<Vec<Value>> {
    let mut all: Vec<Vec<Value>> = vec![vec![]];
    for side in ["Key", "Value"] {
        for text in [
            "type=Cast$S;spec=i64:string,f64:int32,s:int64,b:int8",
            "type=Cast$S;spec=i8:float64,i16:boolean,f32:string,dec:string,day:string,at:string,raw:string,i32:int8",
            "type=Cast$S;spec=dec:int32,day:int64,time:string,at:float64,def:boolean",
            "type=Cast$S;spec=s:boolean,missing:int32",
            "type=Cast$S;spec=string",
            "type=Cast$S;spec=i64:int32;replace.null.with.default=false",
            "type=ExtractField$S;field=in",
            "type=ExtractField$S;field=in.x",
            "type=ExtractField$S;field=in.x;field.syntax.version=V2",
            "type=ExtractField$S;field=in.deep.y;field.syntax.version=V2",
            "type=ExtractField$S;field=`in`.y;field.syntax.version=V2;replace.null.with.default=false",
            "type=ExtractField$S;field=def",
            "type=ExtractField$S;field=def;replace.null.with.default=false",
            "type=Flatten$S",
            "type=Flatten$S;delimiter=_",
            "type=Flatten$S;delimiter=",
            "type=HeaderFrom$S;fields=i64,s;headers=a,b;operation=move",
            "type=HeaderFrom$S;fields=b,in,list;headers=a,b,c;operation=copy",
            "type=HoistField$S;field=h",
            "type=InsertField$S;topic.field=t!;partition.field=p?;offset.field=o;timestamp.field=ts;static.field=st;static.value=v",
            "type=MaskField$S;fields=i64,s,b",
            "type=MaskField$S;fields=list,day,at,f64",
            "type=MaskField$S;fields=i64,f64,s,i8;replacement=42",
            "type=MaskField$S;fields=b;replacement=x",
            "type=ReplaceField$S;exclude=b,s",
            "type=ReplaceField$S;include=s,i64,none;renames=s:t,i64:s",
            "type=ReplaceField$S;renames=b:c;replace.null.with.default=false",
            "type=TimestampConverter$S;field=i64;target.type=Timestamp",
            "type=TimestampConverter$S;field=i64;target.type=string;format=yyyy-MM-dd'T'HH:mm:ss.SSSX",
            "type=TimestampConverter$S;field=at;target.type=string;format=EEE, d MMM yyyy hh:mm a z",
            "type=TimestampConverter$S;field=at;target.type=unix;unix.precision=seconds",
            "type=TimestampConverter$S;field=at;target.type=Date",
            "type=TimestampConverter$S;field=at;target.type=Time",
            "type=TimestampConverter$S;field=day;target.type=unix;unix.precision=microseconds",
            "type=TimestampConverter$S;field=text;target.type=unix;format=yyyy-MM-dd HH:mm:ss",
            "type=TimestampConverter$S;field=s;target.type=unix;format=HH",
            "type=TimestampConverter$S;target.type=unix;format=yyyy",
        ] {
            all.push(one(&text.replace("$S", &format!("${side}"))));
        }
    }
    for text in [
        "type=DropHeaders;headers=trace",
        "type=Filter",
        "type=InsertHeader;header=n;value.literal={\"a\":[1,2.5]}",
        "type=InsertHeader;header=n;value.literal=2024-02-29T14:04:05.678Z",
        "type=RegexRouter;regex=(.)(o)(.*);replacement=$3-$1\\$$2",
        "type=RegexRouter;regex=top|topic;replacement=x",
        "type=RegexRouter;regex=t;replacement=x",
        "type=TimestampRouter",
        "type=TimestampRouter;topic.format=${timestamp}.${topic};timestamp.format=yyyy/MM/dd-HH DDD u",
        "type=ValueToKey;fields=s,i64",
        "type=ValueToKey;fields=def,opt;replace.null.with.default=false",
        "type=ValueToKey;fields=none",
    ] {
        all.push(one(text));
    }
    all
}

#[test]
fn transforms_do_what_kafkas_do() {
    let Some(mut java) = Java::start() else { return };
    let (mut differences, mut compared) = (Vec::new(), 0);
    for transforms in settings() {
        let side_is_key = transforms.iter().any(|step| step["type"].to_string().contains("$Key"));
        for (schemas, text) in [
            ("true", Some(ROW)),
            ("false", Some(PLAIN)),
            ("false", Some("\"text\"")),
            ("false", Some("17")),
            ("true", Some(r#"{"schema":{"type":"string","name":"n"},"payload":"2024"}"#)),
            (
                "true",
                Some(
                    r#"{"schema":{"type":"map","keys":{"type":"string"},"values":{"type":"int32"}},"payload":{"a":1}}"#,
                ),
            ),
            ("true", None),
        ] {
            let (key, value) = if side_is_key { (text, None) } else { (None, text) };
            let task = task(&transforms, &json!({ "schemas.enable": schemas }), key, value);
            compared += 1;
            differences.extend(difference(&mut java, &task));
        }
    }
    no_differences(differences, compared);
}

/// Where Kafka's fail although there is nothing wrong, or change a value without a word.
#[test]
fn where_ours_differ_on_purpose() {
    let Some(mut java) = Java::start() else { return };
    let text = r#"{"schema":{"type":"string"},"payload":"2024-02-30"}"#;
    let mut both = |transform: &str, schemas: &str, value: &str| {
        let task = task(&one(transform), &json!({ "schemas.enable": schemas }), None, Some(value));
        let theirs = java.run(&task);
        let of = |answer: Value| answer["value"].as_str().map(str::to_owned);
        (of(theirs), ours(&task).map(of).unwrap_or(None))
    };
    // A schema that is not of a struct gets its name.
    let (theirs, ours) = both("type=SetSchemaMetadata$Value;schema.name=n", "true", text);
    assert_eq!(theirs, None);
    assert!(ours.unwrap().contains(r#""name":"n""#));
    // A field that is there already is replaced.
    let (theirs, ours) =
        both("type=InsertField$Value;static.field=s;static.value=over", "true", ROW);
    assert_eq!(theirs, None);
    assert!(ours.unwrap().contains(r#""s":"over""#));
    // 30 February is not 1 March.
    let (theirs, ours) =
        both("type=TimestampConverter$Value;target.type=unix;format=yyyy-MM-dd", "true", text);
    assert!(theirs.unwrap().ends_with("1709251200000}"));
    assert_eq!(ours, None);
    // Numbers are not cut to 64 bits, and text is no 0.
    let (theirs, ours) =
        both("type=RegexRouter;regex=x;replacement=x", "false", "18446744073709551615");
    assert_eq!((theirs.as_deref(), ours.as_deref()), (Some("-1"), Some("18446744073709551615")));
    let wrong = r#"{"schema":{"type":"int32"},"payload":"17"}"#;
    let (theirs, ours) = both("type=RegexRouter;regex=x;replacement=x", "true", wrong);
    assert!(theirs.unwrap().ends_with(r#""payload":0}"#));
    assert_eq!(ours, None);
}

/// A small generator, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// A schema, as a field of that name or none, and a value of it.
    fn data(&mut self, name: Option<&str>, depth: u32) -> (Value, Value) {
        let optional = self.below(3) == 0;
        let (mut schema, value) = match self.below(if depth > 0 { 15 } else { 12 }) {
            0 => (json!({"type": "boolean"}), json!(self.below(2) == 0)),
            1 => (json!({"type": "int8"}), json!(self.below(256) as i64 - 128)),
            2 => (json!({"type": "int16"}), json!(self.below(65_536) as i64 - 32_768)),
            3 => (json!({"type": "int32"}), json!((self.below(1 << 31) * 2) as i64 - (1 << 31))),
            4 => (json!({"type": "int64"}), json!(self.below(1 << 30) as i64 * 1000 - (1 << 38))),
            5 => (json!({"type": "float"}), json!((self.below(1 << 20) as f32) / 64.0)),
            6 => (json!({"type": "double"}), json!(self.double())),
            7 => (json!({"type": "string"}), json!(self.text())),
            8 => (
                json!({"type": "bytes"}),
                json!(["", "AA==", "AP8=", "AQID"][self.below(4) as usize]),
            ),
            9 => {
                let scale = self.below(6);
                let name = "org.apache.kafka.connect.data.Decimal";
                let parameters = json!({"scale": scale.to_string()});
                (
                    json!({"type": "bytes", "name": name, "version": 1, "parameters": parameters}),
                    json!("AeJA"),
                )
            }
            10 => {
                let name = "org.apache.kafka.connect.data.Date";
                (
                    json!({"type": "int32", "name": name, "version": 1}),
                    json!(1 + self.below(40_000)),
                )
            }
            11 => {
                let name = "org.apache.kafka.connect.data.Timestamp";
                let ms = 86_400_000 + self.below(1 << 31) * 1000 + self.below(1000);
                (json!({"type": "int64", "name": name, "version": 1}), json!(ms))
            }
            12 => {
                let (items, value) = self.data(None, depth - 1);
                (json!({"type": "array", "items": items}), json!([value, value]))
            }
            13 => {
                let (values, value) = self.data(None, depth - 1);
                (
                    json!({"type": "map", "keys": {"type": "string"}, "values": values}),
                    json!({"k": value}),
                )
            }
            _ => self.row(depth - 1),
        };
        if let Some(name) = name {
            schema["field"] = json!(name);
        }
        schema["optional"] = json!(optional);
        let value = if optional && self.below(2) == 0 { Value::Null } else { value };
        if !value.is_null() && schema["type"] != "struct" && self.below(4) == 0 {
            schema["default"] = value.clone();
        }
        (schema, value)
    }

    fn row(&mut self, depth: u32) -> (Value, Value) {
        let (mut fields, mut values) = (Vec::new(), serde_json::Map::new());
        for name in &["a", "b", "c", "d", "e"][..1 + self.below(5) as usize] {
            let (schema, value) = self.data(Some(name), depth);
            fields.push(schema);
            values.insert((*name).to_owned(), value);
        }
        (json!({"type": "struct", "fields": fields}), Value::Object(values))
    }

    /// Of few digits: Java before 19 does not always write the shortest ones.
    fn double(&mut self) -> f64 {
        let digits = self.below(10_000) as f64;
        digits * [1e-8, 1e-3, 0.5, 1.0, 1e4, 1e9][self.below(6) as usize]
    }

    fn text(&mut self) -> String {
        let letters =
            ["a", "Z", "0", " ", "\"", "\\", "/", "\n", "\u{1}", "é", "😀", ":", "[", "-"];
        (0..self.below(8)).map(|_| letters[self.below(14) as usize]).collect()
    }
}

#[test]
fn random_records_come_out_alike() {
    let Some(mut java) = Java::start() else { return };
    let mut random = Random(2024);
    let transforms = [
        "type=Flatten$Value",
        "type=Cast$Value;spec=a:string,b:string,c:string,d:string,e:string",
        "type=Cast$Value;spec=a:int32,b:float64,c:boolean,d:int8,e:int64",
        "type=ReplaceField$Value;exclude=a;renames=b:x,c:y",
        "type=ExtractField$Value;field=b",
        "type=HeaderFrom$Value;fields=a;headers=h;operation=move",
        "type=InsertField$Value;timestamp.field=ts;topic.field=t!",
        "type=ValueToKey;fields=a,b",
        "type=TimestampConverter$Value;field=c;target.type=string;format=yyyyMMdd HHmmss.SSS",
        "type=HoistField$Value;field=h",
    ];
    let (mut differences, mut compared) = (Vec::new(), 0);
    for round in 0..600 {
        let (schema, payload) = random.row(2);
        let text = json!({"schema": schema, "payload": payload}).to_string();
        let mut steps = Vec::new();
        for _ in 0..random.below(3) {
            let step = one(transforms[random.below(transforms.len() as u64) as usize]);
            // The same again may find its own field there.
            steps.extend(step.into_iter().filter(|step| !steps.contains(step)).collect::<Vec<_>>());
        }
        let format = ["BASE64", "NUMERIC"][round % 2];
        let replace = ["true", "false"][round / 2 % 2];
        let converter = json!({"decimal.format": format, "replace.null.with.default": replace});
        let task = task(&steps, &converter, None, Some(&text));
        compared += 1;
        differences.extend(difference(&mut java, &task));
    }
    no_differences(differences, compared);
}
