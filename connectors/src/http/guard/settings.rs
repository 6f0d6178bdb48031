//! What properties say of who may ask, in Kafka Connect's words where it has some.
//!
//! ```text
//! basic.auth.file, bearer.auth.file        files of credentials; behind `rest.` in a worker's file
//! access.control.allow.origin, .methods    pages of other sites
//! response.http.headers.config             headers of all answers
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Guard;
use super::answer_headers::AnswerHeaders;
use super::credentials::Credentials;
use super::sites::Sites;
use crate::config::ConfigProblem;

pub const PASSWORD_FILE: &str = "basic.auth.file";
pub const TOKEN_FILE: &str = "bearer.auth.file";
const ORIGINS: &str = "access.control.allow.origin";
const METHODS: &str = "access.control.allow.methods";
const HEADERS: &str = "response.http.headers.config";

/// Keys that are the same wherever they stand.
pub const COMMON_KEYS: [&str; 3] = [ORIGINS, METHODS, HEADERS];

/// Who may ask, as properties have it; nothing of it is for one address alone.
#[derive(Clone, Debug, Default)]
pub struct GuardSettings {
    credentials: Arc<Credentials>,
    sites: Sites,
    headers: AnswerHeaders,
}

impl GuardSettings {
    /// Reads the files too. `prefix` stands before the keys of the two files; `password_file`
    /// is where that is said elsewhere.
    pub fn new(
        properties: &BTreeMap<String, String>,
        prefix: &str,
        password_file: Option<PathBuf>,
    ) -> Result<GuardSettings, Vec<ConfigProblem>> {
        let get = |key: &str| {
            let value = properties.get(key).map(|value| value.trim());
            value.filter(|value| !value.is_empty())
        };
        let mut problems = Vec::new();
        let mut wrong = |key: &str, reason: String, help: &str| {
            problems.push(ConfigProblem {
                key: key.to_owned(),
                value: get(key).map(str::to_owned),
                message: format!("`{key}`: {reason}"),
                help: Some(help.to_owned()),
            });
        };
        let mut credentials = Credentials::default();
        let key = format!("{prefix}{PASSWORD_FILE}");
        if let Some(path) = get(&key).map(PathBuf::from).or(password_file) {
            let help = "it has NAME=PASSWORD lines, or hashed ones by `millstream users hash NAME`";
            match Credentials::default().with_password_file(&path) {
                Ok(read) => credentials = read,
                Err(reason) => wrong(&key, reason, help),
            }
        }
        let key = format!("{prefix}{TOKEN_FILE}");
        if let Some(path) = get(&key) {
            let help = "it has NAME=TOKEN lines, or NAME=sha256:HASH ones by `sha256sum`";
            match std::mem::take(&mut credentials).with_token_file(Path::new(path)) {
                Ok(read) => credentials = read,
                Err(reason) => wrong(&key, reason, help),
            }
        }
        let text = |key| get(key).unwrap_or_default();
        let sites = Sites::new(text(ORIGINS), text(METHODS)).unwrap_or_else(|reason| {
            wrong(ORIGINS, reason, "several stand behind one another, with commas");
            Sites::default()
        });
        let headers = AnswerHeaders::new(text(HEADERS)).unwrap_or_else(|reason| {
            wrong(HEADERS, reason, "several stand behind one another, with commas");
            AnswerHeaders::default()
        });
        match problems.is_empty() {
            true => Ok(GuardSettings { credentials: Arc::new(credentials), sites, headers }),
            false => Err(problems),
        }
    }

    /// Whether whoever asks has to say who he is.
    pub fn asks_who(&self) -> bool {
        !self.credentials.is_empty()
    }

    /// The guard of a server that listens at an address, and is called by `names` besides.
    pub fn guard(
        &self,
        surface: &str,
        address: SocketAddr,
        has_tls: bool,
        names: &[String],
    ) -> Guard {
        let sites = self.sites.clone();
        // Where there are credentials or TLS, another name for this machine is of no use to a page.
        let sites = match self.asks_who() || has_tls {
            true => sites,
            false => sites.only_here(address, names),
        };
        Guard::new(surface, self.credentials.clone(), sites).with_headers(self.headers.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told() {
        let properties = [
            ("rest.basic.auth.file", "/none/passwords"),
            ("rest.bearer.auth.file", "/none/tokens"),
            ("access.control.allow.origin", "ui.example"),
            ("response.http.headers.config", "nosniff"),
        ];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let problems = GuardSettings::new(&properties, "rest.", None).unwrap_err();
        let told: Vec<String> = problems.iter().map(ConfigProblem::in_words).collect();
        expect_test::expect![[r#"
            `rest.basic.auth.file`: cannot read '/none/passwords': No such file or directory (os error 2); it has NAME=PASSWORD lines, or hashed ones by `millstream users hash NAME`
            `rest.bearer.auth.file`: cannot read '/none/tokens': No such file or directory (os error 2); it has NAME=TOKEN lines, or NAME=sha256:HASH ones by `sha256sum`
            `access.control.allow.origin`: 'ui.example' is no origin: write it as http://ui.example:8000, without a path, or * for any; several stand behind one another, with commas
            `response.http.headers.config`: 'nosniff' is no rule for a header: write set NAME: VALUE, add NAME: VALUE, setDate NAME: MS or addDate NAME: MS; several stand behind one another, with commas"#]]
        .assert_eq(&told.join("\n"));
        assert!(!GuardSettings::new(&BTreeMap::new(), "", None).unwrap().asks_who());
    }
}
