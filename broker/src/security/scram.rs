//! SCRAM (RFC 5802, RFC 7677), the server's side, and what is kept of a password.
//!
//! ```text
//! client-first   n,,n=user,r=nonce
//! server-first   r=nonce+ours,s=salt,i=iterations
//! client-final   c=biws,r=nonce+ours,p=proof
//! server-final   v=signature
//! ```
//!
//! Of a password only its verifier is kept: salt, iterations, StoredKey and ServerKey. A user that
//! there is not gets a salt too, always the same, and fails where a wrong password does.

mod text;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use serde::{Deserialize, Serialize};

/// Kafka's bounds on how often a password is hashed.
pub const ITERATIONS_MIN: u32 = 4096;
pub const ITERATIONS_MAX: u32 = 16_384;
/// No salt need be longer, and one that is would be sent to whoever asks.
pub const SALT_BYTES_MAX: usize = 1024;
const NONCE_BYTES: usize = 24;
const SALT_BYTES: usize = 16;

/// Which hash is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ScramMechanism {
    #[serde(rename = "SCRAM-SHA-256")]
    Sha256,
    #[serde(rename = "SCRAM-SHA-512")]
    Sha512,
}

impl ScramMechanism {
    pub const ALL: [ScramMechanism; 2] = [ScramMechanism::Sha256, ScramMechanism::Sha512];

    pub fn name(self) -> &'static str {
        match self {
            ScramMechanism::Sha256 => "SCRAM-SHA-256",
            ScramMechanism::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// Kafka's number.
    pub fn number(self) -> i8 {
        match self {
            ScramMechanism::Sha256 => 1,
            ScramMechanism::Sha512 => 2,
        }
    }

    pub fn from_number(number: i8) -> Option<ScramMechanism> {
        ScramMechanism::ALL.into_iter().find(|mechanism| mechanism.number() == number)
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            ScramMechanism::Sha256 => &digest::SHA256,
            ScramMechanism::Sha512 => &digest::SHA512,
        }
    }

    pub(super) fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            ScramMechanism::Sha256 => hmac::HMAC_SHA256,
            ScramMechanism::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
    }

    pub(super) fn hash(self, data: &[u8]) -> Vec<u8> {
        digest::digest(self.digest(), data).as_ref().to_vec()
    }

    /// RFC 5802's `Hi`: what a client keeps of a password, and what is as good as it.
    pub fn salted_password(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let algorithm = match self {
            ScramMechanism::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            ScramMechanism::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let mut salted = vec![0; self.digest().output_len()];
        pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
        salted
    }
}

impl FromStr for ScramMechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<ScramMechanism, String> {
        let found = ScramMechanism::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| format!("'{text}' is neither SCRAM-SHA-256 nor SCRAM-SHA-512"))
    }
}

impl fmt::Display for ScramMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is kept of a password. Not for logs: from it, passwords can be guessed at leisure.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    pub iterations: u32,
    #[serde(with = "as_base64")]
    pub salt: Vec<u8>,
    #[serde(with = "as_base64")]
    stored_key: Vec<u8>,
    #[serde(with = "as_base64")]
    server_key: Vec<u8>,
}

/// What of a verifier anybody can see who begins to log in. Decoys have those of real ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    pub iterations: u32,
    pub salt_bytes: usize,
    /// Kafka's own tools make salts of the digits of a number.
    pub salt_is_text: bool,
}

impl Default for Shape {
    /// Of a password that is set here.
    fn default() -> Shape {
        Shape { iterations: ITERATIONS_MIN, salt_bytes: SALT_BYTES, salt_is_text: false }
    }
}

/// Of numbers as Java writes them to the base of 36.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

