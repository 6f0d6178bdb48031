//! Requests to HTTP servers, of guests to whom some are granted.
//!
//! The rule: a guest reaches the origins (scheme, host and port) that the pipeline file names, and
//! no others; where a server sends it on to another place, it is not taken there. Requests of a
//! call go side by side, and so do rows, each a call of its own by an instance of its own: no more
//! than [`SIDE_BY_SIDE`] in all, unless it is granted more. All are sent within the time that is
//! left of the call of the function. Who sends them is whoever embeds this crate ([`Fetch`]).

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::instance::State;

/// What a guest imports.
pub const INTERFACE: &str = "millstream:udf/http@0.1.0";
/// In one call.
const REQUESTS_MAX: usize = 1000;
/// Sent at the same time; what they bring is counted before more are sent.
pub(crate) const SIDE_BY_SIDE: usize = 16;
/// How many rows may be called at the same time.
pub const SIDE_BY_SIDE_RANGE: RangeInclusive<usize> = 1..=64;

#[derive(Clone, ComponentType, Debug, Lift)]
#[component(record)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Clone, ComponentType, Debug, Lower)]
#[component(record)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What sends requests.
pub trait Fetch: Send + Sync {
    /// The answers, as many as the requests and in their order, or why there is none. All are sent
    /// at the same time, followed nowhere else, and given up after `time`. Called by threads that
    /// may wait.
    fn fetch(&self, requests: Vec<Request>, time: Duration) -> Vec<Result<Response, String>>;
}

