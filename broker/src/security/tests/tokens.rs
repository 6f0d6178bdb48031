//! Tokens signed here, as an issuer would.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::security::jwt::{JwtConfig, JwtError, JwtVerifier, Token};

const NOW_MS: i64 = 1_700_000_000_000;

struct Issuer {
    key: EcdsaKeyPair,
    id: &'static str,
}

impl Issuer {
    fn new(id: &'static str) -> Issuer {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        Issuer { key, id }
    }

    fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "x": x, "y": y})
    }

    fn sign(&self, header: Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64.encode(serde_json::to_vec(value).unwrap());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64.encode(signature.as_ref()))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(json!({"alg": "ES256", "kid": self.id, "typ": "JWT"}), claims)
    }
}

fn claims() -> Value {
    let now = NOW_MS / 1000;
    json!({
        "iss": "https://issuer", "sub": "alice", "aud": ["kafka", "other"],
        "iat": now - 10, "nbf": now - 10, "exp": now + 60, "scope": "read write",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn write_keys(path: &Path, keys: &[Value]) {
    std::fs::write(path, serde_json::to_vec(&json!({ "keys": keys })).unwrap()).unwrap();
}

fn config(path: &Path) -> JwtConfig {
    JwtConfig {
        issuer: Some("https://issuer".to_owned()),
        audiences: vec!["kafka".to_owned()],
        look_interval: Duration::ZERO,
        ..JwtConfig::new(path)
    }
}

#[test]
fn a_token_says_who_it_is_until_when() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let issuer = Issuer::new("1");
    write_keys(&path, &[json!({"kty": "oct", "k": "AA"}), issuer.jwk()]);
    let verifier = JwtVerifier::new(config(&path)).unwrap();
    let expires_ms = NOW_MS + 60_000;
    let expected = Token {
        subject: "alice".to_owned(),
        expires_ms,
        scopes: vec!["read".to_owned(), "write".to_owned()],
    };
    let verify = |claims: &Value| verifier.verify(&issuer.token(claims), NOW_MS);
    assert_eq!(verify(&claims()), Ok(expected.clone()));
    assert_eq!(verify(&with("aud", json!("kafka"))), Ok(expected.clone()));
    assert_eq!(verify(&with("scope", json!(["read", "write"]))), Ok(expected.clone()));
    assert_eq!(verify(&without("scope")).unwrap().scopes, Vec::<String>::new());
    assert_eq!(verify(&without("nbf")), Ok(expected));
    let seconds = NOW_MS / 1000;
    let claim = |name: &str| Err(JwtError::Claim(name.to_owned()));
    for (claims, expected) in [
        (with("exp", json!(seconds - 30)), Err(JwtError::Expired)),
        (with("nbf", json!(seconds + 31)), Err(JwtError::NotYet)),
        (with("iss", json!("https://other")), Err(JwtError::Issuer)),
        (without("iss"), Err(JwtError::Issuer)),
        (with("aud", json!(["other"])), Err(JwtError::Audience)),
        (without("aud"), Err(JwtError::Audience)),
        (with("aud", json!(1)), claim("aud")),
        (without("exp"), claim("exp")),
        (with("exp", json!("tomorrow")), claim("exp")),
        (without("iat"), claim("iat")),
        (without("sub"), claim("sub")),
        (with("sub", json!(" ")), claim("sub")),
        (with("scope", json!([1])), claim("scope")),
        (json!([]), claim("exp")),
    ] {
        assert_eq!(verify(&claims), expected, "{claims}");
    }
    // Clocks differ a little.
    assert!(verify(&with("exp", json!(seconds - 29))).is_ok());
    assert!(verify(&with("nbf", json!(seconds + 30))).is_ok());
}

#[test]
fn a_token_for_somebody_is_not_for_whoever_expects_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let issuer = Issuer::new("1");
    write_keys(&path, &[issuer.jwk()]);
    let config = JwtConfig {
        subject_claim: "email".to_owned(),
        audiences: Vec::new(),
        issuer: None,
        ..config(&path)
    };
    let verifier = JwtVerifier::new(config).unwrap();
    let mut claims = with("email", json!("a@b"));
    let refused = verifier.verify(&issuer.token(&claims), NOW_MS);
    assert_eq!(refused, Err(JwtError::Audience));
    claims.as_object_mut().unwrap().remove("aud");
    assert_eq!(verifier.verify(&issuer.token(&claims), NOW_MS).unwrap().subject, "a@b");
}

#[test]
fn what_no_key_has_signed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let (issuer, other) = (Issuer::new("1"), Issuer::new("1"));
    write_keys(&path, &[issuer.jwk()]);
    let verifier = JwtVerifier::new(config(&path)).unwrap();
    let refused = |token: &str| verifier.verify(token, NOW_MS).unwrap_err();
    assert_eq!(refused(&other.token(&claims())), JwtError::Signature);
    let headers = [
        (json!({"alg": "none"}), JwtError::NoKey),
        (json!({"alg": "HS256", "kid": "1"}), JwtError::NoKey),
        (json!({"alg": "RS256", "kid": "1"}), JwtError::NoKey),
        (json!({"alg": "ES256", "kid": "2"}), JwtError::NoKey),
        (json!({"alg": "ES256", "kid": "1", "crit": ["b64"]}), JwtError::Critical),
        (json!({"kid": "1"}), JwtError::Malformed),
        (json!("ES256"), JwtError::Malformed),
    ];
    for (header, expected) in headers {
        assert_eq!(refused(&issuer.sign(header.clone(), &claims())), expected, "{header}");
    }
    // Without an id all keys of the right kind are tried.
    assert!(verifier.verify(&issuer.sign(json!({"alg": "ES256"}), &claims()), NOW_MS).is_ok());
    let good = issuer.token(&claims());
    let (signed, _) = good.rsplit_once('.').unwrap();
    assert_eq!(refused(&format!("{signed}.")), JwtError::Signature);
    assert_eq!(refused(signed), JwtError::Malformed);
    assert_eq!(refused(&format!("{good}.x")), JwtError::Malformed);
    for malformed in ["", ".", "..", "a.b.c", "é.é.é"] {
        assert_eq!(refused(malformed), JwtError::Malformed, "{malformed}");
    }
    // Keys are taken as they change, and kept while they are broken.
    write_keys(&path, &[issuer.jwk(), Issuer::new("2").jwk(), other.jwk()]);
    assert!(verifier.verify(&other.token(&claims()), NOW_MS).is_ok());
    std::fs::write(&path, "{").unwrap();
    assert!(verifier.verify(&issuer.token(&claims()), NOW_MS).is_ok());
    let error = JwtVerifier::new(config(&path)).unwrap_err();
    assert!(error.contains("no JWKS"), "{error}");
}

/// The example of RFC 7515, A.2: its key, header, payload and signature.
#[test]
fn rsa_is_verified_by_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0\
             Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5\
             z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7a\
             GhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    write_keys(&path, &[json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256"})]);
    let token = "eyJhbGciOiJSUzI1NiJ9\
                 .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
                 .cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5ju\
                 jGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Q\
                 e7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI\
                 8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let token: String = token.split_whitespace().collect();
    let verifier = JwtVerifier::new(config(&path)).unwrap();
    // Its signature is good; it has no time of issue.
    let refused = verifier.verify(&token, 0).unwrap_err();
    assert_eq!(refused, JwtError::Claim("iat".to_owned()));
    let other = token.replace("cC4hiU", "cC4hiV");
    assert_eq!(verifier.verify(&other, 0), Err(JwtError::Signature));
}
