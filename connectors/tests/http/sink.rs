//! What services get, when, and what becomes of records that they will not have.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use broker::client::{Client, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use connectors::{ConnectorConfig, ConnectorState, Worker, validate};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::server::{Answer, TestServer};
use super::support::{connector, ensure_topic, options, process, read};

fn sink(dir: &Path, url: &str, more: &str) -> ConnectorConfig {
    let common = "connector.class=http-sink\ntopics=t\nretry.backoff.ms=5";
    connector(dir, "calls", &format!("{common}\nhttp.url={url}\n{more}"))
}

/// Records with keys, of which an empty one is none, and values, of which `-` is none.
async fn produce(client: &dyn Client, records: &[(&str, &str)]) {
    ensure_topic(client, "t").await;
    let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
    let mut batch = BatchBuilder::default();
    for (key, value) in records {
        let key = (!key.is_empty()).then_some(key.as_bytes());
        batch.append(0, key, (*value != "-").then_some(value.as_bytes()));
    }
    producer.send(&TopicPartition::new("t", 0), batch).await.unwrap();
    producer.flush().await.unwrap();
}

async fn committed(client: &dyn Client) -> Option<i64> {
    let partition = TopicPartition::new("t", 0);
    let committed = client.committed_offsets("connect-calls", &[partition]).await.unwrap();
    committed[0].as_ref().map(|it| it.offset.0)
}

/// Delivers all that is there.
async fn finish(client: &Arc<dyn Client>, config: ConnectorConfig) -> connectors::ConnectorStatus {
    let worker = Worker::start(client.clone(), vec![config], options(false));
    worker.finish_sinks_at_end().await.unwrap();
    worker.shutdown().await.unwrap().connectors[0].clone()
}

#[test]
fn each_record_is_a_call_with_what_the_templates_make_of_it() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|_, _| Answer::Status(201)).await;
        let value = r#"{"id": 7.50, "name": "A & B"}"#;
        produce(&*client, &[("k/1", value), ("", "-"), ("", r#"{"id": 8, "name": "x"}"#)]).await;
        let more = "http.headers.additional=Idempotency-Key:{{topic}}-{{offset}},X-Fixed:yes
            http.authorization.type=basic
            http.authorization.user=ann
            http.authorization.password=s3cret
            http.max.in.flight=1";
        let url = server.url("/people/{{value.name}}?id={{value.id}}");
        let status = finish(&client, sink(dir.path(), &url, more)).await;
        assert_eq!((status.records, status.skipped), (2, 1));
        let received = server.received();
        assert_eq!(received.len(), 2);
        let first = &received[0];
        assert_eq!(
            (first.method.as_str(), first.path.as_str()),
            ("POST", "/people/A%20%26%20B?id=7.50")
        );
        assert_eq!(first.body, value);
        let header = |name: &str| first.headers[name].as_str();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("idempotency-key"), "t-0");
        assert_eq!(header("x-fixed"), "yes");
        assert_eq!(header("authorization"), "Basic YW5uOnMzY3JldA==");
        assert_eq!(received[1].headers["idempotency-key"], "t-2");
        assert_eq!(committed(&*client).await, Some(3));
    });
}

