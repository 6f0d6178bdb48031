//! One service that is called: what its properties say, and what they make of a record.

use bytes::{Bytes, BytesMut};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use url::Url;

use super::auth;
use super::condition::Condition;
use super::record::RecordView;
use super::template::{Place, Template};
use crate::config::{ConfigProblem, Settings};
use crate::json_text;

/// A service, understood.
#[derive(Clone, Debug)]
pub struct Service {
    /// Empty if there is but one, which needs no name.
    pub name: String,
    condition: Option<Condition>,
    method: Method,
    url: Template,
    body: Option<Template>,
    content_type: HeaderValue,
    authorization: Option<HeaderValue>,
    headers: Vec<(HeaderName, Template)>,
}

/// How records stand in a call.
#[derive(Clone, Debug)]
pub struct Batching {
    pub records_max: usize,
    pub bytes_max: usize,
    prefix: String,
    suffix: String,
    separator: String,
    /// Each record has to be JSON, or the whole would not be.
    is_json: bool,
}

/// What a record is to a service: whom to call how, and its part of the body.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub target: Target,
    pub body: Bytes,
}

/// Where a call goes. Records with the same may go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
}

/// A mistake: the key, without a service's prefix, and what is wrong.
type Mistake = (&'static str, String);

impl Service {
    /// Reads checked settings; every mistake is told with its key.
    pub fn new(
        name: &str,
        settings: &Settings,
        batching: Option<&Batching>,
    ) -> Result<Service, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let url = url_template(settings).unwrap_or_else(|mistake| {
            mistakes.push(("http.url", mistake));
            None
        });
        let condition = settings.optional_text("condition").map(Condition::parse).transpose();
        let condition = condition.unwrap_or_else(|mistake| {
            mistakes.push(("condition", mistake));
            None
        });
        let body = settings.optional_text("http.body");
        let body = body.map(|text| Template::parse(text, Place::Body)).transpose();
        let body = body.unwrap_or_else(|mistake| {
            mistakes.push(("http.body", mistake));
            None
        });
        let headers = headers(settings.list("http.headers.additional"), Place::Header);
        let headers = headers.unwrap_or_else(|mistake| {
            mistakes.push(("http.headers.additional", mistake));
            Vec::new()
        });
        let lines = batching.is_some_and(|batching| !batching.is_json);
        let standard = if lines { "application/x-ndjson" } else { "application/json" };
        let content_type = settings.optional_text("http.headers.content.type").unwrap_or(standard);
        let content_type = HeaderValue::from_str(content_type).unwrap_or_else(|_| {
            mistakes.push(("http.headers.content.type", "it is no text for a header".to_owned()));
            HeaderValue::from_static("application/json")
        });
        let method = settings.text("http.method").parse().unwrap_or(Method::POST);
        match url {
            Some(url) if mistakes.is_empty() => Ok(Service {
                name: name.to_owned(),
                condition,
                method,
                url,
                body,
                content_type,
                authorization: auth::header_value(settings),
                headers,
            }),
            _ => Err(mistakes),
        }
    }

    /// Whether the service is called for a record.
    pub fn wants(&self, record: &RecordView<'_>) -> Result<bool, String> {
        let Some(condition) = &self.condition else { return Ok(true) };
        condition.holds(record).map_err(|error| format!("condition: {error}"))
    }

    /// What to send for a record that has a value.
    pub fn prepare(
        &self,
        record: &RecordView<'_>,
        batching: Option<&Batching>,
    ) -> Result<Prepared, String> {
        let body = match &self.body {
            Some(template) => template.fill(record).map_err(within("http.body"))?.into(),
            None => record.value().unwrap_or_default(),
        };
        if batching.is_some_and(|batching| batching.is_json) {
            json_text::check(&body)
                .map_err(|error| format!("it is to be part of JSON, but is no JSON: {error}"))?;
        }
        if let Some(batching) = batching
            && batching.separator == "\n"
            && memchr::memchr(b'\n', &body).is_some()
        {
            return Err("it has a line end in it, and would be two lines".to_owned());
        }
        Ok(Prepared { target: self.target(record, self.method.clone(), true)?, body })
    }

    /// What to send for a tombstone that is to delete.
    pub fn prepare_delete(&self, record: &RecordView<'_>) -> Result<Prepared, String> {
        let target = self.target(record, Method::DELETE, false)?;
        Ok(Prepared { target, body: Bytes::new() })
    }

    fn target(
        &self,
        record: &RecordView<'_>,
        method: Method,
        has_body: bool,
    ) -> Result<Target, String> {
        let text = self.url.fill(record).map_err(within("http.url"))?;
        // The address itself may hold a secret.
        let url = parse_url(&text).map_err(|_| "http.url: with this record it is no address")?;
        let mut headers = HeaderMap::new();
        if has_body {
            headers.insert(CONTENT_TYPE, self.content_type.clone());
        }
        if let Some(authorization) = self.authorization.clone().or_else(|| of_url(&url)) {
            headers.insert(AUTHORIZATION, authorization);
        }
        for (name, template) in &self.headers {
            let text = template.fill(record).map_err(within(name.as_str()))?;
            let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
                format!("header {name}: with this record it has control characters")
            })?;
            headers.insert(name.clone(), value);
        }
        Ok(Target { method, url: without_credentials(url), headers })
    }
}

