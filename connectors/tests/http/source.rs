//! Records by POST: what senders are told, and that what they were told is true.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use broker::client::Client;
use connectors::http::client::{Call, ClientOptions, HttpClient};
use connectors::http::tls;
use connectors::{ConnectorConfig, ConnectorState, Worker};
use hyper::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{connector, options, process, reaches, read, values};

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn source(dir: &Path, at: SocketAddr, more: &str) -> ConnectorConfig {
    let common = format!("connector.class=http-source\ntopic=t\nhttp.listen={at}\nhttp.path=/in");
    connector(dir, "hooks", &format!("{common}\n{more}"))
}

async fn start(client: &Arc<dyn Client>, config: ConnectorConfig) -> Worker {
    let worker = Worker::start(client.clone(), vec![config], options(false));
    reaches(&worker, "hooks", ConnectorState::CaughtUp).await;
    worker
}

fn sender() -> HttpClient {
    let options = ClientOptions {
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(30),
        redirects_max: 0,
        reply_bytes_max: 10_000,
    };
    HttpClient::new(tls::client(None).unwrap(), options)
}

/// The status and the answer; 0 where there is none.
async fn send(
    client: &HttpClient,
    method: Method,
    url: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> (u16, String) {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let url = url.parse().unwrap();
    let call = Call { method, url, headers, body: body.to_owned().into() };
    match client.call(&call).await {
        Ok(reply) => (
            reply.status.as_u16(),
            String::from_utf8(reply.body.to_vec()).unwrap().trim().to_owned(),
        ),
        Err(error) => (0, error.to_string()),
    }
}

#[test]
fn bodies_become_records_with_keys_and_headers() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let at = free_address();
        let more = "record.key={{value.id}}\nrecord.headers=X-Request-Id\nhttp.authorization.type=bearer\nhttp.authorization.token=abc";
        let worker = start(&client, source(dir.path(), at, more)).await;
        let (sender, url) = (sender(), format!("http://{at}/in"));
        let auth = ("authorization", "Bearer abc");
        let post = async |headers: &[(&'static str, &str)], body: &str| {
            send(&sender, Method::POST, &url, headers, body).await
        };
        let ok = |records: u32| (200, format!("{{\"records\":{records}}}"));
        assert_eq!(post(&[auth, ("x-request-id", "r1")], "{\"id\": 1.50}\n").await, ok(1));
        let lines = ("content-type", "application/x-ndjson");
        assert_eq!(post(&[auth, lines], "{\"id\":2}\n\n{\"id\":3}\n").await, ok(2));
        assert_eq!(post(&[auth, lines], "").await, ok(0));
        let expected = [("1.50", "{\"id\": 1.50}"), ("2", "{\"id\":2}"), ("3", "{\"id\":3}")];
        let expected = expected.map(|(key, value)| (Some(key.to_owned()), Some(value.to_owned())));
        assert_eq!(read(&*client, "t", 0).await, expected);
        // And those that are none.
        let told = [
            send(&sender, Method::POST, &format!("http://{at}/x"), &[auth], "{}").await,
            send(&sender, Method::PUT, &url, &[auth], "{}").await,
            post(&[], "{}").await,
            post(&[("authorization", "Bearer abd")], "{}").await,
            post(&[auth], "{\"id\":").await,
            post(&[auth], "{}").await,
            post(&[auth, ("content-encoding", "gzip")], "{}").await,
            post(&[auth], &format!("\"{}\"", "x".repeat(1_000_000))).await,
        ];
        let told: Vec<String> =
            told.into_iter().map(|(status, body)| format!("{status} {body}\n")).collect();
        expect_test::expect![[r#"
            404 {"error":"records are taken at /in","status":404}
            405 {"error":"records are taken by POST","status":405}
            401 {"error":"who sends this is not known: see Authorization","status":401}
            401 {"error":"who sends this is not known: see Authorization","status":401}
            400 {"error":"the body is no JSON: EOF while parsing a value at line 1 column 6","status":400}
            400 {"error":"its key: 'value.id' is not there or null","status":400}
            415 {"error":"a body may not be compressed: send it as it is","status":415}
            413 {"error":"a body has at most 1000000 bytes (body.bytes.max)","status":413}
        "#]]
        .assert_eq(&told.concat());
        assert_eq!(read(&*client, "t", 0).await.len(), 3);
        worker.shutdown().await.unwrap();
        // Nobody listens any more.
        assert_eq!(post(&[auth], "{}").await.0, 0);
    });
}

#[test]
fn an_array_is_a_record_for_each_item_and_fields_are_there_for_transforms() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let at = free_address();
        let more = "body.format=array
            value.converter=JsonConverter
            value.converter.schemas.enable=false
            transforms=drop
            transforms.drop.type=ReplaceField$Value
            transforms.drop.exclude=secret";
        let worker = start(&client, source(dir.path(), at, more)).await;
        let url = format!("http://{at}/in");
        let body = r#"[{"a": 1, "secret": "x"}, {"a": 2}]"#;
        let told = send(&sender(), Method::POST, &url, &[], body).await;
        assert_eq!(told, (200, "{\"records\":2}".to_owned()));
        assert_eq!(values(&*client, "t").await, ["{\"a\":1}", "{\"a\":2}"]);
        worker.shutdown().await.unwrap();
    });
}

