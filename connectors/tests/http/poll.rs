//! Asking an address: pages, positions, answers that do not change, faults.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use connectors::{ConnectorConfig, Worker};

use super::server::{Answer, TestServer};
use super::support::{connector, options, process, read, values};

fn poll(dir: &Path, url: &str, more: &str) -> ConnectorConfig {
    let common = "connector.class=http-poll-source\ntopic=t\nretry.backoff.ms=2";
    connector(dir, "poll", &format!("{common}\nhttp.url={url}\n{more}"))
}

fn page(items: impl Iterator<Item = usize>) -> Answer {
    let items: Vec<String> = items
        .map(|id| format!(r#"{{"id": {id}, "data": {{"n": {id}.0}}, "at": {}}}"#, id * 1000))
        .collect();
    Answer::With(200, vec![], format!(r#"{{"items": [{}]}}"#, items.join(", ")))
}

const ITEMS: &str = "http.response.list.pointer=/items
    http.response.record.pointer=/data
    http.response.record.key.pointer=/id
    http.response.record.timestamp.pointer=/at
    http.response.record.offset.pointer=/id
    http.offset.initial=0";

/// What comes after an id, three a page; a third of all answers are faults.
async fn paged(total: Arc<AtomicUsize>) -> TestServer {
    TestServer::start(move |request, before| {
        if before % 3 == 1 {
            return if before % 2 == 0 { Answer::Status(503) } else { Answer::Break };
        }
        let after: usize = request.path.rsplit('=').next().unwrap().parse().unwrap();
        let end = total.load(Ordering::Relaxed).min(after + 3);
        page(after + 1..end + 1)
    })
    .await
}

#[test]
fn pages_are_read_to_the_end_and_once_through_faults_and_kills() {
    let dir = tempfile::tempdir().unwrap();
    let total = Arc::new(AtomicUsize::new(0));
    for round in 0..6u64 {
        process(dir.path(), async |client| {
            let server = paged(total.clone()).await;
            total.fetch_add(20, Ordering::Relaxed);
            let url = server.url("/events?after={{offset}}");
            let config = poll(dir.path(), &url, &format!("{ITEMS}\npoll.interval.ms=1"));
            let worker = Worker::start(client.clone(), vec![config], options(false));
            let mut statuses = worker.statuses();
            for _ in 0..round * 2 {
                statuses.changed().await.unwrap();
            }
        });
    }
    process(dir.path(), async |client| {
        let server = paged(total.clone()).await;
        let config = poll(dir.path(), &server.url("/events?after={{offset}}"), ITEMS);
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        let all = read(&*client, "t", 0).await;
        let expected =
            (1..=120).map(|id| (Some(id.to_string()), Some(format!(r#"{{"n": {id}.0}}"#))));
        assert_eq!(all, expected.collect::<Vec<_>>());
    });
}

#[test]
fn an_answer_that_has_not_changed_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|request, _| match request.headers.get("if-none-match") {
            Some(tag) if tag == "\"v1\"" => Answer::Status(304),
            _ => {
                let headers = vec![
                    ("etag", "\"v1\"".to_owned()),
                    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
                ];
                Answer::With(200, headers, "{\"temperature\": 20.50}".to_owned())
            }
        })
        .await;
        for _ in 0..3 {
            let config = poll(
                dir.path(),
                &server.url("/now"),
                "http.authorization.type=bearer\nhttp.authorization.token=abc",
            );
            let worker = Worker::start(client.clone(), vec![config], options(true));
            worker.sources_finished().await.unwrap();
            worker.shutdown().await.unwrap();
        }
        assert_eq!(values(&*client, "t").await, ["{\"temperature\": 20.50}"]);
        let all = server.received();
        assert_eq!(all.iter().map(|one| one.status).collect::<Vec<_>>(), [200, 304, 304]);
        assert_eq!(all[2].headers["if-modified-since"], "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(all[2].headers["authorization"], "Bearer abc");
    });
}

#[test]
fn what_does_not_answer_is_told_until_it_does() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let is_well = Arc::new(AtomicUsize::new(0));
        let told = is_well.clone();
        let server = TestServer::start(move |_, _| match told.load(Ordering::Relaxed) {
            0 => Answer::Status(500),
            _ => Answer::With(200, vec![], "[]".to_owned()),
        })
        .await;
        let more = "max.retries=-1\npoll.interval.ms=5";
        let config = poll(dir.path(), &server.url("/x"), more);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let mut statuses = worker.statuses();
        let status = statuses.wait_for(|all| all[0].trouble.is_some()).await.unwrap();
        let trouble = status[0].trouble.clone().unwrap();
        drop(status);
        let expected = format!("GET http://{}/x: 500 Internal Server Error", server.address);
        assert_eq!(trouble, expected);
        is_well.store(1, Ordering::Relaxed);
        statuses.wait_for(|all| all[0].trouble.is_none()).await.unwrap();
    });
}

#[test]
fn a_cursor_of_the_answer_goes_into_the_next_body() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|request, _| {
            let answer = match request.body.as_str() {
                r#"{"cursor": null}"# => r#"{"rows": [1, 2], "next": "a/b"}"#,
                r#"{"cursor": "a/b"}"# => r#"{"rows": [3], "next": "c"}"#,
                r#"{"cursor": "c"}"# => r#"{"rows": [], "next": "c"}"#,
                _ => return Answer::Status(400),
            };
            Answer::With(200, vec![], answer.to_owned())
        })
        .await;
        let more = "http.method=POST
            http.body={\"cursor\": {{offset}}}
            http.response.list.pointer=/rows
            http.response.offset.pointer=/next";
        let config = poll(dir.path(), &server.url("/rows"), more);
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        assert_eq!(values(&*client, "t").await, ["1", "2", "3"]);
    });
}