mod as_base64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{BASE64, Engine};

    pub fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&BASE64.encode(bytes))
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(input: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(input)?).map_err(D::Error::custom)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Of a password as [`ScramMechanism::salted_password`] gives it.
    pub fn new(
        mechanism: ScramMechanism,
        salt: Vec<u8>,
        iterations: u32,
        salted_password: &[u8],
    ) -> Verifier {
        let client_key = mechanism.hmac(salted_password, b"Client Key");
        Verifier {
            iterations,
            salt,
            stored_key: mechanism.hash(&client_key),
            server_key: mechanism.hmac(salted_password, b"Server Key"),
        }
    }

    /// Of a password, with a salt of its own.
    pub fn of_password(mechanism: ScramMechanism, password: &[u8], iterations: u32) -> Verifier {
        let salt = random_bytes::<SALT_BYTES>().to_vec();
        let salted = mechanism.salted_password(password, &salt, iterations);
        Verifier::new(mechanism, salt, iterations, &salted)
    }

    /// For a user that there is not: nobody knows a password that fits it. `secret` is the
    /// server's alone, so that nobody can tell such a salt from others.
    pub fn decoy(mechanism: ScramMechanism, secret: &[u8], user: &str, shape: Shape) -> Verifier {
        let derived = |what: &str| {
            let message = [user.as_bytes(), b"\0", mechanism.name().as_bytes(), what.as_bytes()];
            mechanism.hmac(secret, &message.concat())
        };
        let mut salt = Vec::with_capacity(shape.salt_bytes);
        for block in 0.. {
            if salt.len() >= shape.salt_bytes {
                break;
            }
            salt.extend(derived(&format!("\0salt {block}")));
        }
        salt.truncate(shape.salt_bytes);
        if shape.salt_is_text {
            for byte in &mut salt {
                *byte = DIGITS[usize::from(*byte) % DIGITS.len()];
            }
        }
        Verifier::new(mechanism, salt, shape.iterations, &derived("\0unknown"))
    }

    pub fn shape(&self) -> Shape {
        Shape {
            iterations: self.iterations,
            salt_bytes: self.salt.len(),
            salt_is_text: self.salt.iter().all(|byte| DIGITS.contains(byte)),
        }
    }

    /// Whether this is the password. It takes as long as it is meant to: some milliseconds.
    pub fn verify(&self, mechanism: ScramMechanism, password: &[u8]) -> bool {
        let salted = mechanism.salted_password(password, &self.salt, self.iterations);
        let other = Verifier::new(mechanism, Vec::new(), self.iterations, &salted);
        is_equal(&other.stored_key, &self.stored_key)
    }
}

/// In a time that does not depend on where they differ, as tags of authentication are compared.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<32>());
    hmac::verify(&key, other, hmac::sign(&key, one).as_ref()).is_ok()
}

pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    bytes
}

/// Why an exchange has failed: for the log, never for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    Malformed,
    ChannelBinding,
    OtherIdentity,
    Nonce,
    Proof,
}

impl ScramError {
    pub fn reason(self) -> &'static str {
        match self {
            ScramError::Malformed => "the message is malformed",
            ScramError::ChannelBinding => "the client asks for channel binding",
            ScramError::OtherIdentity => "the client asks to be somebody else",
            ScramError::Nonce => "the client has another nonce",
            ScramError::Proof => "there is no such user, or the password is wrong",
        }
    }
}

/// The client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFirst {
    pub user: String,
    nonce: String,
    /// All behind the header.
    bare: String,
    header: String,
}

impl ClientFirst {
    pub fn parse(message: &[u8]) -> Result<ClientFirst, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let rest = match text.split_at_checked(2) {
            Some(("n,", rest)) => rest,
            // A client that could bind to a channel may go on here, where none is offered.
            Some(("y,", rest)) => rest,
            _ if text.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed),
        };
        let (identity, bare) = rest.split_once(',').ok_or(ScramError::Malformed)?;
        let mut parts = bare.split(',');
        let mut part = |name: &str| {
            let part = parts.next().and_then(|part| part.strip_prefix(name));
            part.filter(|part| !part.is_empty()).ok_or(ScramError::Malformed)
        };
        let name = part("n=")?;
        let nonce = part("r=")?.to_owned();
        if !nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
            return Err(ScramError::Malformed);
        }
        let user = unescaped(name)?;
        match identity.strip_prefix("a=") {
            None if identity.is_empty() => {}
            Some(identity) if unescaped(identity)? == user => {}
            Some(_) => return Err(ScramError::OtherIdentity),
            None => return Err(ScramError::Malformed),
        }
        let header = text[..text.len() - bare.len()].to_owned();
        Ok(ClientFirst { user, nonce, bare: bare.to_owned(), header })
    }
}

