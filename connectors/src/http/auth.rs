//! Who calls, as the Authorization header says it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;

use super::oauth;
use crate::config::{ConfigProblem, Settings};

/// The header's text that the settings ask for; `None`: no header.
pub fn header(settings: &Settings) -> Option<String> {
    let text = |key| settings.optional_text(key).unwrap_or_default();
    match settings.text("http.authorization.type") {
        "static" => Some(text("http.headers.authorization").to_owned()),
        "basic" => {
            let user = text("http.authorization.user");
            let password = text("http.authorization.password");
            Some(basic(user, password))
        }
        "bearer" => Some(format!("Bearer {}", text("http.authorization.token"))),
        _ => None,
    }
}

/// A name and a password as the header has them.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The same as a header that is not shown; [`check`] has seen that it is one.
pub fn header_value(settings: &Settings) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&header(settings)?).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What is missing for the type that is chosen, and what is there for another. `prefix` is what
/// the keys have before their names.
pub fn check(settings: &Settings, prefix: &str) -> Vec<ConfigProblem> {
    let chosen = settings.text("http.authorization.type");
    let needed: &[&str] = match chosen {
        "static" => &["http.headers.authorization"],
        "basic" => &["http.authorization.user", "http.authorization.password"],
        "bearer" => &["http.authorization.token"],
        "oauth2" => &["oauth2.access.token.url", "oauth2.client.id", "oauth2.client.secret"],
        _ => &[],
    };
    let missing = needed.iter().filter(|key| settings.get(key).is_none());
    let mut problems: Vec<ConfigProblem> = missing
        .map(|key| ConfigProblem {
            key: format!("{prefix}{key}"),
            value: None,
            message: format!("`{prefix}{key}` is missing: `http.authorization.type` is {chosen}"),
            help: None,
        })
        .collect();
    let all = [
        ("http.headers.authorization", "static"),
        ("http.authorization.user", "basic"),
        ("http.authorization.token", "bearer"),
        ("oauth2.access.token.url", "oauth2"),
    ];
    for (key, wanted) in all {
        if chosen == "none" && settings.get(key).is_some() {
            problems.push(ConfigProblem {
                key: format!("{prefix}{key}"),
                value: None,
                message: format!("`{prefix}{key}` is there, but `http.authorization.type` is none"),
                help: Some(format!("set `{prefix}http.authorization.type = {wanted}`")),
            });
        }
    }
    if problems.is_empty()
        && header(settings).is_some_and(|text| HeaderValue::from_str(&text).is_err())
    {
        problems.push(ConfigProblem {
            key: format!("{prefix}http.authorization.type"),
            value: None,
            message: "the Authorization header would have a line end or another control character"
                .to_owned(),
            help: Some("look for one in the token or password".to_owned()),
        });
    }
    if problems.is_empty() && chosen == "oauth2" {
        problems.extend(oauth::check(settings, prefix));
    }
    problems
}

/// Whether two texts are the same, in a time that tells nothing of where they differ.
pub fn is_same(given: &[u8], wanted: &[u8]) -> bool {
    let differs = given.iter().zip(wanted).fold(0, |differs, (a, b)| differs | (a ^ b));
    given.len() == wanted.len() && differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_whole() {
        assert!(is_same(b"Bearer x", b"Bearer x"));
        assert!(!is_same(b"Bearer y", b"Bearer x"));
        assert!(!is_same(b"Bearer", b"Bearer x"));
        assert!(!is_same(b"", b"Bearer x"));
    }
}
