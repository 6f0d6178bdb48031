//! Who may come: names with passwords, and tokens, of files that are read again when they change.
//!
//! ```text
//! alice = secret                                      as Kafka Connect's PropertyFileLoginModule
//! bob   = SCRAM-SHA-256$4096:salt$StoredKey:ServerKey     hashed: millstream users hash bob
//!
//! prometheus = 2b7e151628aed2a6                       a token and whose it is
//! grafana    = sha256:9f86d081884c7d659a2feaa0c5…     hashed: printf %s TOKEN | sha256sum
//! ```
//!
//! Whoever fails is not told which part was wrong, and learns nothing from the time that it takes.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker::security::gate::Gate;
use broker::security::reloaded::{self, LOOK_INTERVAL, Reloaded};
use broker::security::scram::{ITERATIONS_MIN, ScramMechanism, Verifier};
use hyper::header::HeaderValue;
use ring::rand::SystemRandom;
use ring::{digest, hmac};

use crate::config::parse_properties;

/// No file of credentials is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What stands before the hash of a token.
const HASHED: &str = "sha256:";

/// Who may come; nobody is asked if there are neither passwords nor tokens.
#[derive(Debug, Default)]
pub struct Credentials {
    passwords: Option<Arc<Reloaded<Passwords>>>,
    tokens: Option<Arc<Reloaded<Tokens>>>,
    /// Hashing passwords takes milliseconds of a core each.
    hashing: Option<Gate>,
}

/// Why somebody does not come in: for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Who it says to be.
    pub user: Option<String>,
    pub reason: &'static str,
    /// Whether something was tried, rather than nothing sent.
    pub is_attempt: bool,
}

impl Denied {
    fn attempt(user: Option<&str>, reason: &'static str) -> Denied {
        Denied { user: user.map(str::to_owned), reason, is_attempt: true }
    }
}

impl Credentials {
    /// With the names and passwords of a file. The error is a reason to be read by people.
    pub fn with_password_file(self, path: &Path) -> Result<Credentials, String> {
        let file = path.to_owned();
        self.with_passwords(vec![file.clone()], move || Passwords::new(&read(&file)?))
    }

    /// With one name and password.
    pub fn with_password(self, user: &str, password: &str) -> Result<Credentials, String> {
        let one = BTreeMap::from([(user.to_owned(), password.to_owned())]);
        self.with_passwords(Vec::new(), move || Passwords::new(&one))
    }

    fn with_passwords(
        self,
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<Passwords, String> + Send + Sync + 'static,
    ) -> Result<Credentials, String> {
        let load = named(files.clone(), load);
        let passwords = Reloaded::new("passwords", files, LOOK_INTERVAL, load)?;
        let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
        let (passwords, hashing) = (Some(Arc::new(passwords)), Some(Gate::new(cores)));
        Ok(Credentials { passwords, hashing, ..self })
    }

    /// With the tokens of a file. The error is a reason to be read by people.
    pub fn with_token_file(self, path: &Path) -> Result<Credentials, String> {
        let file = path.to_owned();
        self.with_tokens(vec![file.clone()], move || Tokens::new(&read(&file)?))
    }

    /// With one token.
    pub fn with_token(self, token: &str) -> Result<Credentials, String> {
        let one = BTreeMap::from([("token".to_owned(), token.to_owned())]);
        self.with_tokens(Vec::new(), move || Tokens::new(&one))
    }

    fn with_tokens(
        self,
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<Tokens, String> + Send + Sync + 'static,
    ) -> Result<Credentials, String> {
        let load = named(files.clone(), load);
        let tokens = Some(Arc::new(Reloaded::new("tokens", files, LOOK_INTERVAL, load)?));
        Ok(Credentials { tokens, ..self })
    }

    /// Whether nobody is asked.
    pub fn is_empty(&self) -> bool {
        self.passwords.is_none() && self.tokens.is_none()
    }

    /// What WWW-Authenticate says.
    pub fn challenges(&self) -> impl Iterator<Item = HeaderValue> {
        let basic =
            self.passwords.as_ref().map(|_| "Basic realm=\"millstream\", charset=\"UTF-8\"");
        let bearer = self.tokens.as_ref().map(|_| "Bearer realm=\"millstream\"");
        basic.into_iter().chain(bearer).map(HeaderValue::from_static)
    }

