//! Names that end up as topics, consumer groups and files.

use super::diagnostic::Diagnostic;
use super::draft::Named;

/// Kafka's own bound for topics.
const TOPIC_LENGTH_MAX: usize = 249;
/// Leaves room for what is put before and after it in the names of topics.
const PIPELINE_LENGTH_MAX: usize = 100;

pub(crate) fn check_topic(topic: &Named, mistakes: &mut Vec<Diagnostic>) {
    check(topic, "topic", TOPIC_LENGTH_MAX, mistakes);
}

pub(crate) fn check_pipeline(name: &Named, mistakes: &mut Vec<Diagnostic>) {
    check(name, "pipeline", PIPELINE_LENGTH_MAX, mistakes);
}

fn check(name: &Named, what: &str, length_max: usize, mistakes: &mut Vec<Diagnostic>) {
    let text = &name.text;
    let wrong = text.chars().find(|character| !is_allowed(*character));
    let reason = if text.is_empty() {
        "it is empty".to_owned()
    } else if text == "." || text == ".." {
        "it would be a directory".to_owned()
    } else if text.len() > length_max {
        format!("it is longer than {length_max} characters")
    } else if let Some(wrong) = wrong {
        format!("{wrong:?} is not allowed")
    } else {
        return;
    };
    let message = format!("'{}' cannot be the name of a {what}: {reason}", excerpt(text));
    let help = "letters, digits, '.', '_' and '-' make a name";
    mistakes.push(Diagnostic::error(message, name.span.clone()).help(help));
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A file's stem with what a name may not have replaced.
pub(crate) fn name_of_file(path: &std::path::Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let name: String = stem
        .chars()
        .take(PIPELINE_LENGTH_MAX)
        .map(|character| if is_allowed(character) { character } else { '-' })
        .collect();
    if name.is_empty() || name == "." || name == ".." { "pipeline".to_owned() } else { name }
}
