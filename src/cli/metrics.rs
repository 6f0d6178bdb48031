//! Where metrics are served, and to whom: `--metrics-listen` and `--metrics-config`.
//!
//! ```text
//! ssl.keystore.location = server.pem        basic.auth.file = passwords.properties
//! ssl.client.auth = required                bearer.auth.file = tokens.properties
//! ```

use std::path::PathBuf;

use broker::security::tls::TlsConfig;
use broker::security::tls_settings;
use clap::Args;
use connectors::ConfigProblem;
use connectors::config::keys::nearest;
use connectors::http::guard::settings::{COMMON_KEYS, GuardSettings, PASSWORD_FILE, TOKEN_FILE};

use super::Failure;
use super::properties::{self, Properties};

#[derive(Args, Clone, Debug, Default)]
pub struct Metrics {
    /// Serve metrics for Prometheus at http://HOST:PORT/metrics
    #[arg(id = "metrics_listen", long = "metrics-listen", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// TLS and credentials of that: ssl.keystore.location, basic.auth.file, bearer.auth.file
    #[arg(
        id = "metrics_config",
        long = "metrics-config",
        value_name = "FILE",
        requires = "metrics_listen"
    )]
    pub config: Option<PathBuf>,
}

/// What the file says.
#[derive(Clone, Debug, Default)]
pub struct MetricsSettings {
    pub guard: GuardSettings,
    pub tls: Option<TlsConfig>,
}

impl Metrics {
    pub fn settings(&self) -> Result<MetricsSettings, Failure> {
        let Some(path) = &self.config else { return Ok(MetricsSettings::default()) };
        let read = MetricsSettings::new(&properties::read(path)?);
        read.map_err(|problems| {
            let told: Vec<String> = problems.iter().map(ConfigProblem::in_words).collect();
            Failure::usage(format!("{}: {}", path.display(), told.join("\n")))
        })
    }
}

impl MetricsSettings {
    fn new(properties: &Properties) -> Result<MetricsSettings, Vec<ConfigProblem>> {
        let known = || {
            let own = [PASSWORD_FILE, TOKEN_FILE].into_iter().chain(COMMON_KEYS);
            own.chain(tls_settings::READ.iter().copied())
        };
        let mut problems = Vec::new();
        for key in properties.keys().filter(|key| known().all(|known| known != key.as_str())) {
            let near = nearest(key, known()).map(|near| format!("did you mean `{near}`?"));
            problems.push(ConfigProblem {
                key: key.clone(),
                value: None,
                message: format!("there is no key `{key}`"),
                help: Some(near.unwrap_or_else(|| {
                    let all: Vec<&str> = known().collect();
                    format!("there are {}", all.join(", "))
                })),
            });
        }
        let tls = tls(properties).unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        match GuardSettings::new(properties, "", None) {
            Ok(guard) if problems.is_empty() => Ok(MetricsSettings { guard, tls }),
            Ok(_) => Err(problems),
            Err(wrong) => {
                problems.extend(wrong);
                Err(problems)
            }
        }
    }
}

fn tls(properties: &Properties) -> Result<Option<TlsConfig>, ConfigProblem> {
    if !properties.keys().any(|key| key.starts_with("ssl.")) {
        return Ok(None);
    }
    let get = |name: &'static str| {
        properties.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    };
    let read = tls_settings::tls("https of metrics", get);
    read.map(Some).map_err(|error| ConfigProblem {
        key: error.name.to_owned(),
        value: None,
        message: format!("`{}`: {}", error.name, error.reason),
        help: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told() {
        let read = |text: &str| {
            let problems = MetricsSettings::new(&properties::parse(text)).unwrap_err();
            let told: Vec<String> = problems.iter().map(ConfigProblem::in_words).collect();
            told.join("\n")
        };
        let told = read("basic.auth.fiel=x\nssl.client.auth=required\nbearer.auth.file=/none");
        expect_test::expect![[r#"
            there is no key `basic.auth.fiel`; did you mean `basic.auth.file`?
            `ssl.keystore.location`: https of metrics needs it: a file with a key and certificates as PEM; or ssl.keystore.key and ssl.keystore.certificate.chain
            `bearer.auth.file`: cannot read '/none': No such file or directory (os error 2); it has NAME=TOKEN lines, or NAME=sha256:HASH ones by `sha256sum`"#]]
        .assert_eq(&told);
        let none = MetricsSettings::new(&properties::parse("")).unwrap();
        assert!(none.tls.is_none() && !none.guard.asks_who());
    }
}