#[test]
fn a_record_calls_none_one_or_several_services() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|_, _| Answer::Status(200)).await;
        let orders = [("a", 50), ("b", 150), ("a", 200)];
        let records = orders.map(|(who, amount)| format!(r#"{{"who":"{who}","amount":{amount}}}"#));
        produce(&*client, &[("", &records[0]), ("", &records[1]), ("", &records[2])]).await;
        let properties = format!(
            "connector.class=http-sink
            topics=t
            http.max.in.flight=1
            services=large, of-a
            http.headers.additional=X-From:us
            service.large.http.url={}
            service.large.condition=value.amount > 100
            service.large.http.body={{\"big\": {{{{value.amount}}}}}}
            service.of-a.http.url={}
            service.of-a.http.method=PUT
            service.of-a.condition=value.who = 'a' and value.amount >= 100",
            server.url("/large"),
            server.url("/a/{{offset}}"),
        );
        let status = finish(&client, connector(dir.path(), "calls", &properties)).await;
        assert_eq!((status.records, status.skipped), (2, 1));
        let all = server.received();
        assert!(all.iter().all(|one| one.headers["x-from"] == "us"));
        let mut all: Vec<_> = all.into_iter().map(|it| (it.method, it.path, it.body)).collect();
        all.sort();
        let expected = [
            ("POST", "/large", r#"{"big": 150}"#),
            ("POST", "/large", r#"{"big": 200}"#),
            ("PUT", "/a/2", records[2].as_str()),
        ];
        assert_eq!(all, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    });
}

/// A server that fails in each way there is, and a worker that is killed again and again: what was
/// taken last of each key is in order, and nothing is missing.
#[test]
fn through_faults_and_kills_all_is_delivered_in_order_per_key() {
    let dir = tempfile::tempdir().unwrap();
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    let mut taken: Vec<String> = Vec::new();
    let mut total = 0;
    let mut faults = 0;
    for round in 0..6usize {
        process(dir.path(), async |client| {
            let fault = AtomicUsize::new(round * 7919 + 1);
            let server = TestServer::start(move |_, _| {
                let seed = fault
                    .load(Ordering::Relaxed)
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                fault.store(seed, Ordering::Relaxed);
                match (seed >> 33) % 12 {
                    0 => Answer::Status(503),
                    1 => Answer::Break,
                    2 => Answer::With(429, vec![("retry-after", "0".to_owned())], String::new()),
                    3 => Answer::After(Duration::from_millis(3), 200),
                    _ => Answer::Status(200),
                }
            })
            .await;
            let records: Vec<(String, String)> = (0..60)
                .map(|n| {
                    (keys[(n * 5 + round) % 7].to_owned(), format!("{{\"n\": {}}}", total + n))
                })
                .collect();
            total += records.len();
            let borrowed: Vec<(&str, &str)> =
                records.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            produce(&*client, &borrowed).await;
            let more = "http.max.in.flight=4\nmax.retries=-1\nhttp.body={\"k\": {{key}}, \"v\": {{value}}}";
            let config = sink(dir.path(), &server.url("/"), more);
            if round < 5 {
                let worker = Worker::start(client.clone(), vec![config], options(false));
                let enough = 10 + round * 13;
                while server.accepted().len() < enough {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                drop(worker);
            } else {
                finish(&client, config).await;
                assert_eq!(committed(&*client).await, Some(total as i64));
            }
            faults += server.received().len() - server.accepted().len();
            taken.extend(server.accepted());
        });
    }
    assert!(faults > 20, "{faults}");
    // The last time that each was taken; before that it may have been, by a worker that was killed.
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let mut of_key: BTreeMap<usize, String> = BTreeMap::new();
    for (at, body) in taken.iter().enumerate() {
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        let number = json["v"]["n"].as_u64().unwrap() as usize;
        last.insert(number, at);
        of_key.insert(number, json["k"].as_str().unwrap().to_owned());
    }
    assert_eq!(last.len(), total);
    for key in keys {
        let order: Vec<usize> =
            of_key.iter().filter(|(_, of)| *of == key).map(|(number, _)| last[number]).collect();
        assert!(order.is_sorted(), "{key}: {order:?}");
    }
}

#[test]
fn what_is_refused_becomes_a_dead_letter_that_says_why() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|request, _| match request.body.as_str() {
            "{\"n\":1}" => Answer::With(404, vec![], "no  such\ncustomer".to_owned()),
            "{\"n\":2}" => Answer::Status(500),
            _ => Answer::Status(200),
        })
        .await;
        let values = ["{\"n\":0}", "{\"n\":1}", "{\"n\":2}", "{\"n\":3}"];
        produce(&*client, &values.map(|value| ("k", value))).await;
        let more = "max.retries=2
            errors.tolerance=all
            errors.deadletterqueue.topic.name=dead
            errors.deadletterqueue.context.headers.enable=true";
        let status = finish(&client, sink(dir.path(), &server.url("/x?key=s3cret"), more)).await;
        assert_eq!((status.records, status.skipped), (2, 2));
        // Those of one key came one after the other, the retries in between.
        let bodies: Vec<_> =
            server.received().into_iter().map(|it| it.body[5..6].to_owned()).collect();
        assert_eq!(bodies, ["0", "1", "2", "2", "2", "3"]);
        let dead = read(&*client, "dead", 0).await;
        let values: Vec<_> = dead.iter().map(|(_, value)| value.as_deref().unwrap()).collect();
        assert_eq!(values, ["{\"n\":1}", "{\"n\":2}"]);
        let reasons = headers(&*client, "dead", "__connect.errors.exception.message").await;
        let at = server.address;
        assert_eq!(
            reasons[0],
            format!("refused: POST http://{at}/x: 404 Not Found: no such customer")
        );
        assert_eq!(
            reasons[1],
            format!("refused: POST http://{at}/x: 500 Internal Server Error; tried 3 times")
        );
        assert_eq!(committed(&*client).await, Some(4));
    });
}

/// One header of all records of a topic.
async fn headers(client: &dyn Client, topic: &str, name: &str) -> Vec<String> {
    use broker::client::{ReaderEvent, ReaderOptions};
    let from = vec![(TopicPartition::new(topic, 0), broker::ids::Offset::ZERO)];
    let mut reader = client.reader(ReaderOptions::partitions(from)).await.unwrap();
    let mut found = Vec::new();
    loop {
        let ReaderEvent::Batches(fetched) = reader.next().await.unwrap() else { unreachable!() };
        for batch in &fetched.batches {
            for record in batch.records().unwrap().iter() {
                let record = record.unwrap();
                let mut headers = record.headers();
                let value = headers.find(|it| it.key == name).and_then(|it| it.value).unwrap();
                found.push(String::from_utf8(value.to_vec()).unwrap());
            }
        }
        if fetched.next_offset >= fetched.end_offset {
            return found;
        }
    }
}

#[test]
fn without_tolerance_the_first_record_refused_fails_the_task_and_none_after_it_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|request, _| match request.body.as_str() {
            "2" => Answer::Status(422),
            _ => Answer::Status(200),
        })
        .await;
        produce(&*client, &["0", "1", "2", "3", "4"].map(|value| ("k", value))).await;
        let config = sink(dir.path(), &server.url("/x"), "");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let error = worker.failed().await.to_string();
        let error = error.replace(&server.address.to_string(), "HOST");
        expect_test::expect!["connector 'calls', task 0: record at offset 2 of partition t-0: refused: POST http://HOST/x: 422 Unprocessable Entity; with errors.tolerance=all such records are skipped and counted"]
            .assert_eq(&error);
        assert_eq!(server.accepted(), ["0", "1"]);
        assert_eq!(committed(&*client).await, Some(2));
    });
}

