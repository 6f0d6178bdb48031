//! Who may ask a server of ours over HTTP, whichever it is: the REST API, metrics, records by POST.
//!
//! ```text
//! request ─► Host ─► Origin ─► leave asked for (OPTIONS) ─► who ─► served
//!             421      403        200, never served          401 └─ headers of all answers
//! ```
//!
//! - [`credentials`]: names with passwords, and tokens; [`sites`]: pages in browsers;
//!   [`answer_headers`]: what all answers say; [`settings`]: properties that say all this.
//!
//! Invariants: no secret is logged or told of. Each request that is refused is a line of the audit
//! (`millstream::audit`), a hundred in a second at most. Whoever tries secrets waits for each
//! answer, as clients of the broker do.

pub mod answer_headers;
pub mod credentials;
pub mod settings;
pub mod sites;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use broker::security::audit::{AuditLines, shown};
use hyper::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::{Method, StatusCode, Uri};
use tokio::time::Instant;

use answer_headers::AnswerHeaders;
use credentials::{Credentials, Denied};
use sites::Sites;

/// How long whoever tries a wrong secret waits, counted from when it came: the same as for clients
/// of the broker (`connection.failed.authentication.delay.ms`).
const FAILURE_DELAY: Duration = Duration::from_millis(100);

/// Decides who is served.
#[derive(Debug)]
pub struct Guard {
    /// What is guarded, for the audit.
    surface: String,
    /// What is to be said to whoever comes by a name that is not ours.
    host_help: &'static str,
    credentials: Arc<Credentials>,
    sites: Sites,
    headers: AnswerHeaders,
    audit: AuditLines,
}

/// What of a request is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    pub peer: IpAddr,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What is answered instead of what was asked for.
    pub instead: Option<Instead>,
    /// To be put into the answer by [`Judged::finish`].
    headers: HeaderMap,
}

/// An answer of the guard's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instead {
    pub status: StatusCode,
    /// Why; none where leave is given.
    pub reason: Option<String>,
}

impl Judged {
    /// Puts in what every answer says.
    pub fn finish(self, guard: &Guard, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        guard.headers.put(headers);
    }
}

impl Guard {
    pub fn new(surface: impl Into<String>, credentials: Arc<Credentials>, sites: Sites) -> Guard {
        Guard {
            surface: surface.into(),
            host_help: "name this server by localhost, or let it ask for credentials",
            credentials,
            sites,
            headers: AnswerHeaders::default(),
            audit: AuditLines::default(),
        }
    }

    pub fn with_headers(self, headers: AnswerHeaders) -> Guard {
        Guard { headers, ..self }
    }

    /// What allows another name, where there is a setting for it.
    pub fn with_host_help(self, host_help: &'static str) -> Guard {
        Guard { host_help, ..self }
    }

    /// Whether a request is served.
    pub async fn judge(&self, asked: Asked<'_>) -> Judged {
        let came = Instant::now();
        let refused = |status, reason: String, headers| Judged {
            instead: Some(Instead { status, reason: Some(reason) }),
            headers,
        };
        if let Err(host) = self.sites.check_host(asked.uri, asked.headers) {
            self.tell(asked, None, "the Host is not ours");
            let reason =
                format!("'{}' is not the name of this server: {}", shown(&host), self.host_help);
            return refused(StatusCode::MISDIRECTED_REQUEST, reason, HeaderMap::new());
        }
        let asker = match self.sites.asker(asked.headers) {
            Ok(asker) => asker,
            Err(origin) => {
                self.tell(asked, None, "a page of another site asks");
                let reason = format!(
                    "pages of '{}' may not ask here: access.control.allow.origin says which may",
                    shown(&origin)
                );
                return refused(StatusCode::FORBIDDEN, reason, HeaderMap::new());
            }
        };
        let asks_leave = *asked.method == Method::OPTIONS
            && asked.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let mut headers = self.sites.headers(&asker, asks_leave);
        if asks_leave && matches!(asker, sites::Asker::Allowed(_)) {
            // Browsers ask that without saying who they are.
            let instead = Instead { status: StatusCode::OK, reason: None };
            return Judged { instead: Some(instead), headers };
        }
        match self.known(asked).await {
            Ok(()) => Judged { instead: None, headers },
            Err(denied) => {
                self.tell(asked, denied.user.as_deref(), denied.reason);
                let mut reason = "User cannot access the resource".to_owned();
                if denied.is_attempt {
                    tokio::time::sleep_until(came + FAILURE_DELAY).await;
                } else {
                    reason += ": no credentials were sent (Authorization)";
                }
                for challenge in self.credentials.challenges() {
                    headers.append(WWW_AUTHENTICATE, challenge);
                }
                refused(StatusCode::UNAUTHORIZED, reason, headers)
            }
        }
    }

    async fn known(&self, asked: Asked<'_>) -> Result<(), Denied> {
        let mut given = asked.headers.get_all(AUTHORIZATION).iter();
        let first: Option<&HeaderValue> = given.next();
        if given.next().is_some() && !self.credentials.is_empty() {
            let reason = "there are several Authorization headers";
            return Err(Denied { user: None, reason, is_attempt: true });
        }
        self.credentials.check(first, &asked.peer.to_canonical().to_string()).await
    }

