//! Texts with parts of a record in them.
//!
//! ```text
//! https://crm.example/customers/{{value.customer.id}}?from={{topic}}     a URL: percent-encoded
//! Idempotency-Key: {{topic}}-{{partition}}-{{offset}}                    a header: as text
//! {"order": {{value}}, "at": {{timestamp}}}                              a body: as JSON
//! {"note": "order {{value.id | text}} has come"}                         within a JSON string
//! ```
//!
//! `| raw` puts the text as it is, wherever it stands. What is not there is an error in a URL and
//! in a header, and null in a body.

use super::record::{Path, RecordView};
use crate::json_text;
use crate::rest::encoded;

/// Where a template stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Url,
    Header,
    Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    place: Place,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Path, Form),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As the place wants it.
    Fitting,
    /// What stands within the quotes of a JSON string.
    InString,
    Raw,
}

impl Template {
    pub fn parse(text: &str, place: Place) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((field, after)) = after.split_once("}}") else {
                return Err(format!("'{{{{{after}' has no }}}} at its end"));
            };
            let (path, form) = field.split_once('|').unwrap_or((field, ""));
            let form = match form.trim() {
                "" => Form::Fitting,
                "raw" => Form::Raw,
                "text" if place == Place::Body => Form::InString,
                other => return Err(format!("'{other}' is no form; there are `raw` and `text`")),
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Field(Path::parse(path.trim())?, form));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Template { place, parts })
    }

    /// The text, if it is the same for every record.
    pub fn fixed(&self) -> Option<&str> {
        match &self.parts[..] {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The headers that it asks for.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.fields().filter_map(Path::header)
    }

    /// A field that is neither of a value nor of headers.
    pub fn other_than_value_and_headers(&self) -> Option<&Path> {
        self.fields().find(|path| path.header().is_none() && !path.is_of_value())
    }

    fn fields(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(path, _) => Some(path),
            Part::Text(_) => None,
        })
    }

    /// The text with the record's parts in it.
    pub fn fill(&self, record: &RecordView<'_>) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(path, form) => {
                    out.push_str(&self.field(path, *form, record.find(path)?)?);
                }
            }
        }
        Ok(out)
    }

    fn field(&self, path: &Path, form: Form, found: Option<String>) -> Result<String, String> {
        let Some(json) = found else {
            return match (self.place, form) {
                (Place::Body, Form::Fitting) => Ok("null".to_owned()),
                (Place::Body, _) => Ok(String::new()),
                _ => Err(format!("'{path}' is not there or null")),
            };
        };
        let text = json_text::string(&json);
        Ok(match (self.place, form) {
            (Place::Url, Form::Fitting) => encoded(&text),
            (Place::Body, Form::Fitting) => json,
            (_, Form::InString) => {
                let quoted = super::record::quoted(&text);
                quoted[1..quoted.len() - 1].to_owned()
            }
            _ => text.into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::example;
    use super::*;

    fn fill(text: &str, place: Place) -> Result<String, String> {
        let record = example(Some("a/b c"), r#"{"id": 7, "say": "hi \"you\"\n", "tags": ["x"]}"#);
        Template::parse(text, place)?.fill(&RecordView::new(&record))
    }

    #[test]
    fn each_place_has_its_form() {
        let url = fill("http://h/{{key}}/{{ value.id }}?t={{topic}}&r={{key|raw}}", Place::Url);
        assert_eq!(url.unwrap(), "http://h/a%2Fb%20c/7?t=orders&r=a/b c");
        let header = fill("{{topic}}-{{partition}}-{{offset}}", Place::Header);
        assert_eq!(header.unwrap(), "orders-3-17");
        let body = r#"{"all": {{value.tags}}, "say": {{value.say}}, "in": "{{value.say | text}}!", "no": {{value.no}}}"#;
        assert_eq!(
            fill(body, Place::Body).unwrap(),
            r#"{"all": ["x"], "say": "hi \"you\"\n", "in": "hi \"you\"\n!", "no": null}"#
        );
    }

    #[test]
    fn what_cannot_be_filled_is_refused() {
        let errors = [
            fill("http://h/{{value.no}}", Place::Url),
            fill("http://h/{{value.id", Place::Url),
            fill("{{valeu.id}}", Place::Body),
            fill("{{value.id | text}}", Place::Header),
        ]
        .map(Result::unwrap_err);
        assert_eq!(errors[0], "'value.no' is not there or null");
        assert_eq!(errors[1], "'{{value.id' has no }} at its end");
        assert!(errors[2].starts_with("a record has no 'valeu.id'"), "{}", errors[2]);
        assert_eq!(errors[3], "'text' is no form; there are `raw` and `text`");
    }

    #[test]
    fn a_text_without_fields_is_known_to_be_fixed() {
        assert_eq!(Template::parse("http://h", Place::Url).unwrap().fixed(), Some("http://h"));
        assert_eq!(Template::parse("{{key}}", Place::Url).unwrap().fixed(), None);
    }
}
