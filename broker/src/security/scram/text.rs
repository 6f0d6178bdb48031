//! A verifier as text, for files of passwords (RFC 5803, and PostgreSQL's form):
//!
//! ```text
//! SCRAM-SHA-256$4096:salt$StoredKey:ServerKey
//! ```

use base64::Engine;

use super::{BASE64, ITERATIONS_MIN, SALT_BYTES_MAX, ScramMechanism, Verifier};

/// More would let whoever tries passwords keep a core busy.
const ITERATIONS_MAX: u32 = 1_000_000;

impl Verifier {
    pub fn to_text(&self, mechanism: ScramMechanism) -> String {
        let [salt, stored, server] =
            [&self.salt, &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        format!("{mechanism}${}:{salt}${stored}:{server}", self.iterations)
    }

    /// `None` if the text begins as no verifier does, and so may be a password. The error is a
    /// reason to be read by people, and tells nothing of the text.
    pub fn from_text(text: &str) -> Option<Result<(ScramMechanism, Verifier), String>> {
        let (mechanism, rest) = text.split_once('$')?;
        let mechanism = mechanism.parse::<ScramMechanism>().ok()?;
        let wrong = || format!("expected {mechanism}$iterations:salt$StoredKey:ServerKey");
        Some(parse(mechanism, rest).ok_or_else(wrong).map(|verifier| (mechanism, verifier)))
    }
}

fn parse(mechanism: ScramMechanism, rest: &str) -> Option<Verifier> {
    let (shape, keys) = rest.split_once('$')?;
    let ((iterations, salt), (stored, server)) = (shape.split_once(':')?, keys.split_once(':')?);
    let iterations = iterations.parse().ok()?;
    if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
        return None;
    }
    let salt = BASE64.decode(salt).ok().filter(|salt| salt.len() <= SALT_BYTES_MAX)?;
    let key = |text: &str| {
        let length = mechanism.digest().output_len();
        BASE64.decode(text).ok().filter(|key| key.len() == length)
    };
    Some(Verifier { iterations, salt, stored_key: key(stored)?, server_key: key(server)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_the_same_after_it_was_text() {
        for mechanism in ScramMechanism::ALL {
            let verifier = Verifier::of_password(mechanism, b"secret", ITERATIONS_MIN);
            let text = verifier.to_text(mechanism);
            let (read, again) = Verifier::from_text(&text).unwrap().unwrap();
            assert!(read == mechanism && again == verifier);
            assert!(again.verify(mechanism, b"secret") && !again.verify(mechanism, b"Secret"));
        }
        // As PostgreSQL's documentation has the form.
        let postgres = "SCRAM-SHA-256$4096:AAECAwQFBgcICQoLDA0ODw==$\
                        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert!(Verifier::from_text(postgres).unwrap().is_ok());
    }

    #[test]
    fn what_is_no_verifier_is_a_password_and_what_is_half_of_one_is_neither() {
        for password in ["secret", "a$b", "SCRAM-SHA-256", "SCRAM-SHA-1$1:a$b:c"] {
            assert!(Verifier::from_text(password).is_none(), "{password}");
        }
        for broken in ["SCRAM-SHA-256$", "SCRAM-SHA-512$4096:AA==$AA==:AA==", "SCRAM-SHA-256$1:$:"]
        {
            let reason = Verifier::from_text(broken).unwrap().unwrap_err();
            assert!(reason.starts_with("expected SCRAM-SHA-"), "{reason}");
        }
    }
}