/// One record that nobody took had all before it delivered again by each of the starts that follow
/// a failure by themselves: six times in all.
#[test]
fn what_was_delivered_before_a_failure_does_not_come_again_at_the_next_start() {
    // What a service refuses, what fails the task whatever the record, and what no call is for.
    let mistakes = [("5", 422, ""), ("5", 401, ""), ("no json", 200, "http.body={{value.n}}")];
    for (bad, status, more) in mistakes {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), async |client| {
            let server = TestServer::start(move |request, _| match request.body == bad {
                true => Answer::Status(status),
                false => Answer::Status(200),
            })
            .await;
            let good: Vec<String> = (0..5).map(|n| format!("{{\"n\":{n}}}")).collect();
            let values = good.iter().map(String::as_str).chain([bad, "{\"n\":6}"]);
            produce(&*client, &values.map(|value| ("k", value)).collect::<Vec<_>>()).await;
            for start in 0..3 {
                let config = sink(dir.path(), &server.url("/x"), more);
                let worker = Worker::start(client.clone(), vec![config], options(false));
                let error = worker.failed().await.to_string();
                assert_eq!(worker.statuses().borrow()[0].records, if start == 0 { 5 } else { 0 });
                worker.shutdown().await.unwrap_err();
                let accepted = server.accepted().len();
                assert_eq!((accepted, committed(&*client).await), (5, Some(5)), "{error}");
            }
        });
    }
}

