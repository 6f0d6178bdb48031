//! Whose pages may ask: a browser sends what any page tells it to, from inside the network.
//!
//! ```text
//! Host     ─ a name that is not ours: a page whose name was made to mean this machine
//! Origin   ─ another site: its page sends, unless it is allowed (CORS)
//! ```
//!
//! Programs send no Origin, and are asked nothing.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, HOST, ORIGIN, VARY,
};
use hyper::{HeaderMap, Uri, header::HeaderValue};

/// What may be asked from other sites if nobody says.
const METHODS_DEFAULT: &str = "GET,POST,HEAD";
/// What they may send.
const HEADERS: &str = "Authorization,Content-Type,Accept,X-Requested-With";
/// Seconds for which a browser need not ask again.
const MAX_AGE: &str = "60";

/// What is said of other sites: `access.control.allow.origin` and `access.control.allow.methods`.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    origins: Vec<String>,
    methods: Option<HeaderValue>,
    /// Names by which this server is asked, where others are refused.
    hosts: Option<Vec<String>>,
}

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A program, or a page of our own.
    Here,
    /// Another site that is allowed to ask.
    Allowed(HeaderValue),
}

impl Sites {
    /// Origins as `http://ui.example:8000`, `*` for any or part of one; the error is a reason.
    pub fn new(origins: &str, methods: &str) -> Result<Sites, String> {
        let list = origins.split(',').map(str::trim).filter(|one| !one.is_empty());
        let origins: Vec<String> = list.map(str::to_ascii_lowercase).collect();
        for origin in &origins {
            if origin != "*" && (!origin.contains("://") || origin.ends_with('/')) {
                return Err(format!(
                    "'{origin}' is no origin: write it as http://ui.example:8000, without a path, \
                     or * for any"
                ));
            }
        }
        let methods = methods.split(',').map(|one| one.trim().to_ascii_uppercase());
        let methods = methods.filter(|one| !one.is_empty()).collect::<Vec<_>>().join(",");
        let methods = match methods.is_empty() {
            true => None,
            false => Some(HeaderValue::from_str(&methods).map_err(|error| error.to_string())?),
        };
        Ok(Sites { origins, methods, hosts: None })
    }

    /// Refuses names that are not ours where nothing but the address keeps others out: a page can
    /// make its own name mean this machine, and is then no other site to a browser.
    pub fn only_here(mut self, address: SocketAddr, names: &[String]) -> Sites {
        if address.ip().is_loopback() {
            self.hosts = Some(names.iter().map(|name| bare(name)).collect());
        }
        self
    }

    /// The error is the name that is not ours.
    pub fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let Some(own) = &self.hosts else { return Ok(()) };
        let named = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let named = named.chain(uri.authority().map(|authority| authority.as_str()));
        for host in named {
            let name = bare(host);
            let is_address = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
            let is_local = name == "localhost" || name.ends_with(".localhost");
            if !is_address && !is_local && !own.contains(&name) {
                return Err(name);
            }
        }
        Ok(())
    }

    /// The error is the site that may not ask.
    pub fn asker(&self, headers: &HeaderMap) -> Result<Asker, String> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(origin) = headers.get(ORIGIN) else {
            return Ok(Asker::Here);
        };
        let shown = origin.to_str().unwrap_or("?").to_ascii_lowercase();
        if self.origins.iter().any(|allowed| fits(allowed, &shown)) {
            return Ok(Asker::Allowed(origin.clone()));
        }
        // Right behind proxies too, which change the Host.
        if text("sec-fetch-site") == Some("same-origin") {
            return Ok(Asker::Here);
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let (end, rest) = match shown.split_once("://") {
            Some(("https", rest)) => (":443", rest),
            Some((_, rest)) => (":80", rest),
            None => return Err(shown),
        };
        let host = host.to_ascii_lowercase();
        match host.trim_end_matches(end) == rest.trim_end_matches(end) {
            true => Ok(Asker::Here),
            false => Err(shown),
        }
    }

    /// What an answer says to a browser; `asks_leave`: it is to a question before the request.
    pub fn headers(&self, asker: &Asker, asks_leave: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.origins.is_empty() {
            return headers;
        }
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        let Asker::Allowed(origin) = asker else { return headers };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        // What a browser keeps of passwords is not for any site there is.
        if !self.origins.iter().any(|one| one == "*") {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if asks_leave {
            let methods = self.methods.clone();
            let methods = methods.unwrap_or(HeaderValue::from_static(METHODS_DEFAULT));
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        }
        headers
    }
}

/// A host without its port, brackets and the dot at its end.
fn bare(host: &str) -> String {
    let host = host.trim().to_ascii_lowercase();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => match host.rsplit_once(':') {
            // More colons: an address by itself.
            Some((name, _)) if !name.contains(':') => name,
            _ => host.as_str(),
        },
    };
    name.trim_end_matches('.').to_owned()
}