    fn tell(&self, asked: Asked<'_>, user: Option<&str>, reason: &str) {
        if !self.audit.may_tell() {
            return;
        }
        let (host, surface) = (asked.peer.to_canonical(), &self.surface);
        let (method, path) = (asked.method.as_str(), shown(asked.uri.path()));
        let (method, user) = (shown(method), user.map(shown).unwrap_or_default());
        // Quoted: names may have line ends, which are no ends of lines here.
        tracing::warn!(target: "millstream::audit", %host, surface, ?method, ?path, ?user, reason,
            "refused a request");
    }

    /// Tells how many lines of the audit were left out also when none comes after them.
    pub async fn tell_left_out(&self) {
        self.audit.tell_left_out().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn judged(guard: &Guard, method: &str, pairs: &[(&'static str, &str)]) -> String {
        let pairs = pairs.iter().map(|(name, value)| {
            (hyper::header::HeaderName::from_static(name), value.parse().unwrap())
        });
        let headers: HeaderMap = pairs.collect();
        let (method, uri) = (method.parse().unwrap(), Uri::from_static("/connectors"));
        let peer = IpAddr::from([127, 0, 0, 1]);
        let judged = guard.judge(Asked { method: &method, uri: &uri, headers: &headers, peer });
        let judged = judged.await;
        let instead = judged.instead.clone();
        let mut headers = HeaderMap::new();
        judged.finish(guard, &mut headers);
        let mut told = match instead {
            None => "served\n".to_owned(),
            Some(Instead { status, reason }) => {
                let told = format!("{} {}", status.as_u16(), reason.unwrap_or_default());
                told.trim_end().to_owned() + "\n"
            }
        };
        for (name, value) in &headers {
            told += &format!("  {name}: {}\n", value.to_str().unwrap());
        }
        told
    }

    #[tokio::test]
    async fn a_request_goes_through_all_of_it() {
        let credentials = Credentials::default()
            .with_password("ann", "a")
            .and_then(|credentials| credentials.with_token("t"))
            .unwrap();
        let local = "127.0.0.1:1".parse().unwrap();
        let sites = Sites::new("http://ui.example", "").unwrap().only_here(local, &[]);
        let headers = AnswerHeaders::new("set X-Frame-Options: DENY").unwrap();
        let guard = Guard::new("rest", Arc::new(credentials), sites).with_headers(headers);
        let (host, origin) = (("host", "localhost"), ("origin", "http://ui.example"));
        let ask = ("access-control-request-method", "GET");
        let (right, wrong) = (("authorization", "Basic YW5uOmE="), ("authorization", "Bearer u"));
        let told = [
            judged(&guard, "GET", &[("host", "evil.example"), right]).await,
            judged(&guard, "POST", &[host, ("origin", "http://evil.example"), right]).await,
            judged(&guard, "OPTIONS", &[host, ("origin", "http://evil.example"), ask]).await,
            judged(&guard, "OPTIONS", &[host, origin, ask]).await,
            judged(&guard, "GET", &[host, origin]).await,
            judged(&guard, "GET", &[host]).await,
            judged(&guard, "OPTIONS", &[host, ask]).await,
        ];
        expect_test::expect![[r#"
            421 'evil.example' is not the name of this server: name this server by localhost, or let it ask for credentials
              x-frame-options: DENY
            403 pages of 'http://evil.example' may not ask here: access.control.allow.origin says which may
              x-frame-options: DENY
            403 pages of 'http://evil.example' may not ask here: access.control.allow.origin says which may
              x-frame-options: DENY
            200
              vary: Origin
              access-control-allow-origin: http://ui.example
              access-control-allow-credentials: true
              access-control-allow-methods: GET,POST,HEAD
              access-control-allow-headers: Authorization,Content-Type,Accept,X-Requested-With
              access-control-max-age: 60
              x-frame-options: DENY
            401 User cannot access the resource: no credentials were sent (Authorization)
              vary: Origin
              access-control-allow-origin: http://ui.example
              access-control-allow-credentials: true
              www-authenticate: Basic realm="millstream", charset="UTF-8"
              www-authenticate: Bearer realm="millstream"
              x-frame-options: DENY
            401 User cannot access the resource: no credentials were sent (Authorization)
              vary: Origin
              www-authenticate: Basic realm="millstream", charset="UTF-8"
              www-authenticate: Bearer realm="millstream"
              x-frame-options: DENY
            401 User cannot access the resource: no credentials were sent (Authorization)
              vary: Origin
              www-authenticate: Basic realm="millstream", charset="UTF-8"
              www-authenticate: Bearer realm="millstream"
              x-frame-options: DENY
        "#]]
        .assert_eq(&told.concat());
        assert!(judged(&guard, "GET", &[host, right]).await.starts_with("served"));
        let came = Instant::now();
        assert!(judged(&guard, "GET", &[host, wrong]).await.starts_with("401 User cannot"));
        assert!(came.elapsed() >= FAILURE_DELAY, "whoever tries secrets waits");
        assert!(judged(&guard, "GET", &[host, right, right]).await.starts_with("401 User cannot"));
    }
}