    /// Whether whoever sends this header, from an address, may come in.
    pub async fn check(&self, header: Option<&HeaderValue>, host: &str) -> Result<(), Denied> {
        if self.is_empty() {
            return Ok(());
        }
        let Some(header) = header else {
            let reason = "no credentials were sent";
            return Err(Denied { user: None, reason, is_attempt: false });
        };
        let malformed = || Denied::attempt(None, "the Authorization header is malformed");
        let text = header.to_str().map_err(|_| malformed())?;
        let (scheme, given) = text.split_once(' ').ok_or_else(malformed)?;
        let is = |name: &str| scheme.eq_ignore_ascii_case(name);
        match (&self.passwords, &self.tokens) {
            (Some(passwords), _) if is("Basic") => {
                let decoded = STANDARD.decode(given.trim()).ok();
                let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
                let decoded = decoded.ok_or_else(malformed)?;
                let (user, password) = decoded.split_once(':').ok_or_else(malformed)?;
                let wrong = || {
                    Denied::attempt(Some(user), "there is no such user, or the password is wrong")
                };
                let passwords = passwords.get_async().await;
                let is_right = self.is_password(&passwords, user, password, host).await;
                is_right.then_some(()).ok_or_else(wrong)
            }
            (_, Some(tokens)) if is("Bearer") => {
                let is_known = tokens.get_async().await.has(given.trim());
                is_known
                    .then_some(())
                    .ok_or_else(|| Denied::attempt(None, "the token is not known"))
            }
            _ => Err(Denied::attempt(None, "this way to say who one is is not taken here")),
        }
    }

    async fn is_password(
        &self,
        passwords: &Arc<Passwords>,
        user: &str,
        password: &str,
        host: &str,
    ) -> bool {
        let (mechanism, verifier) = match passwords.users.get(user) {
            Some(Password::Plain(tag)) => return passwords.is_of(tag, password),
            Some(Password::Hashed(mechanism, verifier)) => {
                if passwords.was_right(user, password) {
                    return true;
                }
                (*mechanism, verifier.clone())
            }
            None => match &passwords.decoy {
                Some((mechanism, decoy)) => (*mechanism, decoy.clone()),
                None => return false,
            },
        };
        // There is a gate where there are passwords.
        let Some(hashing) = &self.hashing else { return false };
        let _turn = hashing.enter(host).await;
        let given = password.to_owned();
        let verify = move || verifier.verify(mechanism, given.as_bytes());
        let is_right = tokio::task::spawn_blocking(verify).await.unwrap_or(false);
        let is_right = is_right && passwords.users.contains_key(user);
        if is_right {
            passwords.remember(user, password);
        }
        is_right
    }
}

/// Says which file a reason is about.
fn named<T: 'static>(
    files: Vec<PathBuf>,
    load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
) -> impl Fn() -> Result<T, String> + Send + Sync + 'static {
    move || {
        load().map_err(|reason| match files.first() {
            Some(file) if !reason.contains(&*file.to_string_lossy()) => {
                format!("'{}': {reason}", file.display())
            }
            _ => reason,
        })
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let bytes = reloaded::read(path, FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o004 != 0 {
        tracing::warn!("everybody on this machine can read '{}': chmod o-r", path.display());
    }
    match parse_properties(&text) {
        // Kafka Connect's PropertyFileLoginModule would let everybody in.
        none if none.is_empty() => Err("it has no credentials: write NAME=SECRET lines".to_owned()),
        some => Ok(some),
    }
}

/// Names and what is kept of their passwords.
struct Passwords {
    users: HashMap<String, Password>,
    /// Takes as long as a hashed password to be found wrong.
    decoy: Option<(ScramMechanism, Verifier)>,
    /// Of hashed passwords those that were right once, so that they need not be hashed again; as
    /// many at most as there are users.
    right: Mutex<HashMap<String, hmac::Tag>>,
    key: hmac::Key,
}

enum Password {
    Plain(hmac::Tag),
    Hashed(ScramMechanism, Verifier),
}

impl Passwords {
    fn new(properties: &BTreeMap<String, String>) -> Result<Passwords, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the system has no random numbers".to_owned())?;
        let mut users = HashMap::new();
        for (user, text) in properties {
            if user.is_empty() || user.contains(':') {
                return Err(format!("{user:?} is no name: it is empty or has a colon"));
            }
            let password = match Verifier::from_text(text) {
                Some(read) => {
                    let (mechanism, one) = read.map_err(|reason| format!("'{user}': {reason}"))?;
                    Password::Hashed(mechanism, one)
                }
                None if text.is_empty() => return Err(format!("'{user}' has no password")),
                None => Password::Plain(hmac::sign(&key, text.as_bytes())),
            };
            users.insert(user.clone(), password);
        }
        let hashed = users.values().find_map(|password| match password {
            Password::Hashed(mechanism, verifier) => Some((*mechanism, verifier.iterations)),
            Password::Plain(_) => None,
        });
        let decoy = hashed.map(|(mechanism, iterations)| {
            let iterations = iterations.max(ITERATIONS_MIN);
            // Nobody knows what it is of.
            let secret = hmac::sign(&key, b"decoy");
            (mechanism, Verifier::of_password(mechanism, secret.as_ref(), iterations))
        });
        Ok(Passwords { users, decoy, right: Mutex::default(), key })
    }

    fn is_of(&self, tag: &hmac::Tag, password: &str) -> bool {
        hmac::verify(&self.key, password.as_bytes(), tag.as_ref()).is_ok()
    }

    fn was_right(&self, user: &str, password: &str) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(user).is_some_and(|tag| self.is_of(tag, password))
    }

    fn remember(&self, user: &str, password: &str) {
        let tag = hmac::sign(&self.key, password.as_bytes());
        self.right.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned(), tag);
    }
}