/// A name in which `=2C` stands for a comma and `=3D` for an equals sign.
fn unescaped(name: &str) -> Result<String, ScramError> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, behind)) = rest.split_once('=') {
        out += before;
        let (character, behind) = match behind.split_at_checked(2) {
            Some(("2C", behind)) => (',', behind),
            Some(("3D", behind)) => ('=', behind),
            _ => return Err(ScramError::Malformed),
        };
        out.push(character);
        rest = behind;
    }
    Ok(out + rest)
}

/// An exchange that has begun.
#[derive(Debug)]
pub struct ScramExchange {
    mechanism: ScramMechanism,
    client_first: ClientFirst,
    server_first: String,
    nonce: String,
    verifier: Verifier,
}

impl ScramExchange {
    /// Answers the client's first message. `verifier` is the user's, or a decoy.
    pub fn begin(
        mechanism: ScramMechanism,
        client_first: ClientFirst,
        verifier: Verifier,
    ) -> (ScramExchange, Vec<u8>) {
        let nonce = BASE64.encode(random_bytes::<NONCE_BYTES>());
        ScramExchange::begin_with(mechanism, client_first, verifier, &nonce)
    }

    fn begin_with(
        mechanism: ScramMechanism,
        client_first: ClientFirst,
        verifier: Verifier,
        own_nonce: &str,
    ) -> (ScramExchange, Vec<u8>) {
        let nonce = client_first.nonce.clone() + own_nonce;
        let salt = BASE64.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let answer = server_first.clone().into_bytes();
        (ScramExchange { mechanism, client_first, server_first, nonce, verifier }, answer)
    }

    /// Checks the client's proof, and gives the server's.
    pub fn finish(self, message: &[u8]) -> Result<Vec<u8>, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut parts = without_proof.split(',');
        let mut part = |name: &str| {
            let part = parts.next().and_then(|part| part.strip_prefix(name));
            part.ok_or(ScramError::Malformed)
        };
        let channel = BASE64.decode(part("c=")?).map_err(|_| ScramError::Malformed)?;
        let nonce = part("r=")?;
        let proof = BASE64.decode(proof).map_err(|_| ScramError::Malformed)?;
        // As it was, so that nobody in between has taken channel binding away.
        if channel != self.client_first.header.as_bytes() {
            return Err(ScramError::ChannelBinding);
        }
        // Not equality: older versions of librdkafka put their own nonce before it once more, as
        // Kafka tolerates. The proof covers it either way.
        if !nonce.ends_with(&self.nonce) {
            return Err(ScramError::Nonce);
        }
        let signed = [&self.client_first.bare, &self.server_first, without_proof].join(",");
        let signature = self.mechanism.hmac(&self.verifier.stored_key, signed.as_bytes());
        if proof.len() != signature.len() {
            return Err(ScramError::Proof);
        }
        let client_key: Vec<u8> =
            proof.iter().zip(&signature).map(|(one, other)| one ^ other).collect();
        if !is_equal(&self.mechanism.hash(&client_key), &self.verifier.stored_key) {
            return Err(ScramError::Proof);
        }
        let signature = self.mechanism.hmac(&self.verifier.server_key, signed.as_bytes());
        Ok(format!("v={}", BASE64.encode(signature)).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mechanism: ScramMechanism, password: &str, salt: &str) -> Verifier {
        let salt = BASE64.decode(salt).unwrap();
        let salted = mechanism.salted_password(password.as_bytes(), &salt, 4096);
        Verifier::new(mechanism, salt, 4096, &salted)
    }

    /// The example of RFC 7677.
    fn example() -> ScramExchange {
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(first.user, "user");
        let verifier = of(ScramMechanism::Sha256, "pencil", "W22ZaJ0SNY7soEsUEjb6gQ==");
        let own = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let (exchange, answer) =
            ScramExchange::begin_with(ScramMechanism::Sha256, first, verifier, own);
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
        exchange
    }

