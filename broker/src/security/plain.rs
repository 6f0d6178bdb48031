//! PLAIN (RFC 4616), checked against the same verifiers as SCRAM: no password is kept.
//!
//! ```text
//! [whom to act as] NUL user NUL password
//! ```

/// A name and a password, which is for nobody's eyes.
pub struct PlainMessage<'a> {
    /// Whom to act as; empty for the user.
    pub identity: &'a str,
    pub user: &'a str,
    pub password: &'a [u8],
}

/// Why a message is refused: for the log.
pub fn parse(message: &[u8]) -> Result<PlainMessage<'_>, &'static str> {
    let text = std::str::from_utf8(message).map_err(|_| "the message is malformed")?;
    let mut parts = text.split('\0');
    let (Some(identity), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the message is malformed");
    };
    if user.is_empty() || password.is_empty() {
        return Err("name or password is empty");
    }
    Ok(PlainMessage { identity, user, password: password.as_bytes() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_three_parts() {
        for good in ["\0alice\0secret", "alice\0alice\0secret"] {
            let message = parse(good.as_bytes()).unwrap_or_else(|reason| panic!("{reason}"));
            assert_eq!((message.user, message.password), ("alice", &b"secret"[..]));
        }
        for bad in ["", "\0", "alice\0secret", "\0\0x", "\0x\0", "\0a\0b\0c"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parse(&[0, 0xff, 0, 1]).is_err());
    }
}
