//! Signed tokens (JWT, RFC 7519), checked by keys in a local file (JWKS, RFC 7517).
//!
//! ```text
//! base64(header) . base64(claims) . base64(signature)
//!   alg, kid        iss, sub, aud, exp, nbf, iat, scope
//! ```
//!
//! The header chooses among the keys of the file, and each key permits only algorithms of its own
//! kind: a token cannot make a public key be taken for a secret, and `none` is no algorithm.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use ring::signature::{self, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::reloaded::{self, LOOK_INTERVAL, Reloaded};

/// No file of keys is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// More keys than any issuer has at a time.
const KEYS_MAX: usize = 64;

/// How tokens are checked, by the names that Kafka has for it behind `sasl.oauthbearer.`.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    /// `jwks.endpoint.url`, which must be a file here.
    pub jwks: PathBuf,
    /// `expected.issuer`
    pub issuer: Option<String>,
    /// `expected.audience`: one of these.
    pub audiences: Vec<String>,
    /// `clock.skew.seconds`
    pub clock_skew: Duration,
    /// `scope.claim.name`
    pub scope_claim: String,
    /// `sub.claim.name`
    pub subject_claim: String,
    pub look_interval: Duration,
}

impl JwtConfig {
    pub fn new(jwks: impl Into<PathBuf>) -> JwtConfig {
        JwtConfig {
            jwks: jwks.into(),
            issuer: None,
            audiences: Vec::new(),
            clock_skew: Duration::from_secs(30),
            scope_claim: "scope".to_owned(),
            subject_claim: "sub".to_owned(),
            look_interval: LOOK_INTERVAL,
        }
    }
}

/// What a token says that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub subject: String,
    pub expires_ms: i64,
    pub scopes: Vec<String>,
}

/// Why a token is refused: for the log.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JwtError {
    #[error("the token is malformed")]
    Malformed,
    #[error("the token asks for extensions that are not known here")]
    Critical,
    #[error("no key fits the token's algorithm and key id")]
    NoKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has no claim '{0}' of the right type")]
    Claim(String),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token has another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
}

/// Keys as the file has them.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<JsonKey>,
}

#[derive(Deserialize)]
struct JsonKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Checks tokens.
#[derive(Debug)]
pub struct JwtVerifier {
    keys: Reloaded<Vec<Key>>,
    config: JwtConfig,
}

impl JwtVerifier {
    /// The error is a reason to be read by people.
    pub fn new(config: JwtConfig) -> Result<JwtVerifier, String> {
        let path = config.jwks.clone();
        let load = move || {
            let bytes = reloaded::read(&path, FILE_BYTES_MAX)?;
            keys(&bytes).map_err(|reason| format!("'{}': {reason}", path.display()))
        };
        let paths = vec![config.jwks.clone()];
        let keys = Reloaded::new("keys of tokens", paths, config.look_interval, load)?;
        Ok(JwtVerifier { keys, config })
    }

    pub fn verify(&self, token: &str, now_ms: i64) -> Result<Token, JwtError> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::Malformed);
        };
        let signed = &token[..header.len() + 1 + claims.len()];
        let header: Header = json(header)?;
        if header.crit.is_some() {
            return Err(JwtError::Critical);
        }
        let signature = BASE64_URL.decode(signature).map_err(|_| JwtError::Malformed)?;
        let keys = self.keys.get();
        let mut fitting = keys.iter().filter(|key| key.fits(&header)).peekable();
        if fitting.peek().is_none() {
            return Err(JwtError::NoKey);
        }
        if !fitting.any(|key| key.verifies(&header.alg, signed.as_bytes(), &signature)) {
            return Err(JwtError::Signature);
        }
        self.claims(&json(claims)?, now_ms)
    }

    fn claims(&self, claims: &Value, now_ms: i64) -> Result<Token, JwtError> {
        let wrong = |name: &str| JwtError::Claim(name.to_owned());
        let time_ms = |name: &str| -> Result<Option<i64>, JwtError> {
            let Some(value) = claims.get(name) else { return Ok(None) };
            let seconds = value.as_f64().ok_or_else(|| wrong(name))?;
            Ok(Some((seconds * 1000.0) as i64))
        };
        let skew_ms = self.config.clock_skew.as_millis() as i64;
        let expires_ms = time_ms("exp")?.ok_or_else(|| wrong("exp"))?;
        time_ms("iat")?.ok_or_else(|| wrong("iat"))?;
        if expires_ms.saturating_add(skew_ms) <= now_ms {
            return Err(JwtError::Expired);
        }
        if time_ms("nbf")?.is_some_and(|from_ms| from_ms > now_ms.saturating_add(skew_ms)) {
            return Err(JwtError::NotYet);
        }
        if let Some(issuer) = &self.config.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(JwtError::Issuer);
        }
        // A token for somebody is not for us, unless we are told that it is (RFC 7519, 4.1.3).
        let audiences = strings(claims.get("aud"), false).ok_or_else(|| wrong("aud"))?;
        let expected = &self.config.audiences;
        let is_ours = audiences.iter().any(|audience| expected.contains(audience));
        if !is_ours && !(expected.is_empty() && audiences.is_empty()) {
            return Err(JwtError::Audience);
        }
        let subject = claims.get(&self.config.subject_claim).and_then(Value::as_str);
        let subject = subject.map(str::trim).filter(|subject| !subject.is_empty());
        let subject = subject.ok_or_else(|| wrong(&self.config.subject_claim))?.to_owned();
        let scopes = strings(claims.get(&self.config.scope_claim), true);
        let scopes = scopes.ok_or_else(|| wrong(&self.config.scope_claim))?;
        Ok(Token { subject, expires_ms, scopes })
    }
}

