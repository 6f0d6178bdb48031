//! Records made of fields: `id:sequence, amount:decimal(1.00..500.00), status:choice(new|paid*8)`.

use super::random::Random;
use crate::data::Value;
use crate::data::text_form::iso;
use crate::http::record::quoted;

/// What records are made of.
#[derive(Clone, Debug)]
pub struct Fields {
    fields: Vec<Field>,
    /// The place of the one that is the key.
    key: Option<usize>,
}

#[derive(Clone, Debug)]
struct Field {
    /// As it stands in JSON, with its colon.
    name: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Sequence {
        first: i64,
    },
    Integer {
        least: i64,
        most: i64,
    },
    /// In units of the last digit.
    Decimal {
        least: i64,
        most: i64,
        digits: u32,
    },
    /// Texts as JSON, each with the sum of weights up to it.
    Choice {
        choices: Vec<(String, u64)>,
    },
    Text {
        least: usize,
        most: usize,
    },
    Boolean {
        share: f64,
    },
    Uuid,
    Time,
    TimeMs,
}

/// The longest text.
const TEXT_MAX: usize = 100_000;

impl Fields {
    pub fn parse(items: &[String], key: Option<&str>) -> Result<Fields, String> {
        if items.is_empty() {
            return Err("there are no fields, such as id:sequence, amount:integer(1..100)".into());
        }
        let mut names: Vec<&str> = Vec::new();
        let mut fields = Vec::new();
        for item in items {
            let Some((name, kind)) = item.split_once(':') else {
                return Err(format!("'{item}' is no name:type"));
            };
            let name = name.trim();
            if name.is_empty() || names.contains(&name) {
                return Err(format!("'{item}': its name is there twice, or there is none"));
            }
            let kind = Kind::parse(kind.trim()).map_err(|error| format!("'{item}': {error}"))?;
            names.push(name);
            fields.push(Field { name: format!("{}:", quoted(name)), kind });
        }
        let place = |key: &str| names.iter().position(|name| *name == key);
        let missing = |key: &str| format!("there is no field '{key}' to be the key");
        let key = key.map(|key| place(key).ok_or_else(|| missing(key))).transpose()?;
        Ok(Fields { fields, key })
    }

    /// Writes the record of that number to `value`, and its key, if it has one, to `key`.
    pub fn write(
        &self,
        number: u64,
        seed: u64,
        time_ms: i64,
        value: &mut Vec<u8>,
        key: &mut Vec<u8>,
    ) {
        let mut random = Random::of(seed, number);
        for (index, field) in self.fields.iter().enumerate() {
            value.push(if index == 0 { b'{' } else { b',' });
            value.extend_from_slice(field.name.as_bytes());
            let from = value.len();
            field.kind.write(number, &mut random, time_ms, value);
            if self.key == Some(index) {
                let text = String::from_utf8_lossy(&value[from..]);
                key.extend_from_slice(crate::json_text::string(&text).as_bytes());
            }
        }
        value.push(b'}');
    }

    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

impl Kind {
    fn parse(text: &str) -> Result<Kind, String> {
        let (name, rest) = text.split_once('(').unwrap_or((text, ""));
        let inner = match (text.contains('('), rest.strip_suffix(')')) {
            (true, None) => return Err("a ')' is missing at its end".to_owned()),
            (_, inner) => inner.map(str::trim),
        };
        let kind = match (name.trim(), inner) {
            ("sequence", None) => Kind::Sequence { first: 0 },
            ("sequence", Some(first)) => Kind::Sequence { first: whole(first)? },
            ("integer", Some(range)) => {
                let (least, most) = range_of(range)?;
                ordered(whole(least)?, whole(most)?, |least, most| Kind::Integer { least, most })?
            }
            ("decimal", Some(range)) => decimal(range)?,
            ("choice", Some(choices)) => choice(choices)?,
            ("text", Some(lengths)) => {
                let (least, most) = range_of(lengths).unwrap_or((lengths, lengths));
                let (least, most) = (whole(least)?, whole(most)?);
                if !(0..=TEXT_MAX as i64).contains(&least) || most > TEXT_MAX as i64 {
                    return Err(format!("a text has at most {TEXT_MAX} letters"));
                }
                ordered(least, most, |least, most| Kind::Text {
                    least: least as usize,
                    most: most as usize,
                })?
            }
            ("boolean", None) => Kind::Boolean { share: 0.5 },
            ("boolean", Some(share)) => {
                let parsed = share.parse().ok().filter(|share| (0.0..=1.0).contains(share));
                Kind::Boolean { share: parsed.ok_or("a share is a number from 0 to 1")? }
            }
            ("uuid", None) => Kind::Uuid,
            ("time", None) => Kind::Time,
            ("time-ms", None) => Kind::TimeMs,
            _ => {
                return Err(format!(
                    "there is no type '{text}'; there are sequence, integer(1..9), \
                     decimal(0.00..9.99), choice(a|b*3), text(8), boolean, uuid, time, time-ms"
                ));
            }
        };
        Ok(kind)
    }