#[test]
fn a_service_that_does_not_answer_is_told_until_it_does() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let is_well = Arc::new(AtomicBool::new(false));
        let told = is_well.clone();
        let server = TestServer::start(move |_, _| match told.load(Ordering::Relaxed) {
            false => Answer::Status(503),
            true => Answer::Status(200),
        })
        .await;
        produce(&*client, &[("", "0")]).await;
        let config = sink(dir.path(), &server.url("/x"), "max.retries=-1");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let mut statuses = worker.statuses();
        let status = statuses.wait_for(|all| all[0].trouble.is_some()).await.unwrap();
        let trouble = status[0].trouble.clone().unwrap();
        drop(status);
        let expected = format!("POST http://{}/x: 503 Service Unavailable", server.address);
        assert_eq!(trouble, expected);
        is_well.store(true, Ordering::Relaxed);
        statuses.wait_for(|all| all[0].trouble.is_none() && all[0].records == 1).await.unwrap();
    });
}

#[test]
fn a_wrong_password_fails_the_task_and_no_record() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|_, _| Answer::Status(401)).await;
        produce(&*client, &[("", "0")]).await;
        let config = sink(dir.path(), &server.url("/x"), "errors.tolerance=all");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let error = worker.failed().await.to_string();
        assert!(error.contains("401 Unauthorized; look at http.authorization.*"), "{error}");
        assert_eq!(committed(&*client).await, None);
    });
}

#[test]
fn a_batch_is_one_call_and_a_bad_record_in_it_is_found() {
    find_a_bad_record(400, 4);
}

/// Of another status than 400, 413 and 422 all of its batch were dead letters.
#[test]
fn a_bad_record_is_found_whatever_the_service_calls_it() {
    find_a_bad_record(409, 4);
    // Twice more as a whole, and halves once.
    find_a_bad_record(500, 6);
}

/// `refused`: calls that the service refuses, of 8, 4, 2 records and the one.
fn find_a_bad_record(status: u16, refused: usize) {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(move |request, _| match request.body.contains("\"bad\"") {
            true => Answer::Status(status),
            false => Answer::Status(200),
        })
        .await;
        let values: Vec<String> = (0..20)
            .map(|n| if n == 13 { "\"bad\"".to_owned() } else { n.to_string() })
            .chain(["no json".to_owned()])
            .collect();
        let records: Vec<_> = values.iter().map(|value| ("k", value.as_str())).collect();
        produce(&*client, &records).await;
        let more = "batching.enabled=true
            batch.format=array
            batch.max.size=8
            max.retries=2
            errors.tolerance=all
            errors.deadletterqueue.topic.name=dead";
        let status = finish(&client, sink(dir.path(), &server.url("/"), more)).await;
        assert_eq!((status.records, status.skipped), (19, 2));
        let calls = server.received().len();
        assert_eq!(calls - server.accepted().len(), refused, "{calls} calls");
        let all: Vec<i64> = server
            .accepted()
            .iter()
            .flat_map(|body| serde_json::from_str::<Vec<i64>>(body).unwrap())
            .collect();
        assert_eq!(all, (0..20).filter(|n| *n != 13).collect::<Vec<_>>());
        let bodies = server.accepted();
        assert_eq!(bodies[0], "[0,1,2,3,4,5,6,7]");
        let dead = read(&*client, "dead", 0).await;
        assert_eq!(
            dead.iter().map(|one| one.1.as_deref().unwrap()).collect::<Vec<_>>(),
            ["\"bad\"", "no json"]
        );
    });
}

#[test]
fn lines_are_what_aivens_connector_sends() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|_, _| Answer::Status(200)).await;
        produce(&*client, &["1", "2", "3"].map(|value| ("k", value))).await;
        let properties = format!(
            "connector.class=io.aiven.kafka.connect.http.HttpSinkConnector
            topics=t
            http.url={}
            http.authorization.type=static
            http.headers.authorization=Token abc
            http.headers.content.type=text/plain
            batching.enabled=true
            batch.max.size=2
            http.timeout=5",
            server.url("/"),
        );
        finish(&client, connector(dir.path(), "calls", &properties)).await;
        assert_eq!(server.accepted(), ["1\n2", "3"]);
        let headers = server.received()[0].headers.clone();
        assert_eq!(
            (headers["content-type"].as_str(), headers["authorization"].as_str()),
            ("text/plain", "Token abc")
        );
    });
}