/// A pattern has `*` for any characters, in one place.
fn fits(pattern: &str, origin: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == origin,
        Some((start, end)) => {
            origin.len() >= start.len() + end.len()
                && origin.starts_with(start)
                && origin.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (*name, value.parse().unwrap()));
        pairs.map(|(name, value)| (name.parse().unwrap(), value)).collect()
    }

    #[test]
    fn only_names_of_this_machine_are_answered_where_only_it_may_ask() {
        let local = "127.0.0.1:8083".parse().unwrap();
        let sites = Sites::default().only_here(local, &["worker.example:9000".to_owned()]);
        let asks = |host: &str| {
            sites.check_host(&Uri::from_static("/"), &headers(&[("host", host)])).is_ok()
        };
        for own in [
            "localhost",
            "LOCALHOST:8083",
            "localhost.",
            "ui.localhost:1",
            "127.0.0.1:8083",
            "127.1.2.3",
            "[::1]:8083",
            "::1",
            "worker.example:8083",
            "Worker.Example.",
        ] {
            assert!(asks(own), "{own}");
        }
        for other in ["evil.example:8083", "10.0.0.1", "localhost.evil.example", "", "[::2]:1"] {
            assert!(!asks(other), "{other}");
        }
        let absolute = Uri::from_static("http://evil.example/connectors");
        assert!(sites.check_host(&absolute, &headers(&[("host", "localhost")])).is_err());
        assert!(sites.check_host(&Uri::from_static("/"), &HeaderMap::new()).is_ok(), "HTTP/1.0");
        let open = Sites::default().only_here("0.0.0.0:8083".parse().unwrap(), &[]);
        let anything = headers(&[("host", "anything")]);
        assert!(open.check_host(&Uri::from_static("/"), &anything).is_ok());
    }

    #[test]
    fn pages_of_other_sites_may_not_ask() {
        let sites = Sites::default();
        let asks = |pairs: &[(&'static str, &str)]| sites.asker(&headers(pairs));
        assert_eq!(asks(&[("host", "h:8083")]), Ok(Asker::Here), "a program");
        for (host, origin) in [
            ("h:8083", "http://h:8083"),
            ("H", "http://h:80"),
            ("h:443", "https://h"),
            ("h", "https://h"),
        ] {
            assert_eq!(asks(&[("host", host), ("origin", origin)]), Ok(Asker::Here), "{origin}");
        }
        for origin in ["http://evil.example", "null", "http://h:8084", "http://h", ""] {
            let told = asks(&[("host", "h:8083"), ("origin", origin)]);
            assert_eq!(told, Err(origin.to_owned()));
        }
        let proxied = [("host", "connect:8083"), ("origin", "http://ui.example")];
        assert!(asks(&proxied).is_err());
        let same = [&proxied[..], &[("sec-fetch-site", "same-origin")]].concat();
        assert_eq!(asks(&same), Ok(Asker::Here), "a page whose proxy has changed the host");
        let other = [&proxied[..], &[("sec-fetch-site", "cross-site")]].concat();
        assert!(asks(&other).is_err());
    }

    #[test]
    fn sites_that_are_allowed_are_told_so() {
        let sites = Sites::new("http://ui.example, https://*.ours.example", "get, put").unwrap();
        let told = |origin: &str, leave| {
            let from = sites.asker(&headers(&[("host", "h"), ("origin", origin)]));
            from.map(|from| {
                let headers = sites.headers(&from, leave);
                let each = headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
                each.collect::<String>()
            })
        };
        expect_test::expect![[r#"
            vary: Origin
            access-control-allow-origin: http://ui.example
            access-control-allow-credentials: true
            access-control-allow-methods: GET,PUT
            access-control-allow-headers: Authorization,Content-Type,Accept,X-Requested-With
            access-control-max-age: 60
        "#]]
        .assert_eq(&told("http://ui.example", true).unwrap());
        assert!(told("https://a.ours.example", false).is_ok());
        for other in ["https://ours.example", "http://ui.example.evil", "https://a.ours.example:1"]
        {
            assert!(told(other, false).is_err(), "{other}");
        }
        let any = Sites::new("*", "").unwrap();
        let from = any.asker(&headers(&[("origin", "http://x")])).unwrap();
        assert_eq!(any.headers(&from, false).get(ACCESS_CONTROL_ALLOW_CREDENTIALS), None);
        assert_eq!(any.headers(&from, true)[ACCESS_CONTROL_ALLOW_METHODS], METHODS_DEFAULT);
        assert!(Sites::new("ui.example", "").unwrap_err().contains("is no origin"));
        assert!(Sites::default().headers(&Asker::Here, true).is_empty());
    }
}