#[test]
fn answers_that_are_of_no_use_fail_the_task_and_say_why() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|request, _| match request.path.as_str() {
            "/html" => Answer::With(200, vec![], "<html>\n a login page".to_owned()),
            "/empty" => Answer::With(200, vec![], "{\"error\": \"none\"}".to_owned()),
            "/long" => Answer::With(200, vec![], format!("\"{}\"", "x".repeat(2000))),
            "/item" => Answer::With(200, vec![], "{\"items\": [{\"data\": 1}]}".to_owned()),
            _ => Answer::With(404, vec![], "no such thing".to_owned()),
        })
        .await;
        let mut told = String::new();
        for path in ["/none?key=s3cret", "/html", "/empty", "/long", "/item"] {
            let more = format!("{ITEMS}\nmax.retries=1\nhttp.response.bytes.max=1000");
            let config = poll(dir.path(), &server.url(path), &more);
            let worker = Worker::start(client.clone(), vec![config], options(false));
            let error = worker.failed().await.to_string();
            told.push_str(&error.replace(&server.address.to_string(), "HOST"));
            told.push('\n');
        }
        expect_test::expect![[r#"
            connector 'poll', task 0: GET http://HOST/none: 404 Not Found: no such thing
            connector 'poll', task 0: GET http://HOST/html: the answer is no JSON: expected value at line 1 column 1: 200 OK: <html> a login page
            connector 'poll', task 0: GET http://HOST/empty: there is nothing at http.response.list.pointer in the answer: 200 OK: {"error": "none"}
            connector 'poll', task 0: GET http://HOST/long: the answer has more than http.response.bytes.max = 1000 bytes
            connector 'poll', task 0: GET http://HOST/item: item 0 of the answer has nothing at its http.response.record.offset.pointer
        "#]]
        .assert_eq(&told);
        assert_eq!(values(&*client, "t").await, [] as [&str; 0]);
    });
}

#[test]
fn a_token_is_asked_for_once_and_renewed_when_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|request, before| match request.path.as_str() {
            "/token" if !request.body.contains("client_secret=s3cret") => Answer::Status(400),
            "/token" => Answer::With(200, vec![], format!("{{\"token\": \"t{before}\"}}")),
            path => {
                let after: usize = path.rsplit('=').next().unwrap().parse().unwrap();
                match request.headers["authorization"].as_str() {
                    // The second one is that of the fifth request.
                    "Bearer t0" if after < 6 => page(after + 1..after + 4),
                    "Bearer t4" => page(after + 1..(after + 4).min(10)),
                    _ => Answer::Status(401),
                }
            }
        })
        .await;
        let more = format!(
            "{ITEMS}\nhttp.authorization.type=oauth2\noauth2.access.token.url={}
            oauth2.client.id=us\noauth2.client.secret=s3cret
            oauth2.client.authorization.mode=url\noauth2.response.token.property=token",
            server.url("/token")
        );
        let config = poll(dir.path(), &server.url("/events?after={{offset}}"), &more);
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        worker.shutdown().await.unwrap();
        assert_eq!(values(&*client, "t").await.len(), 9);
        let tokens = server.received().iter().filter(|one| one.path == "/token").count();
        assert_eq!(tokens, 2);
    });
}