/// Who sends has to learn that a record was left out: nobody else will send it again.
#[test]
fn what_is_skipped_is_told_to_who_sent_it() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let at = free_address();
        let more = "body.format=array
            value.converter=JsonConverter
            value.converter.schemas.enable=false
            errors.tolerance=all
            transforms=cast
            transforms.cast.type=Cast$Value
            transforms.cast.spec=a:int32";
        let worker = start(&client, source(dir.path(), at, more)).await;
        let (sender, url) = (sender(), format!("http://{at}/in"));
        let post = async |body| send(&sender, Method::POST, &url, &[], body).await;
        let told = post(r#"[{"a": "1"}, {"a": "one"}, {"a": "2"}]"#).await;
        assert_eq!(told, (200, "{\"records\":2,\"skipped\":1}".to_owned()));
        assert_eq!(post(r#"[{"a": "3"}]"#).await, (200, "{\"records\":1}".to_owned()));
        assert_eq!(values(&*client, "t").await, ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]);
        worker.shutdown().await.unwrap();
    });
}

/// A body that does not come holds its place, and nothing but that.
#[test]
fn who_comes_too_many_is_told_to_come_later() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let at = free_address();
        let worker = start(&client, source(dir.path(), at, "http.max.pending=1")).await;
        let (sender, url) = (sender(), format!("http://{at}/in"));
        let mut slow = TcpStream::connect(at).await.unwrap();
        slow.write_all(b"POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n1")
            .await
            .unwrap();
        let post = async || send(&sender, Method::POST, &url, &[], "2").await;
        // Until the slow one's head has been read.
        let mut told = post().await;
        while told.0 == 200 {
            told = post().await;
        }
        assert_eq!(told.0, 503, "{}", told.1);
        let taken = values(&*client, "t").await.len();
        slow.write_all(b"1").await.unwrap();
        let mut answer = vec![0; 12];
        slow.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200");
        assert_eq!(post().await.0, 200);
        let all = values(&*client, "t").await;
        assert_eq!((all.len(), all[taken].as_str()), (taken + 2, "11"));
        worker.shutdown().await.unwrap();
    });
}

