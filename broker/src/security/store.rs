//! ACLs and verifiers of passwords on disk: `security.json`, replaced as a whole with every
//! change, and for no other user of the system to read.
//!
//! ```json
//! {"version":1,"secret":"…",
//!  "acls":[{"resource_type":"TOPIC","name":"orders","pattern_type":"LITERAL",
//!           "principal":"User:alice","host":"*","operation":"READ","permission":"ALLOW"}],
//!  "users":{"alice":{"SCRAM-SHA-256":{"iterations":4096,"salt":"…",…}}}}
//! ```
//!
//! The file comes into being with the first rule or user.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::acl::{Acl, Acls};
use super::scram::{ScramMechanism, Shape, Verifier, random_bytes};
use crate::log::disk::Disk;
use crate::log::{Doing, StorageError};

const FILE: &str = "security.json";
/// The form that is written. A change that older versions would misread needs a higher number.
const VERSION: u32 = 1;
const FILE_BYTES_MAX: u64 = 1 << 28;
/// More rules or users than these are a mistake: all are in memory.
pub const ACLS_MAX: usize = 100_000;
pub const USERS_MAX: usize = 100_000;
const SECRET_BYTES: usize = 32;

type Users = BTreeMap<String, BTreeMap<ScramMechanism, Kept>>;

/// What is kept of a password for one mechanism.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    verifier: Verifier,
    /// Higher than those of the user's that were set before; older versions did not keep it.
    #[serde(default)]
    set: u64,
}

/// Why rules and users cannot be read.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(
        "{}: written by a newer version (format {found}, this one knows up to {VERSION}); run that \
         version, or another data directory",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{}: malformed: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    secret: String,
    #[serde(default)]
    acls: Vec<Acl>,
    #[serde(default)]
    users: Users,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Rules and users as they are now.
#[derive(Clone)]
pub struct Contents {
    pub acls: Acls,
    users: Users,
    /// How verifiers look, and how many of each mechanism look so: the most frequent ones.
    shapes: Vec<(ScramMechanism, Shape, u32)>,
    secret: Vec<u8>,
}

impl Contents {
    fn new(acls: Acls, users: Users, secret: Vec<u8>) -> Contents {
        let shapes = shapes(&users);
        Contents { acls, users, shapes, secret }
    }

    /// What a user that there is not seems to have: always the same while users stay as they are,
    /// and as likely to look one way or the other as theirs is.
    pub fn decoy(&self, mechanism: ScramMechanism, user: &str) -> Verifier {
        let own = self.shapes.iter().filter(|(of, ..)| *of == mechanism);
        // Rendezvous hashing: a shape that comes or goes changes no more decoys than it must.
        let score = |shape: &Shape, count: u32| {
            let drawn = mechanism.hmac(&self.secret, format!("{user}\0{shape:?}").as_bytes());
            let drawn = drawn.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            -((drawn as f64 + 1.0) / 2f64.powi(64)).ln() / f64::from(count)
        };
        let likeliest = own.map(|(_, shape, count)| (*shape, score(shape, *count)));
        let shape = likeliest.min_by(|(_, one), (_, other)| one.total_cmp(other));
        let shape = shape.map_or_else(Shape::default, |(shape, _)| shape);
        Verifier::decoy(mechanism, &self.secret, user, shape)
    }

    pub fn verifier(&self, user: &str, mechanism: ScramMechanism) -> Option<&Verifier> {
        Some(&self.users.get(user)?.get(&mechanism)?.verifier)
    }

    /// That of the password which was set last, for whatever mechanism: an older one for another
    /// is not to outlive it.
    pub fn last_verifier(&self, user: &str) -> Option<(ScramMechanism, &Verifier)> {
        let last = self.users.get(user)?.iter().max_by_key(|(_, kept)| kept.set)?;
        Some((*last.0, &last.1.verifier))
    }

    /// All users, each with its mechanisms and iterations.
    pub fn users(&self) -> impl Iterator<Item = (&str, Vec<(ScramMechanism, u32)>)> {
        self.users.iter().map(|(name, of)| {
            let iterations =
                of.iter().map(|(mechanism, one)| (*mechanism, one.verifier.iterations));
            (name.as_str(), iterations.collect())
        })
    }

    pub fn user(&self, name: &str) -> Option<Vec<(ScramMechanism, u32)>> {
        let of = self.users.get(name)?;
        Some(of.iter().map(|(mechanism, one)| (*mechanism, one.verifier.iterations)).collect())
    }
}

/// Of more different ones, the rarest are not imitated.
const SHAPES_MAX: usize = 32;