fn json<T: for<'a> Deserialize<'a>>(part: &str) -> Result<T, JwtError> {
    let bytes = BASE64_URL.decode(part).map_err(|_| JwtError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)
}

/// A string, several in one by blanks if they may be, or a list of them; nothing is none.
fn strings(value: Option<&Value>, by_blanks: bool) -> Option<Vec<String>> {
    match value {
        None => Some(Vec::new()),
        Some(Value::String(text)) if by_blanks => {
            Some(text.split_whitespace().map(str::to_owned).collect())
        }
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(all)) => all.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    }
}

/// Keys that can be used; others, such as those for encryption, are passed over.
fn keys(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let set: KeySet = serde_json::from_slice(bytes).map_err(|error| format!("no JWKS: {error}"))?;
    let keys: Vec<Key> = set.keys.into_iter().take(KEYS_MAX).filter_map(key).collect();
    match keys.is_empty() {
        true => Err("it has no RSA or EC (P-256, P-384) key for signatures".to_owned()),
        false => Ok(keys),
    }
}

fn key(key: JsonKey) -> Option<Key> {
    /// Bytes of each coordinate.
    const P256: usize = 32;
    const P384: usize = 48;
    if key.purpose.is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let bytes = |text: &Option<String>| BASE64_URL.decode(text.as_deref()?).ok();
    let point = |len: usize| {
        let (x, y) = (bytes(&key.x)?, bytes(&key.y)?);
        (x.len() == len && y.len() == len).then(|| [&[4][..], &x, &y].concat())
    };
    let material = match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", _) => Material::Rsa { n: bytes(&key.n)?, e: bytes(&key.e)? },
        ("EC", Some("P-256")) => Material::P256(point(P256)?),
        ("EC", Some("P-384")) => Material::P384(point(P384)?),
        _ => return None,
    };
    Some(Key { id: key.kid, algorithm: key.alg, material })
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

impl Key {
    fn fits(&self, header: &Header) -> bool {
        let is = |own: &Option<String>, asked: &str| own.as_ref().is_none_or(|own| own == asked);
        is(&self.algorithm, &header.alg)
            && header.kid.as_ref().is_none_or(|id| self.id.as_ref() == Some(id))
            && match self.material {
                Material::Rsa { .. } => rsa(&header.alg).is_some(),
                Material::P256(_) => header.alg == "ES256",
                Material::P384(_) => header.alg == "ES384",
            }
    }

    fn verifies(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        let ecdsa = |algorithm: &'static EcdsaVerificationAlgorithm, point: &Vec<u8>| {
            signature::UnparsedPublicKey::new(algorithm, point).verify(signed, signature).is_ok()
        };
        match &self.material {
            Material::Rsa { n, e } => rsa(algorithm).is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n: trimmed(n), e: trimmed(e) };
                key.verify(parameters, signed, signature).is_ok()
            }),
            Material::P256(point) => ecdsa(&signature::ECDSA_P256_SHA256_FIXED, point),
            Material::P384(point) => ecdsa(&signature::ECDSA_P384_SHA384_FIXED, point),
        }
    }
}

/// Some issuers write a zero before a number, which is none of its digits.
fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
