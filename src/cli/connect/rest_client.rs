//! How our commands reach a worker's REST API, and as whom: by a file (`--connect-config`) or the
//! environment, since what stands on a command line can be read by everybody on the machine.
//!
//! ```text
//! ssl.truststore.location = ca.pem      MILLSTREAM_CONNECT_CA
//! basic.auth.user = admin               MILLSTREAM_CONNECT_USER
//! basic.auth.password = …               MILLSTREAM_CONNECT_PASSWORD
//! bearer.auth.token = …                 MILLSTREAM_CONNECT_TOKEN
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use broker::security::tls::Pem;
use clap::Args;
use connectors::config::keys::nearest;
use connectors::http::client::{Call, CallError, ClientOptions, HttpClient, shown};
use connectors::http::{auth, service, tls};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use tokio::runtime::Handle;
use url::{Host, Url};

use crate::cli::Failure;
use crate::cli::properties::{self, Properties};

/// How long an answer may take: tasks are let end in order first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// No answer is longer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

const URL_VARIABLE: &str = "MILLSTREAM_CONNECT_URL";

/// The worker that is asked.
#[derive(Args, Clone, Debug)]
pub struct At {
    /// The REST API of the worker
    #[arg(
        long,
        default_value = "http://127.0.0.1:8083",
        env = URL_VARIABLE,
        hide_env_values = true
    )]
    url: String,
    /// Whom to trust and who one is there: ssl.truststore.location, basic.auth.user, …
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_CONNECT_CONFIG")]
    connect_config: Option<PathBuf>,
}

/// Keys of the file, and variables that say the same.
const KEYS: &[(&str, Option<&str>)] = &[
    ("basic.auth.user", Some("MILLSTREAM_CONNECT_USER")),
    ("basic.auth.password", Some("MILLSTREAM_CONNECT_PASSWORD")),
    ("bearer.auth.token", Some("MILLSTREAM_CONNECT_TOKEN")),
    ("ssl.truststore.location", Some("MILLSTREAM_CONNECT_CA")),
    ("ssl.truststore.type", None),
    ("ssl.keystore.location", None),
    ("ssl.keystore.type", None),
    ("ssl.keystore.key", None),
    ("ssl.keystore.certificate.chain", None),
];

/// A REST API, and how to ask it.
pub struct Rest {
    url: Url,
    client: HttpClient,
    headers: HeaderMap,
}

impl At {
    pub fn rest(&self) -> Result<Rest, Failure> {
        let mut said = match &self.connect_config {
            Some(path) => read(path)?,
            None => Properties::new(),
        };
        for (key, variable) in KEYS {
            let value = variable.and_then(|variable| std::env::var(variable).ok());
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                said.insert((*key).to_owned(), value);
            }
        }
        let url = url(&self.url)?;
        let is_of_environment = std::env::var(URL_VARIABLE).as_ref() == Ok(&self.url);
        let of_url = service::of_url(&url);
        if of_url.is_some() && !is_of_environment {
            tracing::warn!(
                "everybody on this machine can read a password in --url while the command runs; \
                 put it into --connect-config FILE, or MILLSTREAM_CONNECT_PASSWORD"
            );
        }
        let authorization = authorization(&said).map_err(Failure::usage)?.or(of_url);
        let is_local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        if authorization.is_some() && url.scheme() == "http" && !is_local {
            tracing::warn!("{}: who one is can be read on its way; https hides it", shown(&url));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        let options = ClientOptions {
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: ANSWER_TIMEOUT,
            redirects_max: 0,
            reply_bytes_max: ANSWER_BYTES_MAX,
        };
        let trusted = trusted(&said).map_err(Failure::usage)?;
        let url = service::without_credentials(url);
        Ok(Rest { url, client: HttpClient::new(trusted, options), headers })
    }
}

fn url(text: &str) -> Result<Url, Failure> {
    let full = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    let url = Url::parse(&full).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // It may have a password in it.
    url.ok_or_else(|| {
        Failure::usage("--url is no address of a REST API")
            .with_help("write it as http://127.0.0.1:8083 or https://connect.example:8443")
    })
}

fn read(path: &Path) -> Result<Properties, Failure> {
    let said = properties::read(path)?;
    let names = || KEYS.iter().map(|(key, _)| *key);
    let Some(unknown) = said.keys().find(|key| names().all(|name| name != key.as_str())) else {
        return Ok(said);
    };
    let failure = Failure::usage(format!("{}: there is no key `{unknown}`", path.display()));
    Err(match nearest(unknown, names()) {
        Some(near) => failure.with_help(format!("did you mean `{near}`?")),
        None => failure.with_help(format!("there are {}", names().collect::<Vec<_>>().join(", "))),
    })
}

