//! What a topic may be called: Kafka's rules, since the name is a directory's.

use thiserror::Error;

/// Longest name; with `-<partition>` and a deletion's suffix it stays within a file name's 255.
pub const NAME_LEN_MAX: usize = 249;

/// Why a name is not one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TopicNameError {
    #[error("a topic name cannot be empty")]
    Empty,
    #[error("a topic cannot be named '{0}'")]
    Dots(String),
    #[error("topic name of {len} characters is longer than {NAME_LEN_MAX}: '{start}…'")]
    TooLong { len: usize, start: String },
    #[error("topic name '{name}' has {found:?}; letters, digits, '.', '_' and '-' are allowed")]
    Character { name: String, found: char },
    #[error(
        "topic name '{name}' collides with '{existing}': '.' and '_' are one in names of metrics"
    )]
    Collision { name: String, existing: String },
}

/// Checks a name by itself.
pub fn check(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots(name.to_owned()));
    }
    if name.len() > NAME_LEN_MAX {
        let start = name.chars().take(40).collect();
        return Err(TopicNameError::TooLong { len: name.chars().count(), start });
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.chars().find(|c| !legal(*c)) {
        Some(found) => Err(TopicNameError::Character { name: name.to_owned(), found }),
        None => Ok(()),
    }
}

/// Checks a name against those that exist.
pub fn check_collision<'a>(
    name: &str,
    existing: impl IntoIterator<Item = &'a str>,
) -> Result<(), TopicNameError> {
    if !name.contains(['.', '_']) {
        return Ok(());
    }
    let folded = name.replace('.', "_");
    match existing.into_iter().find(|other| *other != name && other.replace('.', "_") == folded) {
        None => Ok(()),
        Some(other) => {
            Err(TopicNameError::Collision { name: name.to_owned(), existing: other.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A.b_c-9", "...", "__consumer_offsets", &"x".repeat(249)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(check(""), Err(TopicNameError::Empty));
        assert_eq!(check(".."), Err(TopicNameError::Dots("..".into())));
        assert!(matches!(check(&"x".repeat(250)), Err(TopicNameError::TooLong { len: 250, .. })));
        for bad in ["a b", "a/b", "ä", "a\0", "../a"] {
            assert!(matches!(check(bad), Err(TopicNameError::Character { .. })), "{bad}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(check_collision("a.b", ["a.b", "a-b"]), Ok(()));
        let error = check_collision("a.b", ["x", "a_b"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "topic name 'a.b' collides with 'a_b': '.' and '_' are one in names of metrics"
        );
    }
}