/// Senders who send until they are told 200, through workers and brokers that are killed.
#[test]
fn killed_at_any_moment_all_that_was_answered_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let at = free_address();
    let mut answered: Vec<String> = Vec::new();
    let number = Arc::new(AtomicUsize::new(0));
    for round in 0..8u64 {
        process(dir.path(), async |client| {
            let worker = start(&client, source(dir.path(), at, "")).await;
            let url = format!("http://{at}/in");
            let tasks = (0..4).map(|_| {
                let (number, url) = (number.clone(), url.clone());
                tokio::spawn(async move {
                    let sender = sender();
                    let mut answered = Vec::new();
                    loop {
                        let body = number.fetch_add(1, Ordering::Relaxed).to_string();
                        match send(&sender, Method::POST, &url, &[], &body).await.0 {
                            200 => answered.push(body),
                            0 | 503 => return answered,
                            status => panic!("{status}"),
                        }
                    }
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let mut statuses = worker.statuses();
            for _ in 0..round * 3 {
                statuses.changed().await.unwrap();
            }
            drop(worker);
            for task in tasks {
                answered.extend(task.await.unwrap());
            }
        });
    }
    process(dir.path(), async |client| {
        let mut all = values(&*client, "t").await;
        let sent = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), sent, "nothing is there twice");
        let missing: Vec<_> =
            answered.iter().filter(|one| all.binary_search(one).is_err()).collect();
        assert!(missing.is_empty(), "{missing:?} of {}", answered.len());
    });
    assert!(answered.len() > 50, "{}", answered.len());
}

#[test]
fn an_address_that_is_taken_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = source(dir.path(), taken.local_addr().unwrap(), "");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let error = worker.failed().await.to_string();
        assert!(error.contains("Address already in use"), "{error}");
        assert!(error.contains("choose another http.listen"), "{error}");
    });
}

/// By TLS, to those whom a file names, and to pages of sites that are named.
#[test]
fn senders_are_known_by_a_file_and_come_by_https() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=hooks"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &path("key.pem")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out", &path("ca.pem")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let both = ["key.pem", "ca.pem"].map(|name| std::fs::read(path(name)).unwrap()).concat();
    std::fs::write(path("server.pem"), both).unwrap();
    std::fs::write(path("senders"), "shop=t0ken\n").unwrap();
    process(dir.path(), async |client| {
        let at = free_address();
        let more = "http.ssl.keystore.location=server.pem\nhttp.authorization.type=bearer\n\
                    http.authorization.file=senders\n\
                    access.control.allow.origin=http://shop.example";
        let worker = start(&client, source(dir.path(), at, more)).await;
        let trusting = tls::client(Some(&dir.path().join("ca.pem"))).unwrap();
        let options = ClientOptions {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            redirects_max: 0,
            reply_bytes_max: 10_000,
        };
        let (trusting, url) = (HttpClient::new(trusting, options), format!("https://{at}/in"));
        let post = async |headers: &[(&'static str, &str)]| {
            send(&trusting, Method::POST, &url, headers, "{}").await.0
        };
        let known = ("authorization", "Bearer t0ken");
        assert_eq!(post(&[known]).await, 200);
        assert_eq!(post(&[("authorization", "Bearer other")]).await, 401);
        assert_eq!(post(&[]).await, 401);
        assert_eq!(post(&[known, ("origin", "http://shop.example")]).await, 200);
        assert_eq!(post(&[known, ("origin", "http://evil.example")]).await, 403);
        let (status, _) = send(&sender(), Method::POST, &url, &[known], "{}").await;
        assert_eq!(status, 0, "whoever does not trust the certificate sends nothing");
        assert_eq!(values(&*client, "t").await.len(), 2);
        worker.shutdown().await.unwrap();
    });
}

/// What asks nobody who he is takes nothing by a name that is not this machine's: it would be a
/// page that has made its own name mean this machine.
#[test]
fn a_name_that_is_not_ours_is_refused_unless_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let at = free_address();
        let worker = start(&client, source(dir.path(), at, "http.hosts=hooks.example")).await;
        let (sender, url) = (sender(), format!("http://{at}/in"));
        let post =
            async |host: &str| send(&sender, Method::POST, &url, &[("host", host)], "{}").await;
        assert_eq!(post("hooks.example").await.0, 200);
        assert_eq!(post("localhost:1").await.0, 200);
        let (status, told) = post("evil.example").await;
        assert_eq!(status, 421);
        assert!(told.contains("http.hosts says which names are"), "{told}");
        worker.shutdown().await.unwrap();
    });
}