fn shapes(users: &Users) -> Vec<(ScramMechanism, Shape, u32)> {
    let mut counts: BTreeMap<(ScramMechanism, Shape), u32> = BTreeMap::new();
    for (mechanism, kept) in users.values().flatten() {
        *counts.entry((*mechanism, kept.verifier.shape())).or_default() += 1;
    }
    let mut shapes: Vec<_> = counts.into_iter().map(|((of, shape), n)| (of, shape, n)).collect();
    shapes.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
    shapes.truncate(SHAPES_MAX);
    shapes
}

/// What is to be changed of users.
#[derive(Clone, Debug)]
pub enum UserChange {
    Set { name: String, mechanism: ScramMechanism, verifier: Verifier },
    Delete { name: String, mechanism: ScramMechanism },
}

/// Rules and users of a data directory.
pub struct SecurityStore {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Held while something is changed.
    changing: Mutex<()>,
    contents: RwLock<Arc<Contents>>,
}

impl std::fmt::Debug for SecurityStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecurityStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SecurityStore {
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<SecurityStore, StoreError> {
        let path = dir.join(FILE);
        let contents = match disk.read(&path, FILE_BYTES_MAX) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = random_bytes::<SECRET_BYTES>().to_vec();
                Contents::new(Acls::default(), Users::new(), secret)
            }
            Err(error) => return Err(StorageError::new(&path, "read", error).into()),
        };
        let contents = RwLock::new(Arc::new(contents));
        Ok(SecurityStore { disk, path, changing: Mutex::default(), contents })
    }

    pub fn contents(&self) -> Arc<Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds rules and removes others; they are durable, and hold, when this returns. It waits for
    /// the disk.
    pub fn change_acls(&self, add: Vec<Acl>, remove: &[Acl]) -> Result<(), StorageError> {
        let remove: HashSet<&Acl> = remove.iter().collect();
        self.change(|contents| {
            let kept = contents.acls.iter().filter(|acl| !remove.contains(acl));
            contents.acls = kept.cloned().chain(add).collect();
        })
    }

    /// Changes users likewise.
    pub fn change_users(&self, changes: Vec<UserChange>) -> Result<(), StorageError> {
        self.change(|contents| {
            for change in changes {
                match change {
                    UserChange::Set { name, mechanism, verifier } => {
                        let of = contents.users.entry(name).or_default();
                        let set = 1 + of.values().map(|kept| kept.set).max().unwrap_or(0);
                        of.insert(mechanism, Kept { verifier, set });
                    }
                    UserChange::Delete { name, mechanism } => {
                        if let Some(of) = contents.users.get_mut(&name) {
                            of.remove(&mechanism);
                        }
                        contents.users.retain(|_, of| !of.is_empty());
                    }
                }
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Contents)) -> Result<(), StorageError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut contents = Contents::clone(&self.contents());
        change(&mut contents);
        contents.shapes = shapes(&contents.users);
        let stored = Stored {
            version: VERSION,
            secret: BASE64.encode(&contents.secret),
            acls: contents.acls.iter().cloned().collect(),
            users: contents.users.clone(),
        };
        let json = serde_json::to_vec_pretty(&stored).expect("strings and numbers are JSON");
        let path = &self.path;
        self.disk.replace_secret(path, &json).doing(path, "write rules and users")?;
        *self.contents.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(contents);
        Ok(())
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Contents, StoreError> {
    let malformed = |reason: String| StoreError::Malformed { path: path.to_owned(), reason };
    // The version first: of a newer form nothing else is known.
    let versioned: Versioned =
        serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if versioned.version > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: versioned.version });
    }
    let stored: Stored =
        serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let secret = BASE64.decode(&stored.secret).map_err(|error| malformed(error.to_string()))?;
    Ok(Contents::new(stored.acls.into_iter().collect(), stored.users, secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::log::disk::OsDisk;
    use crate::security::acl::{Operation, PatternType, Permission, ResourceType};

    fn open(dir: &Path) -> Result<SecurityStore, StoreError> {
        SecurityStore::open(Arc::new(OsDisk), dir)
    }

    fn acl(name: &str) -> Acl {
        Acl {
            resource_type: ResourceType::TransactionalId,
            name: name.into(),
            pattern_type: PatternType::Prefixed,
            principal: "User:alice".into(),
            host: "*".into(),
            operation: Operation::IdempotentWrite,
            permission: Permission::Deny,
        }
    }

    #[test]
    fn rules_and_users_come_back_and_only_the_owner_may_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        let store = open(dir.path()).unwrap();
        assert!(!file.exists());
        store.change_acls(vec![acl("a"), acl("b"), acl("a")], &[]).unwrap();
        store.change_acls(vec![acl("c")], &[acl("b")]).unwrap();
        let mechanism = ScramMechanism::Sha512;
        let verifier = Verifier::of_password(mechanism, b"secret", 4096);
        let set = |name: &str| UserChange::Set {
            name: name.to_owned(),
            mechanism,
            verifier: verifier.clone(),
        };
        let gone = UserChange::Delete { name: "bob".to_owned(), mechanism };
        store.change_users(vec![set("alice"), set("bob"), gone]).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let before = store.contents();
        let after = open(dir.path()).unwrap().contents();
        assert_eq!(after.acls.iter().collect::<Vec<_>>(), [&acl("a"), &acl("c")]);
        assert_eq!(after.users().collect::<Vec<_>>(), [("alice", vec![(mechanism, 4096)])]);
        assert_eq!(after.verifier("alice", mechanism), Some(&verifier));
        assert_eq!(after.secret, before.secret, "decoys stay as they were");
        assert_eq!(after.decoy(mechanism, "x"), before.decoy(mechanism, "x"));
        assert!(!std::fs::read_to_string(&file).unwrap().contains("bob"));
    }

    /// Else whoever sees 8,192 iterations, or a salt as Java makes it, knows that it is of a user.
    #[test]
    fn decoys_look_as_verifiers_of_users_do() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let [sha256, sha512] = ScramMechanism::ALL;
        let decoy = |mechanism, user: &str| store.contents().decoy(mechanism, user).shape();
        assert_eq!(decoy(sha512, "a"), Shape::default());
        let set = |number: usize, salt: &[u8], iterations| UserChange::Set {
            name: format!("user{number}"),
            mechanism: sha512,
            verifier: Verifier::new(sha512, salt.to_vec(), iterations, &[number as u8]),
        };
        let many = (0..30).map(|number| set(number, b"1s9hhk3d8i3kfd0d6kcvlb2vko", 8192));
        let few = (30..40).map(|number| set(number, &[200; 64], 4096));
        store.change_users(many.chain(few).collect()).unwrap();
        let java = Shape { iterations: 8192, salt_bytes: 26, salt_is_text: true };
        let shapes: Vec<Shape> =
            (0..400).map(|number| decoy(sha512, &format!("nobody{number}"))).collect();
        let alike = shapes.iter().filter(|shape| **shape == java).count();
        // Three quarters, of names drawn by a random secret: seven standard deviations away.
        assert!((240..=360).contains(&alike), "{alike}");
        assert!(shapes.iter().all(|one| *one == java || one.salt_bytes == 64));
        assert_eq!(decoy(sha256, "a"), Shape::default(), "nobody has one of that mechanism");
        let again: Vec<Shape> =
            (0..400).map(|number| decoy(sha512, &format!("nobody{number}"))).collect();
        assert_eq!(shapes, again);
    }

    #[test]
    fn which_password_was_set_last_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let last = |store: &SecurityStore| store.contents().last_verifier("alice").unwrap().0;
        let [sha256, sha512] = ScramMechanism::ALL;
        for mechanism in [sha512, sha256, sha512, sha256] {
            let verifier = Verifier::of_password(mechanism, b"secret", 4096);
            let name = "alice".to_owned();
            store.change_users(vec![UserChange::Set { name, mechanism, verifier }]).unwrap();
            assert_eq!((last(&store), last(&open(dir.path()).unwrap())), (mechanism, mechanism));
        }
        let gone = UserChange::Delete { name: "alice".to_owned(), mechanism: sha256 };
        store.change_users(vec![gone]).unwrap();
        assert_eq!(last(&store), sha512);
        assert!(store.contents().last_verifier("bob").is_none());
        // As older versions wrote it.
        let file = dir.path().join(FILE);
        let mut json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let kept = json["users"]["alice"]["SCRAM-SHA-512"].as_object_mut().unwrap();
        assert!(kept.remove("set").is_some());
        std::fs::write(&file, json.to_string()).unwrap();
        let (before, after) = (store.contents(), open(dir.path()).unwrap().contents());
        assert_eq!(after.last_verifier("alice"), before.last_verifier("alice"));
    }

    #[test]
    fn a_newer_or_broken_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        std::fs::write(&file, r#"{"version":2,"rules":[]}"#).unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("written by a newer version (format 2"), "{error}");
        for broken in ["{", r#"{"version":1}"#, r#"{"version":1,"secret":"*"}"#] {
            std::fs::write(&file, broken).unwrap();
            let error = open(dir.path()).unwrap_err();
            assert!(matches!(error, StoreError::Malformed { .. }), "{error}");
        }
    }
}