/// Hashes of tokens. They are long and random, so that they need no salt.
struct Tokens(Vec<[u8; digest::SHA256_OUTPUT_LEN]>);

impl Tokens {
    fn new(properties: &BTreeMap<String, String>) -> Result<Tokens, String> {
        let one = |(name, text): (&String, &String)| match text.strip_prefix(HASHED) {
            Some(hex) => unhex(hex.trim()).ok_or_else(|| {
                format!("'{name}': expected {HASHED} and the 64 digits of `sha256sum`")
            }),
            None if text.is_empty() => Err(format!("'{name}' has no token")),
            None => Ok(sha256(text)),
        };
        Ok(Tokens(properties.iter().map(one).collect::<Result<_, _>>()?))
    }

    /// All are looked at, whichever it is.
    fn has(&self, token: &str) -> bool {
        let given = sha256(token);
        self.0.iter().fold(false, |found, known| found | super::super::auth::is_same(&given, known))
    }
}

fn sha256(text: &str) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

fn unhex(text: &str) -> Option<[u8; digest::SHA256_OUTPUT_LEN]> {
    let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
    if text.len() != 2 * bytes.len() || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str, password: &str) -> HeaderValue {
        let text = STANDARD.encode(format!("{user}:{password}"));
        HeaderValue::from_str(&format!("bASIC {text}")).unwrap()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    async fn comes(credentials: &Credentials, header: &HeaderValue) -> bool {
        credentials.check(Some(header), "10.0.0.1").await.is_ok()
    }

    #[tokio::test]
    async fn passwords_may_be_plain_or_hashed() {
        let hashed = Verifier::of_password(ScramMechanism::Sha256, b"b:0b", ITERATIONS_MIN);
        let hashed = hashed.to_text(ScramMechanism::Sha256);
        let file = file(&format!("# those who may come\nalice = s3cret\nbob={hashed}\n"));
        let credentials = Credentials::default().with_password_file(file.path()).unwrap();
        for (user, password) in [("alice", "s3cret"), ("bob", "b:0b"), ("bob", "b:0b")] {
            assert!(comes(&credentials, &basic(user, password)).await, "{user}");
        }
        for (user, password) in
            [("alice", ""), ("alice", "s3cre"), ("bob", "bob"), ("bob", &hashed), ("eve", "x")]
        {
            let denied = credentials.check(Some(&basic(user, password)), "h").await.unwrap_err();
            assert_eq!(denied.user.as_deref(), Some(user));
            assert!(denied.is_attempt);
        }
        let nothing = credentials.check(None, "h").await.unwrap_err();
        assert!(!nothing.is_attempt);
        for malformed in ["Basic", "Basic ???", "Basic YQ==", "Bearer s3cret", "s3cret"] {
            assert!(!comes(&credentials, &HeaderValue::from_static(malformed)).await);
        }
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn tokens_may_be_plain_or_hashed() {
        let hash = "0".repeat(64);
        let own: String = sha256("t0ken").iter().map(|byte| format!("{byte:02x}")).collect();
        let file = file(&format!("grafana=sha256:{own}\nold=sha256:{hash}\nprometheus=pl4in\n"));
        let credentials = Credentials::default().with_token_file(file.path()).unwrap();
        for token in ["t0ken", "pl4in"] {
            let header = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            assert!(comes(&credentials, &header).await, "{token}");
        }
        for wrong in ["Bearer t0ke", "Bearer ", "Basic cGw0aW46"] {
            assert!(!comes(&credentials, &HeaderValue::from_static(wrong)).await, "{wrong}");
        }
        let by_hash = HeaderValue::from_str(&format!("Bearer sha256:{own}")).unwrap();
        assert!(!comes(&credentials, &by_hash).await, "what is kept lets nobody in");
    }

    #[test]
    fn a_file_that_lets_nobody_in_or_everybody_is_a_mistake() {
        let password = |text: &str| {
            let file = file(text);
            Credentials::default().with_password_file(file.path()).unwrap_err()
        };
        assert!(password("# nobody\n").contains("it has no credentials"));
        assert!(password("alice=\n").ends_with("'alice' has no password"));
        let broken = password("bob=SCRAM-SHA-256$4096:s3cret\n");
        assert!(broken.contains("'bob': expected SCRAM-SHA-256$") && !broken.contains("s3cret"));
        let file = file("grafana=sha256:12\n");
        let broken = Credentials::default().with_token_file(file.path()).unwrap_err();
        assert!(broken.contains("the 64 digits"), "{broken}");
        let none = Credentials::default().with_token_file(Path::new("/none")).unwrap_err();
        assert!(none.starts_with("cannot read '/none'"), "{none}");
    }
}