#[test]
fn tombstones_delete_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|_, _| Answer::Status(204)).await;
        produce(&*client, &[("a", "1"), ("a", "-"), ("a", "2")]).await;
        let more = "behavior.on.null.values=delete\nhttp.method=PUT";
        let config = sink(dir.path(), &server.url("/things/{{key}}"), more);
        assert_eq!(finish(&client, config).await.records, 3);
        let all = server
            .received()
            .into_iter()
            .map(|it| format!("{} {} {}", it.method, it.path, it.body));
        assert_eq!(
            all.collect::<Vec<_>>(),
            ["PUT /things/a 1", "DELETE /things/a ", "PUT /things/a 2"]
        );
    });
}

#[test]
fn a_server_says_when_to_come_again_and_where() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|request, before| match (request.path.as_str(), before) {
            ("/old", 0) => Answer::With(503, vec![("retry-after", "1".to_owned())], String::new()),
            ("/old", _) => Answer::With(307, vec![("location", "/new".to_owned())], String::new()),
            ("/moved", _) => {
                Answer::With(302, vec![("location", "/new".to_owned())], String::new())
            }
            _ => Answer::Status(200),
        })
        .await;
        produce(&*client, &[("", "1")]).await;
        finish(&client, sink(dir.path(), &server.url("/old"), "")).await;
        let all = server.received();
        let paths: Vec<_> = all.iter().map(|it| (it.path.as_str(), it.body.as_str())).collect();
        assert_eq!(paths, [("/old", "1"), ("/old", "1"), ("/new", "1")]);
        assert!(all[1].at - all[0].at >= Duration::from_secs(1));
        // A redirect that would make a GET of it is no success.
        produce(&*client, &[("", "2")]).await;
        let config = sink(dir.path(), &server.url("/moved"), "");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let error = worker.failed().await.to_string();
        assert!(error.contains("302 Found, to /new, which would change the call"), "{error}");
    });
}

/// Slow answers must hold up neither the commits of what is done, nor a stop.
#[test]
fn a_slow_service_is_committed_as_it_goes_and_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let down = Arc::new(AtomicBool::new(false));
        let is_down = down.clone();
        let server = TestServer::start(move |_, _| match is_down.load(Ordering::Relaxed) {
            true => Answer::Status(503),
            false => Answer::After(Duration::from_millis(100), 200),
        })
        .await;
        let records: Vec<(&str, &str)> = (0..40).map(|_| ("k", "1")).collect();
        produce(&*client, &records).await;
        let more = "retry.backoff.ms=60000\nmax.retries=-1";
        let config = sink(dir.path(), &server.url("/"), more);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let mut statuses = worker.statuses();
        statuses.wait_for(|all| all[0].records > 0).await.unwrap();
        while committed(&*client).await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(committed(&*client).await.unwrap() < 40);
        down.store(true, Ordering::Relaxed);
        while server.received().last().unwrap().status != 503 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let begin = Instant::now();
        worker.shutdown().await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert_eq!(committed(&*client).await.unwrap() as usize, server.accepted().len());
    });
}

#[test]
fn a_server_that_is_not_trusted_gets_nothing_and_one_that_is_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &path("key.pem")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-out", &path("ca.pem")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    process(dir.path(), async |client| {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_file(path("ca.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(path("key.pem")).unwrap();
        let tls = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let server = TestServer::start_with(Some(acceptor), |_, _| Answer::Status(200)).await;
        produce(&*client, &[("", "1")]).await;
        let url = server.url("/").replace("http:", "https:");
        let worker =
            Worker::start(client.clone(), vec![sink(dir.path(), &url, "")], options(false));
        let error = worker.failed().await.to_string();
        assert!(error.contains("its certificate is not trusted"), "{error}");
        let trusting = sink(dir.path(), &url, "http.ssl.truststore.location=ca.pem");
        finish(&client, trusting).await;
        assert_eq!(server.accepted(), ["1"]);
    });
}

#[test]
fn a_server_that_is_not_there_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        produce(&*client, &[("", "1")]).await;
        let config = sink(dir.path(), "http://127.0.0.1:1/x", "max.retries=2");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let error = worker.failed().await.to_string();
        assert!(error.contains("POST http://127.0.0.1:1/x: cannot connect: "), "{error}");
        assert!(error.contains("tried 3 times"), "{error}");
        assert!(matches!(worker.statuses().borrow()[0].state, ConnectorState::Failed(_)));
    });
}