    fn write(&self, number: u64, random: &mut Random, time_ms: i64, out: &mut Vec<u8>) {
        let mut integer = |number: i64| {
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        };
        match self {
            Kind::Sequence { first } => integer(first.saturating_add_unsigned(number)),
            Kind::Integer { least, most } => integer(random.between(*least, *most)),
            Kind::TimeMs => integer(time_ms),
            Kind::Decimal { least, most, digits } => {
                let units = random.between(*least, *most);
                let (one, sign) = (10u64.pow(*digits), if units < 0 { "-" } else { "" });
                let (whole, part) = (units.unsigned_abs() / one, units.unsigned_abs() % one);
                let text = match digits {
                    0 => format!("{sign}{whole}"),
                    digits => format!("{sign}{whole}.{part:0width$}", width = *digits as usize),
                };
                out.extend_from_slice(text.as_bytes());
            }
            Kind::Choice { choices } => {
                let total = choices.last().map_or(0, |(_, sum)| *sum);
                let at = random.below(total);
                let chosen = choices.partition_point(|(_, sum)| *sum <= at);
                out.extend_from_slice(choices[chosen].0.as_bytes());
            }
            Kind::Text { least, most } => {
                let length = random.between(*least as i64, *most as i64);
                out.push(b'"');
                out.extend((0..length).map(|_| b'a' + random.below(26) as u8));
                out.push(b'"');
            }
            Kind::Boolean { share } => {
                let is = random.share() < *share;
                out.extend_from_slice(if is { b"true" } else { b"false" });
            }
            Kind::Uuid => {
                let bytes = [random.next().to_le_bytes(), random.next().to_le_bytes()].concat();
                let bytes: [u8; 16] = bytes.try_into().expect("twice eight bytes");
                let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
                out.extend_from_slice(format!("\"{uuid}\"").as_bytes());
            }
            Kind::Time => {
                out.extend_from_slice(
                    format!("\"{}\"", iso(&Value::Timestamp(time_ms))).as_bytes(),
                );
            }
        }
    }
}

fn whole(text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("'{}' is no whole number", text.trim()))
}

fn range_of(text: &str) -> Result<(&str, &str), String> {
    text.split_once("..").ok_or_else(|| format!("'{text}' is no range, such as 1..9"))
}

fn ordered(least: i64, most: i64, make: impl Fn(i64, i64) -> Kind) -> Result<Kind, String> {
    match least <= most {
        true => Ok(make(least, most)),
        false => Err(format!("{least} is more than {most}")),
    }
}

fn decimal(range: &str) -> Result<Kind, String> {
    let (least, most) = range_of(range)?;
    let digits_of = |text: &str| text.trim().split_once('.').map_or(0, |(_, part)| part.len());
    let digits = digits_of(least).max(digits_of(most));
    let units = |text: &str| {
        let text = text.trim();
        let (whole_part, part) = text.split_once('.').unwrap_or((text, ""));
        let padded = format!("{whole_part}{part:0<digits$}");
        let wrong = |_| format!("'{text}' is no decimal number of at most 18 digits");
        padded.parse::<i64>().map_err(wrong)
    };
    if digits > 9 {
        return Err("a decimal has at most 9 digits after its point".to_owned());
    }
    let digits = digits as u32;
    ordered(units(least)?, units(most)?, |least, most| Kind::Decimal { least, most, digits })
}

