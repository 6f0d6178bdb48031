//! Names and tables as Java prints them.

use broker::client::admin::AdminError;
use broker::ids::TopicPartition;
use broker::protocol::ErrorCode;

/// The version whose commands these are.
pub const KAFKA_VERSION: &str = "4.1.0";

/// Pads cells to widths, one blank between, as `String.format("%-15s %-10s")`.
pub fn padded(cells: &[(&str, usize)]) -> String {
    let cells: Vec<String> =
        cells.iter().map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
    cells.join(" ")
}

/// A table as wide as its cells, with a tab behind each.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|name| name.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (cell, width) in cells.zip(&widths) {
            out.push_str(&format!("{cell:<width$}\t", width = *width));
        }
        out.push('\n');
        out
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// `t:0,1;u:2`
pub fn assignment(assigned: &[TopicPartition]) -> String {
    let mut text = String::new();
    let mut last = None;
    for of in assigned {
        match last == Some(&of.topic) {
            true => text.push(','),
            false if last.is_none() => text.push_str(&format!("{}:", of.topic)),
            false => text.push_str(&format!(";{}:", of.topic)),
        }
        text.push_str(&of.partition.to_string());
        last = Some(&of.topic);
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

/// `classic` as `Classic`.
pub fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(char::to_uppercase).into_iter().flatten().chain(letters).collect()
}

/// The exception that Kafka's clients make of a code, with its package.
pub fn exception(code: ErrorCode) -> String {
    let name = match code {
        ErrorCode::TOPIC_ALREADY_EXISTS => "TopicExists".to_owned(),
        ErrorCode::UNKNOWN_SERVER_ERROR => "UnknownServer".to_owned(),
        ErrorCode::REQUEST_TIMED_OUT => "Timeout".to_owned(),
        ErrorCode::INVALID_CONFIG => "InvalidConfiguration".to_owned(),
        ErrorCode::MESSAGE_TOO_LARGE => "RecordTooLarge".to_owned(),
        ErrorCode::RECORD_LIST_TOO_LARGE => "RecordBatchTooLarge".to_owned(),
        ErrorCode::CORRUPT_MESSAGE => "CorruptRecord".to_owned(),
        ErrorCode::NON_EMPTY_GROUP => "GroupNotEmpty".to_owned(),
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => "OutOfOrderSequence".to_owned(),
        code => {
            let name = code.name();
            let short = ["_FAILED", "_ERROR", "_EXCEPTION"].iter();
            let name = short.fold(name, |name, end| name.strip_suffix(end).unwrap_or(name));
            let words = name.split('_').filter(|word| !word.is_empty());
            words.map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect()
        }
    };
    format!("org.apache.kafka.common.errors.{name}Exception")
}

/// An error as Kafka's commands tell it: what the broker says, or else what Kafka's clients do.
pub fn message(error: &AdminError) -> String {
    match error {
        AdminError::Refused { reason: Some(reason), .. } => reason.clone(),
        AdminError::Refused { code, .. } => meaning(*code).to_owned(),
        error => error.to_string(),
    }
}

/// The same with the exception's name in front.
pub fn thrown(error: &AdminError) -> String {
    match error.code() {
        Some(code) => format!("{}: {}", exception(code), message(error)),
        None => error.to_string(),
    }
}

/// Scripts look for these few.
fn meaning(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::GROUP_ID_NOT_FOUND => "The group id does not exist.",
        ErrorCode::NON_EMPTY_GROUP => "The group is not empty.",
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "This server does not host this topic-partition.",
        ErrorCode::OFFSET_OUT_OF_RANGE => {
            "The requested offset is not within the range of offsets maintained by the server."
        }
        ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC => {
            "Deleting offsets of a topic is forbidden while the consumer group is actively \
             subscribed to it."
        }
        code => code.message(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_named_as_in_java() {
        for (code, name) in [
            (ErrorCode::GROUP_ID_NOT_FOUND, "GroupIdNotFoundException"),
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "UnknownTopicOrPartitionException"),
            (ErrorCode::TOPIC_ALREADY_EXISTS, "TopicExistsException"),
            (ErrorCode::OFFSET_OUT_OF_RANGE, "OffsetOutOfRangeException"),
            (ErrorCode::NON_EMPTY_GROUP, "GroupNotEmptyException"),
            (ErrorCode::INVALID_TOPIC_EXCEPTION, "InvalidTopicException"),
            (ErrorCode::KAFKA_STORAGE_ERROR, "KafkaStorageException"),
        ] {
            assert_eq!(exception(code), format!("org.apache.kafka.common.errors.{name}"));
        }
        // No code is a panic.
        for code in -10..200 {
            exception(ErrorCode(code));
        }
    }

    #[test]
    fn cells_are_padded() {
        assert_eq!(padded(&[("GROUP", 7), ("A", 3), ("B", 0)]), "GROUP   A   B");
        let text = table(&["Id", "State"], &[vec!["longer".to_owned(), "x".to_owned()]]);
        assert_eq!(text, "Id    \tState\t\nlonger\tx    \t\n");
    }
}