/// What is wrong with properties.
fn problems(properties: &str) -> String {
    let lines = properties.lines().filter_map(|line| line.split_once('='));
    let properties: BTreeMap<String, String> =
        lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect();
    let problems = validate("calls", &properties, Path::new("/nowhere")).unwrap_err();
    let words = problems.iter().map(|problem| problem.in_words());
    words.collect::<Vec<_>>().join("\n")
}

#[test]
fn mistakes_are_told_before_anything_starts() {
    let common = "connector.class=http-sink\ntopics=t";
    expect_test::expect![[r#"
        `service.a.http.url` is missing: the service's address; for example `service.a.http.url = https://crm.example/customers`
        `service.b.http.url` is missing: the service's address; for example `service.b.http.url = https://crm.example/customers`
        `service.a.http.ulr`: a service has no key `http.ulr`; did you mean `service.a.http.url`?
        `service.c.http.url`: there is no service 'c'; add it to `services`"#]]
    .assert_eq(&problems(&format!(
        "{common}\nservices=a, b\nservice.a.http.ulr=http://h\nservice.c.http.url=x"
    )));
    expect_test::expect![[r#"
        `retry.on.status.codes`: '6xx' is no status code from 100 to 599, no range such as 500-599, nor 5xx
        `http.ssl.truststore.location`: /nowhere/ca.pem: No such file or directory (os error 2); name a file that this worker can read
        `service.a.http.authorization.token` is missing: `http.authorization.type` is bearer
        `service.a.http.url`: a record has no 'vlaue.id'; there are key, value, topic, partition, offset, timestamp, header.NAME, and fields such as value.customer.name
        `service.b.http.authorization.token` is missing: `http.authorization.type` is bearer
        `service.b.http.url` is missing: the service's address; for example `service.b.http.url = https://crm.example/customers`
        `service.b.condition`: 'paid' is no value: a text stands in quotes, as 'paid'"#]]
    .assert_eq(&problems(&format!(
        "{common}\nservices=a, b\nservice.a.http.url=http://h/{{{{vlaue.id}}}}\nservice.b.condition=value.status = paid\nretry.on.status.codes=6xx\nhttp.authorization.type=bearer\nhttp.ssl.truststore.location=ca.pem"
    )));
}

/// A call that was to be tried again held up all others with the commit of what was delivered:
/// a worker that was killed often enough began at the same record each time.
#[test]
fn what_is_delivered_is_committed_while_others_are_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(|request, _| match request.body.as_str() {
            "7" => Answer::Status(503),
            _ => Answer::Status(200),
        })
        .await;
        let values: Vec<String> = (0..20).map(|id| id.to_string()).collect();
        let records: Vec<(&str, &str)> = values.iter().map(|value| ("", value.as_str())).collect();
        produce(&*client, &records).await;
        let more = "max.retries=-1\nretry.backoff.max.ms=200\nhttp.max.in.flight=4";
        let config = sink(dir.path(), &server.url("/x"), more);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let mut statuses = worker.statuses();
        statuses.wait_for(|all| all[0].records == 7).await.unwrap();
        let committed = async {
            while committed(&*client).await != Some(7) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), committed).await.unwrap();
        // It says why it does not get on, and each of the others was called once, in the meantime.
        statuses.wait_for(|all| all[0].trouble.is_some()).await.unwrap();
        let calls = |body: &str| server.received().iter().filter(|one| one.body == body).count();
        let before = calls("7");
        while calls("7") < before + 8 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!((0..20).filter(|id| *id != 7).all(|id| calls(&id.to_string()) == 1));
        assert!(statuses.borrow()[0].trouble.is_some());
        worker.shutdown().await.unwrap();
    });
}