/// Scheme, host and port (RFC 6454). Its text is that, or a host alone for HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    fn of(url: &Url) -> Option<Origin> {
        Some(Origin {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Origin, String> {
        let text = text.trim();
        let wrong =
            || format!("'{text}' is no host, such as api.example.com or http://localhost:8080");
        let url = match text.contains("://") {
            true => Url::parse(text),
            false => Url::parse(&format!("https://{text}")),
        };
        let url = url.map_err(|_| wrong())?;
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let origin = Origin::of(&url).filter(|_| is_bare && is_http(&url));
        origin.ok_or_else(wrong)
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { scheme, host, port } = self;
        match (scheme.as_str(), port) {
            ("https", 443) => f.write_str(host),
            ("http", 80) => write!(f, "http://{host}"),
            _ => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

/// What an instance reaches.
pub(crate) struct Reach {
    granted: Vec<Origin>,
    by: Option<Arc<dyn Fetch>>,
    /// Of all answers of a call.
    bytes_max: usize,
    /// When the call of the function ends.
    until: Instant,
    /// Requests that it sends at the same time.
    at_once: usize,
}

impl Reach {
    pub fn new(granted: &[Origin], by: Option<Arc<dyn Fetch>>, bytes_max: usize) -> Reach {
        let (granted, until) = (granted.to_vec(), Instant::now());
        Reach { granted, by, bytes_max, until, at_once: SIDE_BY_SIDE }
    }

    pub fn within(&mut self, time: Duration) {
        self.until = Instant::now() + time;
    }

    /// So many instances send at the same time.
    pub fn among(&mut self, count: usize) {
        self.at_once = (SIDE_BY_SIDE / count.max(1)).max(1);
    }

    fn fetch(&self, requests: Vec<Request>) -> Vec<Result<Response, String>> {
        let count = requests.len();
        if count > REQUESTS_MAX {
            let reason = format!("{count} requests at once, and {REQUESTS_MAX} are the most");
            return vec![Err(reason); count];
        }
        let mut answers: Vec<Result<Response, String>> = Vec::with_capacity(count);
        let mut allowed = Vec::new();
        for (index, request) in requests.into_iter().enumerate() {
            // In place of the answer to come.
            answers.push(Err("there is no answer".to_owned()));
            match self.check(&request) {
                Ok(()) => allowed.push((index, request)),
                Err(reason) => answers[index] = Err(reason),
            }
        }
        let mut bytes = 0;
        while !allowed.is_empty() {
            let rest = allowed.split_off(allowed.len().min(self.at_once));
            let (indices, requests): (Vec<usize>, Vec<Request>) = allowed.into_iter().unzip();
            allowed = rest;
            for (index, answer) in indices.into_iter().zip(self.send(requests, bytes)) {
                bytes += answer.as_ref().map_or(0, |answer| answer.body.len());
                answers[index] = answer;
            }
        }
        answers
    }

    fn check(&self, request: &Request) -> Result<(), String> {
        let url = Url::parse(&request.url).ok().filter(is_http);
        let origin = url.as_ref().and_then(Origin::of);
        let Some(origin) = origin else {
            return Err(format!("'{}' is no address for HTTP", request.url));
        };
        match self.granted.contains(&origin) {
            true => Ok(()),
            false => Err(format!("{origin} is not granted; it takes grants.http = \"{origin}\"")),
        }
    }

    fn send(&self, requests: Vec<Request>, bytes: usize) -> Vec<Result<Response, String>> {
        let count = requests.len();
        let left = self.until.saturating_duration_since(Instant::now());
        let reason = match &self.by {
            None => "nobody sends requests here",
            Some(_) if left.is_zero() => "no time is left for it (the `time` limit)",
            Some(_) if bytes > self.bytes_max => {
                "the answers before are more than fits (the `memory` limit)"
            }
            Some(by) => return by.fetch(requests, left),
        };
        vec![Err(reason.to_owned()); count]
    }
}

/// Our `millstream:udf/http`.
pub(crate) fn add(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut http = linker.instance(INTERFACE)?;
    http.func_wrap("fetch", |store, (requests,): (Vec<Request>,)| {
        Ok((store.data().http.fetch(requests),))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str) -> Request {
        Request { method: "GET".to_owned(), url: url.to_owned(), headers: vec![], body: vec![] }
    }

    /// Answers with the address, and with as many bytes as its query says.
    struct Echo;

    impl Fetch for Echo {
        fn fetch(&self, requests: Vec<Request>, _: Duration) -> Vec<Result<Response, String>> {
            assert!(requests.len() <= SIDE_BY_SIDE, "{}", requests.len());
            let answer = |request: Request| {
                let url = Url::parse(&request.url).unwrap();
                let bytes = url.query().and_then(|query| query.parse().ok()).unwrap_or_default();
                let headers = vec![("url".to_owned(), request.url)];
                Ok(Response { status: 200, headers, body: vec![b'x'; bytes] })
            };
            requests.into_iter().map(answer).collect()
        }
    }

    fn reach(granted: &[&str], bytes_max: usize) -> Reach {
        let granted: Vec<Origin> = granted.iter().map(|text| text.parse().unwrap()).collect();
        let mut reach = Reach::new(&granted, Some(Arc::new(Echo)), bytes_max);
        reach.within(Duration::from_secs(10));
        reach
    }

    #[test]
    fn origins_are_hosts_or_addresses_without_more() {
        let shown = |text: &str| text.parse::<Origin>().map(|origin| origin.to_string());
        assert_eq!(shown("api.example.com").unwrap(), "api.example.com");
        assert_eq!(shown("https://API.example.com:443/").unwrap(), "api.example.com");
        assert_eq!(shown(" localhost:8443 ").unwrap(), "https://localhost:8443");
        assert_eq!(shown("http://localhost").unwrap(), "http://localhost");
        assert_eq!(shown("http://[::1]:80").unwrap(), "http://[::1]");
        for wrong in ["", "a b", "ftp://a.b", "https://a.b/path", "https://u:p@a.b", "https://a?q"]
        {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_is_granted_is_reached() {
        let reach = reach(&["api.example.com", "http://localhost:8080"], 1 << 20);
        let urls = [
            "https://api.example.com/a",
            "http://api.example.com/a",
            "https://api.example.com:444/a",
            "https://api.example.com.evil.org/",
            "https://api.example.com@evil.org/",
            "http://localhost:8080/b",
            "http://127.0.0.1:8080/b",
            "file:///etc/passwd",
            "nonsense",
        ];
        let answers = reach.fetch(urls.iter().map(|url| request(url)).collect());
        let reached: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(reached, [true, false, false, false, false, true, false, false, false]);
        let evil = answers[4].as_ref().unwrap_err();
        assert_eq!(evil, "evil.org is not granted; it takes grants.http = \"evil.org\"");
    }

    #[test]
    fn answers_come_in_order_and_are_bounded() {
        let mut reach = reach(&["a.b"], 1000);
        let urls = |count: usize, bytes: usize| {
            (0..count).map(|at| request(&format!("https://a.b/{at}?{bytes}"))).collect::<Vec<_>>()
        };
        let answers = reach.fetch(urls(100, 0));
        for (at, answer) in answers.iter().enumerate() {
            assert_eq!(answer.as_ref().unwrap().headers[0].1, format!("https://a.b/{at}?0"));
        }
        // Of each lot, what came before is counted.
        let came = reach.fetch(urls(100, 100)).iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(came, SIDE_BY_SIDE);
        // Who is one of several sends fewer.
        for (among, at_once) in [(1, 16), (3, 5), (16, 1), (64, 1)] {
            reach.among(among);
            let came = reach.fetch(urls(10, 2000)).iter().filter(|answer| answer.is_ok()).count();
            assert_eq!(came, at_once.min(10));
        }
        assert!(reach.fetch(urls(REQUESTS_MAX + 1, 0)).iter().all(Result::is_err));
        let late = Reach::new(&["a.b".parse().unwrap()], Some(Arc::new(Echo)), 1000);
        assert!(late.fetch(urls(1, 0))[0].as_ref().unwrap_err().contains("no time"));
    }
}