/// `new|paid*8|void`: numbers, true, false and null are themselves, all else is text.
fn choice(text: &str) -> Result<Kind, String> {
    let mut sum = 0u64;
    let mut choices = Vec::new();
    for choice in text.split('|').map(str::trim) {
        let weighted = choice.rsplit_once('*');
        let weighted =
            weighted.and_then(|(said, weight)| Some((said, weight.parse::<u32>().ok()?)));
        let (said, weight) = weighted.unwrap_or((choice, 1));
        sum += u64::from(weight);
        let is_plain = matches!(said, "true" | "false" | "null")
            || (said.parse::<f64>().is_ok() && crate::json_text::check(said.as_bytes()).is_ok());
        let json = if is_plain { said.to_owned() } else { quoted(said) };
        choices.push((json, sum));
    }
    match sum {
        0 => Err("its weights are all 0".to_owned()),
        _ => Ok(Kind::Choice { choices }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str, key: Option<&str>) -> Result<Fields, String> {
        let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
        Fields::parse(&items, key)
    }

    fn records(fields: &Fields, numbers: std::ops::Range<u64>) -> Vec<(String, String)> {
        let one = |number| {
            let (mut value, mut key) = (Vec::new(), Vec::new());
            fields.write(number, 1, 1_700_000_000_123, &mut value, &mut key);
            (String::from_utf8(key).unwrap(), String::from_utf8(value).unwrap())
        };
        numbers.map(one).collect()
    }

    #[test]
    fn records_are_json_of_their_fields_and_the_same_each_time() {
        let text = "id:sequence(5), n:integer(-2..2), d:decimal(-1.5..10.25), c:choice(a|b*3|7|null), \
                    t:text(2..4), b:boolean(0.2), u:uuid, at:time, ms:time-ms";
        let all = fields(text, Some("id")).unwrap();
        let some = records(&all, 0..200);
        assert_eq!(some[150..], records(&all, 150..200));
        let mut chosen = std::collections::BTreeMap::new();
        for (index, (key, value)) in some.iter().enumerate() {
            let json: serde_json::Value = serde_json::from_str(value).unwrap();
            assert_eq!(*key, (index + 5).to_string());
            assert!((-2..=2).contains(&json["n"].as_i64().unwrap()));
            assert!((-1.5..=10.25).contains(&json["d"].as_f64().unwrap()));
            assert!((2..=4).contains(&json["t"].as_str().unwrap().len()));
            *chosen.entry(json["c"].to_string()).or_insert(0) += 1;
        }
        assert_eq!(chosen.len(), 4);
        assert!(chosen["\"b\""] > chosen["\"a\""] && chosen["\"b\""] > 70, "{chosen:?}");
        expect_test::expect![[r#"{"id":5,"n":1,"d":9.91,"c":"b","t":"twn","b":false,"u":"96676174-8e5c-43cb-a14f-560177dc7567","at":"2023-11-14T22:13:20.123Z","ms":1700000000123}"#]].assert_eq(&some[0].1);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "'' is no name:type"),
            ("id", "'id' is no name:type"),
            ("a:sequence,a:uuid", "there twice"),
            ("a:integer", "there is no type 'integer'; there are sequence"),
            ("a:integer(1..)", "'' is no whole number"),
            ("a:integer(9..1)", "9 is more than 1"),
            ("a:integer(1..9", "a ')' is missing"),
            ("a:decimal(1.0000000001..2)", "at most 9 digits"),
            ("a:text(1000000)", "at most 100000 letters"),
            ("a:choice(x*0)", "weights are all 0"),
            ("a:boolean(2)", "from 0 to 1"),
        ] {
            let error = fields(text, None).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(fields("a:uuid", Some("b")).unwrap_err().contains("no field 'b'"));
    }
}
