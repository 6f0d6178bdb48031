//! OAUTHBEARER (RFC 7628, KIP-255): a token instead of a name and a password.
//!
//! ```text
//! n,[a=whom to act as],^Aauth=Bearer TOKEN^A[name=value^A …]^A          (^A is the byte 1)
//! ```

const SEPARATOR: char = '\u{1}';
/// What a client answers when it is told why its token was refused.
pub const GIVEN_UP: &[u8] = b"\x01";

/// A token, and for whom it is meant if that is said.
#[derive(Debug, PartialEq, Eq)]
pub struct BearerMessage<'a> {
    pub token: &'a str,
    pub identity: Option<&'a str>,
}

/// Why a message is refused: for the log.
pub fn parse(message: &[u8]) -> Result<BearerMessage<'_>, &'static str> {
    const MALFORMED: &str = "the message is malformed";
    let text = std::str::from_utf8(message).map_err(|_| MALFORMED)?;
    let (header, rest) = text.split_once(SEPARATOR).ok_or(MALFORMED)?;
    let identity = header.strip_prefix("n,").and_then(|rest| rest.strip_suffix(','));
    let identity = match identity.ok_or(MALFORMED)? {
        "" => None,
        identity => Some(identity.strip_prefix("a=").ok_or(MALFORMED)?),
    };
    let pairs = rest.strip_suffix(SEPARATOR).ok_or(MALFORMED)?;
    let mut auth = None;
    for pair in pairs.split_terminator(SEPARATOR) {
        let (name, value) = pair.split_once('=').ok_or(MALFORMED)?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(MALFORMED);
        }
        // Extensions mean nothing here, and do no harm.
        if name == "auth" && auth.replace(value).is_some() {
            return Err(MALFORMED);
        }
    }
    let (scheme, token) = auth.and_then(|auth| auth.split_once(' ')).ok_or(MALFORMED)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(MALFORMED);
    }
    Ok(BearerMessage { token: token.trim(), identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_brings_a_token() {
        let good = [
            ("n,,\u{1}auth=Bearer a.b.c\u{1}\u{1}", None),
            ("n,a=me,\u{1}auth=bearer  a.b.c\u{1}\u{1}", Some("me")),
            ("n,,\u{1}ext=1 2\u{1}auth=Bearer a.b.c\u{1}other=x\u{1}\u{1}", None),
        ];
        for (message, identity) in good {
            let expected = BearerMessage { token: "a.b.c", identity };
            assert_eq!(parse(message.as_bytes()), Ok(expected), "{message:?}");
        }
        let bad = [
            "",
            "\u{1}",
            "n,,",
            "n,,\u{1}\u{1}",
            "n,,\u{1}auth=Bearer\u{1}\u{1}",
            "n,,\u{1}auth=Basic a\u{1}\u{1}",
            "n,me,\u{1}auth=Bearer a\u{1}\u{1}",
            "y,,\u{1}auth=Bearer a\u{1}\u{1}",
            "n,,\u{1}auth=Bearer a\u{1}auth=Bearer b\u{1}\u{1}",
            "n,,\u{1}auth=Bearer a\u{1}x\u{1}\u{1}",
            "n,,\u{1}auth=Bearer a",
        ];
        for message in bad {
            assert!(parse(message.as_bytes()).is_err(), "{message:?}");
        }
        assert!(parse(&[b'n', 0xff]).is_err());
    }
}