/// Gives a token for a name and a secret; the calls of each are refused after the third.
fn with_tokens(request: &super::server::Received, before: usize) -> Answer {
    if request.path == "/token" {
        let json = |text: String| Answer::With(200, vec![], text);
        return match request.headers.get("authorization").map(String::as_str) {
            // `us` and `s3cret+/`, encoded as in a form first.
            Some("Basic dXM6czNjcmV0JTJCJTJG") if before == 0 => Answer::Status(503),
            Some("Basic dXM6czNjcmV0JTJCJTJG") => {
                json(format!(r#"{{"access_token": "t{before}", "expires_in": 3600}}"#))
            }
            _ => Answer::With(401, vec![], format!("no: {}", request.body)),
        };
    }
    let token = request.headers.get("authorization").and_then(|text| text.strip_prefix("Bearer t"));
    match token.and_then(|number| number.parse::<usize>().ok()) {
        Some(given) if before <= given + 3 => Answer::With(200, vec![], "[]".to_owned()),
        _ => Answer::Status(401),
    }
}

const OAUTH: &str = "http.authorization.type=oauth2
    oauth2.client.id=us
    oauth2.client.scope=read write
    oauth2.request.additional=audience:https://crm.example
    retry.backoff.ms=1200";

#[test]
fn a_token_is_asked_for_kept_and_renewed_when_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(with_tokens).await;
        let values: Vec<String> = (0..9).map(|id| id.to_string()).collect();
        let records: Vec<(&str, &str)> = values.iter().map(|value| ("k", value.as_str())).collect();
        produce(&*client, &records).await;
        let token = server.url("/token");
        let more =
            format!("{OAUTH}\noauth2.access.token.url={token}\noauth2.client.secret=s3cret+/");
        let config = connector(
            dir.path(),
            "calls",
            &format!("connector.class=http-sink\ntopics=t\nhttp.url={}\n{more}", server.url("/x")),
        );
        let status = finish(&client, config).await;
        assert_eq!((status.records, status.skipped), (9, 0));
        let (tokens, calls): (Vec<_>, Vec<_>) =
            server.received().into_iter().partition(|one| one.path == "/token");
        // One that failed, and one for every three calls.
        assert_eq!(tokens.len(), 4);
        let form =
            "grant_type=client_credentials&scope=read+write&audience=https%3A%2F%2Fcrm.example";
        assert!(tokens.iter().all(|one| one.body == form), "{tokens:?}");
        let done: Vec<_> = calls.iter().filter(|one| one.status == 200).collect();
        assert_eq!(done.iter().map(|one| one.body.as_str()).collect::<Vec<_>>(), values);
        assert_eq!(calls.len(), 9 + 2);
        assert_eq!(committed(&*client).await, Some(9));
    });
}

#[test]
fn a_token_that_is_not_given_is_said_without_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let server = TestServer::start(with_tokens).await;
        produce(&*client, &[("", "0")]).await;
        let token = server.url("/token");
        let more = format!(
            "{OAUTH}\noauth2.access.token.url={token}\noauth2.client.secret=hidden
            oauth2.client.authorization.mode=url"
        );
        let config =
            sink(dir.path(), &server.url("/x"), &more.replace("retry.backoff.ms=1200", ""));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let error = worker.failed().await.to_string();
        assert!(error.contains("a token from http://127.0.0.1"), "{error}");
        assert!(error.contains("401 Unauthorized: no: grant_type=client_credentials"), "{error}");
        assert!(error.contains("client_secret=***") && !error.contains("hidden"), "{error}");
        assert!(error.contains("look at oauth2.*"), "{error}");
        assert_eq!(committed(&*client).await, None);
        assert_eq!(server.received().len(), 1);
    });
    expect_test::expect![[r#"
        `oauth2.client.id` is missing: `http.authorization.type` is oauth2
        `oauth2.client.secret` is missing: `http.authorization.type` is oauth2"#]]
    .assert_eq(&problems(
        "connector.class=http-sink\ntopics=t\nhttp.url=http://h\nhttp.authorization.type=oauth2
        oauth2.access.token.url=ftp://h/token",
    ));
    expect_test::expect![
        "`oauth2.access.token.url`: 'ftp://h/token' begins with neither http:// nor https://"
    ]
    .assert_eq(&problems(
        "connector.class=http-poll-source\ntopic=t\nhttp.url=http://h
        http.authorization.type=oauth2\noauth2.access.token.url=ftp://h/token
        oauth2.client.id=a\noauth2.client.secret=b",
    ));
}
