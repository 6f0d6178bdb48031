//! SCRAM, the client's side, by which our own commands log in at brokers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::scram::{ITERATIONS_MIN, ScramMechanism, random_bytes};

/// A server that asks for more would keep a client busy.
const ITERATIONS_MAX: u32 = 1 << 20;
const NONCE_BYTES: usize = 24;

/// An exchange under way.
pub struct ScramClient<'a> {
    mechanism: ScramMechanism,
    password: &'a str,
    bare: String,
    nonce: String,
    /// What the server has to know in the end.
    expected: Option<String>,
}

impl ScramClient<'_> {
    /// The first message.
    pub fn begin<'a>(
        mechanism: ScramMechanism,
        user: &str,
        password: &'a str,
    ) -> (ScramClient<'a>, Vec<u8>) {
        let nonce = BASE64.encode(random_bytes::<NONCE_BYTES>());
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        let first = format!("n,,{bare}").into_bytes();
        (ScramClient { mechanism, password, bare, nonce, expected: None }, first)
    }

    /// What answers the server's first message.
    pub fn prove(&mut self, server_first: &[u8]) -> Result<Vec<u8>, &'static str> {
        const MALFORMED: &str = "its first message of SCRAM is malformed";
        let text = std::str::from_utf8(server_first).map_err(|_| MALFORMED)?;
        let mut parts = text.split(',');
        let mut part =
            |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or(MALFORMED);
        let (nonce, salt, iterations) = (part("r=")?, part("s=")?, part("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("it has another nonce");
        }
        let salt = BASE64.decode(salt).map_err(|_| MALFORMED)?;
        let iterations: u32 = iterations.parse().map_err(|_| MALFORMED)?;
        // A false server could guess at the password by a proof that was cheap to make.
        if salt.is_empty() {
            return Err("it has no salt");
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err("it asks for too few or too many iterations");
        }
        let mechanism = self.mechanism;
        let salted = mechanism.salted_password(self.password.as_bytes(), &salt, iterations);
        let client_key = mechanism.hmac(&salted, b"Client Key");
        let stored_key = mechanism.hash(&client_key);
        let without_proof = format!("c=biws,r={nonce}");
        let signed = [&self.bare, text, &without_proof].join(",");
        let signature = mechanism.hmac(&stored_key, signed.as_bytes());
        let proof: Vec<u8> =
            client_key.iter().zip(&signature).map(|(one, other)| one ^ other).collect();
        let server_key = mechanism.hmac(&salted, b"Server Key");
        let expected = mechanism.hmac(&server_key, signed.as_bytes());
        self.expected = Some(format!("v={}", BASE64.encode(expected)));
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// Whether the server's last message shows that it knows the password too.
    pub fn is_proof(&self, server_final: &[u8]) -> bool {
        self.expected.as_ref().is_some_and(|expected| expected.as_bytes() == server_final)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::scram::{ClientFirst, ScramExchange, Verifier};

    #[test]
    fn both_sides_understand_each_other() {
        for mechanism in ScramMechanism::ALL {
            for (password, good) in [("secret", true), ("Secret", false)] {
                let verifier = Verifier::of_password(mechanism, b"secret", 4096);
                let (mut client, first) = ScramClient::begin(mechanism, "a,b=c", password);
                let first = ClientFirst::parse(&first).unwrap();
                assert_eq!(first.user, "a,b=c");
                let (server, challenge) = ScramExchange::begin(mechanism, first, verifier);
                let proof = client.prove(&challenge).unwrap();
                match server.finish(&proof) {
                    Ok(last) => assert!(good && client.is_proof(&last) && !client.is_proof(b"v=")),
                    Err(_) => assert!(!good),
                }
            }
        }
    }

    #[test]
    fn servers_are_not_believed() {
        let (mut client, _) = ScramClient::begin(ScramMechanism::Sha256, "a", "b");
        let nonce = client.nonce.clone();
        for wrong in [
            "".to_owned(),
            format!("r={nonce},s=AA==,i=4096"),
            "r=other,s=AA==,i=4096".to_owned(),
            format!("r={nonce}x,s=*,i=4096"),
            format!("r={nonce}x,s=AA==,i=99999999"),
            format!("r={nonce}x,s=AA==,i=x"),
            format!("r={nonce}x,s=AA==,i=1"),
            format!("r={nonce}x,s=AA==,i=4095"),
            format!("r={nonce}x,s=,i=4096"),
        ] {
            assert!(client.prove(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(!client.is_proof(b""));
        assert!(client.prove(format!("r={nonce}x,s=AA==,i=4096").as_bytes()).is_ok());
    }
}