fn authorization(said: &Properties) -> Result<Option<HeaderValue>, String> {
    let get = |key: &str| said.get(key).map(String::as_str);
    let text = match (get("bearer.auth.token"), get("basic.auth.user"), get("basic.auth.password"))
    {
        (Some(token), None, None) => format!("Bearer {token}"),
        (None, Some(user), Some(password)) => auth::basic(user, password),
        (None, None, None) => return Ok(None),
        (Some(_), ..) => return Err("a token and a user are given; one of them is enough".into()),
        (None, Some(_), None) => return Err("the user has no basic.auth.password".into()),
        (None, None, Some(_)) => return Err("the password has no basic.auth.user".into()),
    };
    let value = HeaderValue::from_str(&text);
    let mut value = value.map_err(|_| "the token or password has control characters")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn trusted(said: &Properties) -> Result<tls::TlsClient, String> {
    let get = |key: &str| said.get(key).map(|value| value.trim());
    for key in ["ssl.truststore.type", "ssl.keystore.type"] {
        if get(key).is_some_and(|kind| !kind.eq_ignore_ascii_case("PEM")) {
            return Err(format!("{key}: only PEM is read here"));
        }
    }
    let store = get("ssl.keystore.location");
    let chain = get("ssl.keystore.certificate.chain").or(store).map(Pem::of);
    let key = get("ssl.keystore.key").or(store).map(Pem::of);
    tls::client_as(get("ssl.truststore.location").map(Path::new), chain.zip(key).as_ref())
}

impl Rest {
    /// One request; status and JSON. Not for async threads.
    pub fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failure> {
        let at = shown(&self.url);
        let base = self.url.as_str().trim_end_matches('/');
        let wrong = |what: &str| Failure::running(format!("{at}: {what}"));
        let url = Url::parse(&format!("{base}{path}")).map_err(|_| wrong("no such path"))?;
        let call = Call {
            method: method.parse().map_err(|_| wrong("no such method"))?,
            url,
            headers: self.headers.clone(),
            body: body.map(Value::to_string).unwrap_or_default().into(),
        };
        let reply =
            Handle::current().block_on(self.client.call(&call)).map_err(|error| match error {
                CallError::Untrusted(reason) => {
                    wrong(&format!("its certificate is not trusted: {reason}")).with_help(
                        "name the authority that signed it: ssl.truststore.location in \
                         --connect-config FILE, or MILLSTREAM_CONNECT_CA",
                    )
                }
                error => wrong(&error.to_string()).with_help(
                    "start a worker by `millstream connect FILE…`, or name one by --url",
                ),
            })?;
        if reply.is_cut {
            return Err(wrong(&format!("the answer has more than {ANSWER_BYTES_MAX} bytes")));
        }
        let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        Ok((reply.status.as_u16(), body))
    }

    /// Asks, and wants to succeed.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let (status, answer) = self.exchange(method, path, body)?;
        match status {
            200..=299 => Ok(answer),
            _ => Err(refused(status, &answer, &format!("{method} {path}"))),
        }
    }
}

/// Why it was not done, and what to do; `what` was asked.
pub fn refused(status: u16, answer: &Value, what: &str) -> Failure {
    let message = answer["message"].as_str().map_or_else(
        || format!("{what}: status {status}"),
        |message| message.split("\nYou can also").next().unwrap_or(message).to_owned(),
    );
    let failure = Failure::running(message);
    match status {
        401 => failure.with_help(
            "say who you are: MILLSTREAM_CONNECT_USER and MILLSTREAM_CONNECT_PASSWORD, or \
             MILLSTREAM_CONNECT_TOKEN, or basic.auth.user and the like in --connect-config FILE",
        ),
        404 => failure.with_help("`millstream connect list` shows which there are"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers one request; what it was, then.
    fn answers(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                assert_eq!(stream.read(&mut byte).unwrap(), 1);
                asked.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (address, served)
    }

    async fn asked(answer: &'static str) -> (Result<(u16, Value), String>, String) {
        let (address, served) = answers(answer);
        let at = At { url: address, connect_config: None };
        let told = tokio::task::spawn_blocking(move || {
            at.rest().unwrap().exchange("GET", "/connectors?expand=info", None)
        });
        let told = told.await.unwrap().map_err(|failure| format!("{failure:?}"));
        (told, served.join().unwrap())
    }

    #[tokio::test]
    async fn answers_are_read_whole_or_in_chunks() {
        let (told, request) = asked("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]").await;
        assert_eq!(told.unwrap(), (200, serde_json::json!([])));
        assert!(request.starts_with("GET /connectors?expand=info HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("content-type: application/json\r\n"), "{request}");
        // Kafka Connect's own server sends long bodies in chunks.
        let chunked = "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\n{\"a\r\n4;x\r\n\":1}\r\n0\r\n\r\n";
        assert_eq!(asked(chunked).await.0.unwrap(), (404, serde_json::json!({ "a": 1 })));
        let none = asked("HTTP/1.1 204 No Content\r\n\r\n").await.0;
        assert_eq!(none.unwrap(), (204, Value::Null));
        assert!(asked("SSH-2.0\r\n\r\n").await.0.is_err());
    }

    #[test]
    fn who_one_is_is_said_once_and_not_shown() {
        let header = |text: &str| authorization(&properties::parse(text));
        let basic = header("basic.auth.user=ann\nbasic.auth.password=a").unwrap().unwrap();
        assert_eq!(basic, "Basic YW5uOmE=");
        assert!(!format!("{basic:?}").contains("YW5u"));
        assert_eq!(header("bearer.auth.token=t").unwrap().unwrap(), "Bearer t");
        assert!(header("").unwrap().is_none());
        for wrong in [
            "basic.auth.user=ann",
            "basic.auth.password=secret",
            "bearer.auth.token=secret\nbasic.auth.user=ann\nbasic.auth.password=secret",
            "bearer.auth.token=secret\\u0001",
        ] {
            let reason = header(wrong).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
        let told = format!("{:?}", url("ftp://ann:secret@h").unwrap_err());
        assert!(told.contains("no address") && !told.contains("secret"), "{told}");
    }
}