    const NONCE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const PROOF: &str = "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn the_example_of_the_rfc_is_answered() {
        let done = example().finish(format!("c=biws,{NONCE},{PROOF}").as_bytes()).unwrap();
        assert_eq!(done, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn what_differs_anywhere_fails() {
        let finish = |message: &str| example().finish(message.as_bytes()).unwrap_err();
        let other = PROOF.replace("dHz", "eHz");
        assert_eq!(finish(&format!("c=biws,{NONCE},{other}")), ScramError::Proof);
        assert_eq!(finish(&format!("c=biws,{NONCE},p=dHzb")), ScramError::Proof);
        assert_eq!(finish(&format!("c=biws,{NONCE}x,{PROOF}")), ScramError::Nonce);
        // An old librdkafka's: looked at, and as good as its proof.
        let again = format!("c=biws,r=rOprNGfwEbeRWgbNEkqO{},{PROOF}", &NONCE[2..]);
        assert_eq!(finish(&again), ScramError::Proof);
        assert_eq!(finish(&format!("c=biws,r=rOprNGfwEbeRWgbNEkqO,{PROOF}")), ScramError::Nonce);
        assert_eq!(finish(&format!("c=eSws,{NONCE},{PROOF}")), ScramError::ChannelBinding);
        // Whatever stands between is signed as well.
        assert_eq!(finish(&format!("c=biws,{NONCE},x=y,{PROOF}")), ScramError::Proof);
        for malformed in ["", "c=biws", "c=biws,p=", "r=x,c=biws,p=dHzb", "c=*,r=x,p=dHzb"] {
            assert_eq!(finish(malformed), ScramError::Malformed, "{malformed}");
        }
    }

    #[test]
    fn first_messages_are_read_strictly() {
        let parse = |message: &str| ClientFirst::parse(message.as_bytes());
        assert_eq!(parse("n,a=a=2Cb,n=a=2Cb,r=x").unwrap().user, "a,b");
        assert_eq!(parse("y,,n=a=3Db,r=x,ext=1").unwrap().user, "a=b");
        assert_eq!(parse("n,a=other,n=user,r=x").unwrap_err(), ScramError::OtherIdentity);
        assert_eq!(parse("p=tls-unique,,n=u,r=x").unwrap_err(), ScramError::ChannelBinding);
        let malformed =
            ["", "n", "n,,", "n,,n=u", "n,,n=,r=x", "n,,n=u,r=", "n,,r=x,n=u", "n,,n=a=2,r=x"];
        for malformed in malformed.into_iter().chain(["n,x,n=u,r=x", "n,,n=u,r=\u{7f}", "é,,"]) {
            assert_eq!(parse(malformed).unwrap_err(), ScramError::Malformed, "{malformed}");
        }
        assert_eq!(ClientFirst::parse(&[0xff]).unwrap_err(), ScramError::Malformed);
    }

    #[test]
    fn a_password_is_known_by_its_verifier() {
        for mechanism in ScramMechanism::ALL {
            let verifier = Verifier::of_password(mechanism, b"secret", ITERATIONS_MIN);
            assert!(verifier.verify(mechanism, b"secret"));
            assert!(!verifier.verify(mechanism, b"secre") && !verifier.verify(mechanism, b""));
            let again = Verifier::of_password(mechanism, b"secret", ITERATIONS_MIN);
            assert_ne!(verifier, again, "each has a salt of its own");
            let json = serde_json::to_string(&verifier).unwrap();
            assert!(!json.contains("secret"));
            assert_eq!(serde_json::from_str::<Verifier>(&json).unwrap(), verifier);
            assert_eq!(format!("{verifier:?}"), "Verifier { iterations: 4096, .. }");
        }
    }

    #[test]
    fn users_that_there_are_not_always_have_the_same_salt() {
        let [sha256, sha512] = ScramMechanism::ALL;
        let shape = Shape::default();
        let decoy = |user| Verifier::decoy(sha512, b"key", user, shape);
        assert_eq!(decoy("a"), decoy("a"));
        assert_ne!(decoy("a").salt, decoy("b").salt);
        assert_eq!(decoy("a").salt.len(), SALT_BYTES);
        assert_ne!(decoy("a"), Verifier::decoy(sha512, b"other", "a", shape));
        assert!(!decoy("a").verify(sha512, b"unknown"));
        let other = Verifier::decoy(sha256, b"key", "a", shape);
        assert_eq!((decoy("a").stored_key.len(), other.stored_key.len()), (64, 32));
        assert_ne!(decoy("a").salt, other.salt);
        for shape in [
            Shape { iterations: 8192, salt_bytes: 26, salt_is_text: true },
            Shape { iterations: 4097, salt_bytes: 1000, salt_is_text: false },
        ] {
            let decoy = Verifier::decoy(sha256, b"key", "a", shape);
            assert_eq!(decoy.shape(), shape);
        }
    }
}
