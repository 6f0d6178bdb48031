//! The path and query of a request.

/// A request's path, by segments, and its query, both decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestTarget {
    pub segments: Vec<String>,
    query: Vec<(String, String)>,
}

impl RequestTarget {
    /// From `/connectors/a%20b?expand=status`; a slash at the end says nothing.
    pub fn new(path: &str, query: &str) -> RequestTarget {
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&key.replace('+', " ")), decoded(&value.replace('+', " ")))
        });
        RequestTarget { segments: segments.map(decoded).collect(), query: pairs.collect() }
    }

    /// All values of a key.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let of_key = self.query.iter().filter(move |(known, _)| known == key);
        of_key.map(|(_, value)| value.as_str())
    }
}

/// A segment as it stands in a path.
pub fn encoded(segment: &str) -> String {
    let mut out = String::new();
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What is no code stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.filter(|code| code.iter().all(u8::is_ascii_hexdigit));
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_decoded() {
        let target = RequestTarget::new("/connectors/a%20b%2Fc/", "expand=info&expand=st%61tus&x");
        assert_eq!(target.segments, ["connectors", "a b/c"]);
        assert_eq!(target.all("expand").collect::<Vec<_>>(), ["info", "status"]);
        assert_eq!(target.all("x").collect::<Vec<_>>(), [""]);
        assert_eq!(RequestTarget::new("//%zz%f", "").segments, ["%zz%f"]);
        assert_eq!(encoded("a b/ü"), "a%20b%2F%C3%BC");
    }
}
