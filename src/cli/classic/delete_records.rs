//! `kafka-delete-records`.

use std::collections::BTreeMap;
use std::path::Path;

use broker::ids::{Offset, TopicPartition};
use serde_json::Value;

use super::options::{Given, Tool, value};
use super::{Error, java};
use crate::cli::Failure;
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-delete-records",
    about: "This tool helps to delete records of the given partitions down to the specified offset.",
    example: "kafka-delete-records --offset-json-file offsets.json",
    options: &[value(
        "offset-json-file",
        "FILE",
        r#"{"partitions": [{"topic": "t", "partition": 0, "offset": 9}], "version": 1}"#,
    )],
};

pub async fn run(given: &Given) -> Result<(), Error> {
    let path = given.required("offset-json-file")?;
    let text = std::fs::read_to_string(Path::new(path)).map_err(|error| {
        Error::Failure(Failure::usage(format!("Unable to read file {path}: {error}")))
    })?;
    let before = parse(&text).map_err(|reason| {
        Error::Failure(Failure::usage(format!("{path}: {reason}")).with_help(
            r#"expected {"partitions": [{"topic": "t", "partition": 0, "offset": 9}], "version": 1}"#,
        ))
    })?;
    let connection = super::connect(given).await?;
    let done = async {
        print("Executing records delete operation\n")?;
        let left = connection.admin.delete_records(&before).await?;
        let mut text = "Records delete operation completed:\n".to_owned();
        for ((of, _), left) in before.iter().zip(left) {
            text.push_str(&match left {
                Ok(left) => format!("partition: {of}\tlow_watermark: {left}\n"),
                Err(error) => format!("partition: {of}\terror: {}\n", java::thrown(&error)),
            });
        }
        Ok(print(&text)?)
    };
    let done = done.await;
    connection.close().await;
    done
}

fn parse(text: &str) -> Result<Vec<(TopicPartition, Offset)>, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match json.get("version").map(Value::as_i64) {
        None | Some(Some(1)) => {}
        Some(_) => return Err(format!("Not supported version field value {}", json["version"])),
    }
    let partitions = json.get("partitions").and_then(Value::as_array);
    let partitions = partitions.ok_or("Missing partitions field")?;
    let mut found = BTreeMap::new();
    for (index, entry) in partitions.iter().enumerate() {
        let missing = |field: &str| format!("partitions[{index}]: no '{field}', or a wrong one");
        let topic = entry["topic"].as_str().ok_or_else(|| missing("topic"))?;
        let number = entry["partition"].as_i64().and_then(|number| i32::try_from(number).ok());
        let offset = entry["offset"].as_i64().ok_or_else(|| missing("offset"))?;
        let of = TopicPartition::new(topic, number.ok_or_else(|| missing("partition"))?);
        if found.insert(of.clone(), Offset(offset)).is_some() {
            return Err(format!("Offset json file contains duplicate topic partitions: {of}"));
        }
    }
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_checked() {
        let parsed = parse(r#"{"partitions":[{"topic":"t","partition":1,"offset":-1}]}"#);
        assert_eq!(parsed.unwrap(), [(TopicPartition::new("t", 1), Offset(-1))]);
        let entry = r#"{"topic":"t","partition":1,"offset":2}"#;
        let twice = parse(&format!(r#"{{"partitions":[{entry},{entry}],"version":1}}"#));
        assert!(twice.unwrap_err().contains("duplicate topic partitions: t-1"));
        for wrong in ["", "{}", r#"{"partitions":[{"topic":"t"}]}"#, r#"{"version":2}"#] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