fn within(what: &str) -> impl Fn(String) -> String + '_ {
    move |error| format!("{what}: {error}")
}

fn url_template(settings: &Settings) -> Result<Option<Template>, String> {
    let Some(text) = settings.optional_text("http.url") else { return Ok(None) };
    let template = Template::parse(text, Place::Url)?;
    if let Some(fixed) = template.fixed() {
        parse_url(fixed)?;
    } else if !(text.starts_with("http://")
        || text.starts_with("https://")
        || text.starts_with("{{"))
    {
        return Err(format!("'{text}' begins with neither http:// nor https://"));
    }
    Ok(Some(template))
}

/// An address of a server that speaks HTTP.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("'{text}' is no address: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(format!("'{text}' begins with neither http:// nor https://")),
    }
}

/// `http://user:password@host` says who calls.
pub fn of_url(url: &Url) -> Option<HeaderValue> {
    use base64::Engine as _;
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| {
        let form = format!("x={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, text)| text.into_owned())
    };
    let user = decoded(url.username()).unwrap_or_default();
    let password = url.password().and_then(decoded).unwrap_or_default();
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {text}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub fn without_credentials(mut url: Url) -> Url {
    // An address of HTTP has a host, so neither can fail.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// `name:value` each.
pub fn headers(items: &[String], place: Place) -> Result<Vec<(HeaderName, Template)>, String> {
    let one = |item: &String| {
        let Some((name, value)) = item.split_once(':') else {
            return Err(format!("'{item}' has no colon between a name and a value"));
        };
        let known = HeaderName::from_bytes(name.trim().as_bytes());
        let name = known.map_err(|_| format!("'{}' is no name of a header", name.trim()))?;
        Ok((name, Template::parse(value.trim(), place)?))
    };
    items.iter().map(one).collect()
}

impl Batching {
    /// As checked settings say; `None`: a call for each record.
    pub fn new(settings: &Settings) -> Option<Batching> {
        if !settings.flag("batching.enabled") {
            return None;
        }
        let standard = match settings.text("batch.format") {
            "array" => ["[", ",", "]"],
            _ => ["", "\n", ""],
        };
        let text = |key, standard: &str| match settings.optional_text(key) {
            // Blanks at the ends of a property do not count.
            Some("") if key == "batch.separator" => "\n".to_owned(),
            Some(text) => text.to_owned(),
            None => standard.to_owned(),
        };
        let separator = text("batch.separator", standard[1]);
        Some(Batching {
            records_max: settings.integer("batch.max.size") as usize,
            bytes_max: settings.integer("batch.max.bytes") as usize,
            prefix: text("batch.prefix", standard[0]),
            suffix: text("batch.suffix", standard[2]),
            is_json: separator == ",",
            separator,
        })
    }

    /// The body that has these parts.
    pub fn join<'a>(&self, parts: impl Iterator<Item = &'a Bytes>) -> Bytes {
        let mut body = BytesMut::from(self.prefix.as_bytes());
        for (index, part) in parts.enumerate() {
            if index > 0 {
                body.extend_from_slice(self.separator.as_bytes());
            }
            body.extend_from_slice(part);
        }
        body.extend_from_slice(self.suffix.as_bytes());
        body.freeze()
    }
}

/// The mistakes of a service as problems of the connector's properties.
pub fn problems(
    settings: &Settings,
    prefix: &str,
    batching: Option<&Batching>,
) -> Vec<ConfigProblem> {
    let mut problems = auth::check(settings, prefix);
    if settings.optional_text("http.url").is_none() {
        problems.push(ConfigProblem {
            key: format!("{prefix}http.url"),
            value: None,
            message: format!("`{prefix}http.url` is missing: the service's address"),
            help: Some(format!("for example `{prefix}http.url = https://crm.example/customers`")),
        });
    }
    if let Err(mistakes) = Service::new("", settings, batching) {
        problems.extend(mistakes.into_iter().map(|(key, mistake)| ConfigProblem {
            key: format!("{prefix}{key}"),
            value: None,
            message: format!("`{prefix}{key}`: {mistake}"),
            help: None,
        }));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_say_who_calls_and_that_is_not_part_of_it() {
        let url = parse_url("https://ann:a%2Bb%20c@h/x").unwrap();
        // ann:a+b c
        assert_eq!(of_url(&url).unwrap(), "Basic YW5uOmErYiBj");
        assert_eq!(without_credentials(url).as_str(), "https://h/x");
        assert_eq!(of_url(&parse_url("http://h").unwrap()), None);
        assert!(parse_url("ftp://h").unwrap_err().contains("neither http://"));
        assert!(parse_url("h/x").unwrap_err().contains("is no address"));
    }
}
