//! Headers that every answer gets: Kafka Connect's `response.http.headers.config`.
//!
//! ```text
//! set X-Frame-Options: DENY, "add Cache-Control: no-cache, no-store", setDate Expires: 60000
//! ```

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// More are a mistake.
const HEADERS_MAX: usize = 64;

/// The headers, in order.
#[derive(Clone, Debug, Default)]
pub struct AnswerHeaders(Vec<One>);

#[derive(Clone, Debug)]
struct One {
    name: HeaderName,
    value: Value,
    /// It goes beside one of the same name, instead of replacing it.
    is_added: bool,
}

#[derive(Clone, Debug)]
enum Value {
    Text(HeaderValue),
    /// So long after the answer.
    Date(Duration),
}

impl AnswerHeaders {
    /// The error is a reason to be read by people.
    pub fn new(text: &str) -> Result<AnswerHeaders, String> {
        let rules = split(text).into_iter().filter(|rule| !rule.trim().is_empty());
        let all = rules.map(|rule| one(rule.trim())).collect::<Result<Vec<_>, _>>()?;
        match all.len() > HEADERS_MAX {
            true => Err(format!("there may be {HEADERS_MAX} headers at most")),
            false => Ok(AnswerHeaders(all)),
        }
    }

    pub fn put(&self, headers: &mut HeaderMap) {
        for One { name, value, is_added } in &self.0 {
            let value = match value {
                Value::Text(text) => text.clone(),
                Value::Date(after) => {
                    let date = httpdate::fmt_http_date(SystemTime::now() + *after);
                    HeaderValue::from_str(&date).expect("a date is plain text")
                }
            };
            if *is_added {
                headers.append(name, value);
            } else {
                headers.insert(name, value);
            }
        }
    }
}

fn one(rule: &str) -> Result<One, String> {
    let forms = "set NAME: VALUE, add NAME: VALUE, setDate NAME: MS or addDate NAME: MS";
    let wrong = |reason: &str| format!("'{rule}' {reason}: write {forms}");
    let (action, header) =
        rule.split_once(char::is_whitespace).ok_or_else(|| wrong("is no rule for a header"))?;
    let (name, value) = header.split_once(':').ok_or_else(|| wrong("has no colon"))?;
    let name = HeaderName::from_bytes(name.trim().as_bytes())
        .map_err(|_| wrong("has no name that a header may have"))?;
    let (is_added, is_date) = match action.to_ascii_lowercase().as_str() {
        "set" => (false, false),
        "add" => (true, false),
        "setdate" => (false, true),
        "adddate" => (true, true),
        _ => return Err(wrong("begins with no action that there is")),
    };
    let value = match is_date {
        true => {
            let ms: u32 = value.trim().parse().map_err(|_| wrong("has no milliseconds"))?;
            Value::Date(Duration::from_millis(u64::from(ms)))
        }
        false => {
            let text = HeaderValue::from_str(value.trim());
            Value::Text(text.map_err(|_| wrong("has a value with control characters"))?)
        }
    };
    Ok(One { name, value, is_added })
}

/// By commas that do not stand between quotes.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut quoted) = (vec![String::new()], false);
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(String::new()),
            other => parts.last_mut().expect("there is one from the first").push(other),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_kafka_connects() {
        // The example of Kafka's documentation.
        let rules = AnswerHeaders::new(
            "\"add Cache-Control: no-cache, no-store, must-revalidate\",add X-XSS-Protection: 1; \
             mode=block, add Strict-Transport-Security: max-age=31536000; includeSubDomains, \
             set X-Content-Type-Options: nosniff, setDate Expires: 60000",
        );
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", HeaderValue::from_static("private"));
        headers.insert("x-content-type-options", HeaderValue::from_static("?"));
        rules.unwrap().put(&mut headers);
        let expires = headers.remove("expires").unwrap();
        let expires = httpdate::parse_http_date(expires.to_str().unwrap()).unwrap();
        assert!(expires > SystemTime::now() + Duration::from_secs(30));
        let shown = headers.iter();
        let shown = shown.map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
        expect_test::expect![[r#"
            cache-control: private
            cache-control: no-cache, no-store, must-revalidate
            x-content-type-options: nosniff
            x-xss-protection: 1; mode=block
            strict-transport-security: max-age=31536000; includeSubDomains
        "#]]
        .assert_eq(&shown.collect::<String>());
        assert!(AnswerHeaders::new(" ").unwrap().0.is_empty());
    }

    #[test]
    fn a_rule_that_cannot_be_followed_is_a_mistake() {
        for (rule, told) in [
            ("nosniff", "is no rule for a header"),
            ("set X", "has no colon"),
            ("set a b: c", "has no name"),
            ("put X: y", "begins with no action"),
            ("setDate X: soon", "has no milliseconds"),
            ("set X: a\u{1}b", "control characters"),
        ] {
            let reason = AnswerHeaders::new(rule).unwrap_err();
            assert!(reason.contains(told), "{reason}");
        }
    }
}
