//! Clients by TLS and SASL: what lets them in, what does not and how soon that is said, and logins
//! that have to be renewed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use broker::client::admin::Admin;
use broker::client::secured::Secured;
use broker::client::{
    ClientError, Isolation, ProducerOptions, ReaderEvent, ReaderOptions, RemoteClient,
    RemoteOptions,
};
use broker::security::SecurityProtocol;
use broker::security::sasl::{Mechanism, SaslConfig};
use broker::security::scram::ScramMechanism;
use broker::security::tls::{ClientAuth, Pem, TlsConfig};
use broker::server::{ListenerConfig, ServerConfig};
use std::sync::Arc;

use crate::certificates::Certificates;
use crate::harness::{self, Serving, Subject, Target};

/// Less than librdkafka tries for, or waits between tries.
const SOON: Duration = Duration::from_secs(15);
const PASSWORD: &str = "al1ce's, \"own\"";

/// A broker with one listener of each kind.
pub struct Guarded {
    certificates: Certificates,
    serving: Serving,
    dir: tempfile::TempDir,
}

impl Guarded {
    pub async fn start(session_max: Option<Duration>) -> Guarded {
        let certificates = Certificates::new();
        for name in ["server", "carol"] {
            certificates.certify(name, &format!("/CN={name}"));
        }
        let file = |name: &str| Pem::File(certificates.path(name));
        let tls = TlsConfig {
            authorities: Some(file("ca.crt")),
            ..TlsConfig::new(file("server.crt"), file("server.key"))
        };
        let mutual = TlsConfig { client_auth: ClientAuth::Required, ..tls.clone() };
        let scram = ScramMechanism::ALL.map(Mechanism::Scram);
        let mechanisms = [&[Mechanism::Plain], &scram[..]].concat();
        let of = |protocol: SecurityProtocol, host: &str, tls: Option<&TlsConfig>| ListenerConfig {
            name: format!("{protocol} at {host}"),
            protocol,
            tls: tls.cloned(),
            mechanisms: mechanisms.clone(),
            ..ListenerConfig::plaintext(format!("{host}:0"))
        };
        let listeners = vec![
            of(SecurityProtocol::Plaintext, "127.0.0.1", None),
            of(SecurityProtocol::SaslPlaintext, "127.0.0.1", None),
            of(SecurityProtocol::SaslSsl, "127.0.0.1", Some(&tls)),
            of(SecurityProtocol::Ssl, "127.0.0.1", Some(&mutual)),
            // No certificate is for this one.
            of(SecurityProtocol::SaslSsl, "127.0.0.2", Some(&tls)),
        ];
        let failure_delay = Duration::from_millis(10);
        let sasl = SaslConfig { session_max, failure_delay, ..SaslConfig::default() };
        let config = ServerConfig { listeners, sasl, ..ServerConfig::new("127.0.0.1:0") };
        let (dir, broker) = harness::new_broker().await;
        let serving = Serving::with(broker, config).await;
        let guarded = Guarded { certificates, serving, dir };
        guarded.set_password(PASSWORD).await;
        guarded
    }

    async fn set_password(&self, password: &str) {
        let admin = Admin::connect(&self.address(0)).await.unwrap();
        for mechanism in ScramMechanism::ALL {
            admin.set_password("alice", mechanism, 4096, password).await.unwrap();
        }
    }

    fn address(&self, listener: usize) -> String {
        self.serving.addresses[listener].to_string()
    }

    fn file(&self, name: &str) -> String {
        self.certificates.path(name).display().to_string()
    }

    /// What lets alice in, and more.
    fn alice(&self, protocol: &str, mechanism: &str, more: &[(&str, &str)]) -> Secured {
        let quoted = PASSWORD.replace('"', "\\\"");
        let jaas = format!("a.b.LoginModule required username=\"alice\" password=\"{quoted}\";");
        let authority = self.file("ca.crt");
        let mut all = vec![
            ("security.protocol", protocol),
            ("sasl.mechanism", mechanism),
            ("sasl.jaas.config", &jaas),
        ];
        if protocol == "SASL_SSL" {
            all.push(("ssl.truststore.location", &authority));
        }
        secured(&[&all[..], more].concat())
    }

    fn scram(&self) -> Secured {
        self.alice("SASL_SSL", "SCRAM-SHA-512", &[])
    }

    /// Everything that is needed to live.
    pub async fn target(self) -> Target {
        let client = connect(&self.address(2), self.scram()).await.unwrap();
        Target::keeping(client, Box::new(self))
    }

    async fn metrics(&self) -> String {
        self.serving.broker.metrics_text().await
    }
}

fn secured(properties: &[(&str, &str)]) -> Secured {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let properties: BTreeMap<String, String> = properties.iter().map(own).collect();
    Secured::of_properties(&properties).unwrap()
}

async fn connect(address: &str, secured: Secured) -> Result<Subject, ClientError> {
    let options = RemoteOptions { secured, ..RemoteOptions::default() };
    let connected = tokio::time::timeout(SOON, RemoteClient::connect(address, options));
    let client = connected.await.expect("librdkafka's patience is not waited for")?;
    Ok(Arc::new(client))
}

async fn refused(address: &str, secured: Secured) -> String {
    let error = connect(address, secured).await.err().expect("it lets nobody in");
    let told = error.to_string();
    assert!(!told.contains("al1ce's") && !told.contains("wr0ng"), "{told}");
    told
}

/// Writes and reads, in a group and not, in a transaction and not.
async fn work(client: &Subject) {
    let topic = harness::topic(client, "secured", 1).await;
    let at = harness::at(&topic, 0);
    harness::write(client, &at, harness::values(["one"])).await;
    let mut producer = harness::transactional_producer(client, &topic).await;
    producer.begin().await.unwrap();
    producer.send(&at, harness::values(["two"])).await.unwrap();
    producer.commit(None).await.unwrap();
    let mut reader =
        client.reader(ReaderOptions::group(&topic, vec![topic.clone()])).await.unwrap();
    let mut records = 0;
    while records < 2 {
        if let ReaderEvent::Batches(found) = reader.next().await.unwrap() {
            records +=
                found.batches.iter().map(|batch| batch.records().unwrap().len()).sum::<usize>();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_in_leads_to_records() {
    let guarded = Guarded::start(None).await;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for (listener, protocol) in [(1, "SASL_PLAINTEXT"), (2, "SASL_SSL")] {
            let way = guarded.alice(protocol, mechanism, &[]);
            let client = connect(&guarded.address(listener), way).await;
            harness::in_time(work(&client.unwrap())).await;
        }
    }
    let (ca, crt, key) =
        (guarded.file("ca.crt"), guarded.file("carol.crt"), guarded.file("carol.key"));
    let mutual = [
        ("security.protocol", "SSL"),
        ("ssl.ca.location", ca.as_str()),
        ("ssl.certificate.location", &crt),
        ("ssl.key.location", &key),
    ];
    let client = connect(&guarded.address(3), secured(&mutual)).await.unwrap();
    harness::in_time(work(&client)).await;
    // A name that the certificate does not have, as it was asked for.
    let unchecked = [("ssl.endpoint.identification.algorithm", "")];
    let unchecked = guarded.alice("SASL_SSL", "PLAIN", &unchecked);
    let client = connect(&guarded.address(4), unchecked).await.unwrap();
    harness::in_time(work(&client)).await;
    // Members that share something else than partitions come in as well.
    let coordinator = client.coordinator().await.unwrap();
    assert!(coordinator.leave("none", "nobody").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_hears_why() {
    let guarded = Guarded::start(None).await;
    let expect = async |listener: usize, secured: Secured, expected: &[&str]| {
        let begun = Instant::now();
        let told = refused(&guarded.address(listener), secured).await;
        for part in expected {
            assert!(told.contains(part), "{told}");
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}: {told}", begun.elapsed());
    };
    let wrong = [("sasl.jaas.config", "x username=\"alice\" password=\"wr0ng\";")];
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let wrong = guarded.alice("SASL_SSL", mechanism, &wrong);
        expect(2, wrong, &["does not let us in: Authentication failed", "sasl.jaas.config"]).await;
    }
    let other = Certificates::new();
    let other = other.path("ca.crt").display().to_string();
    let stranger = guarded.alice("SASL_SSL", "PLAIN", &[("ssl.truststore.location", &other)]);
    expect(2, stranger, &["does not let us in", "certificate", "ssl.truststore.location"]).await;
    expect(4, guarded.scram(), &["not valid for name", "127.0.0.2"]).await;
    let ca = guarded.file("ca.crt");
    let nobody = [("security.protocol", "SSL"), ("ssl.truststore.location", ca.as_str())];
    expect(3, secured(&nobody), &["CertificateRequired", "ssl.keystore.location"]).await;
    // TLS to a port without, and the other way round.
    expect(1, guarded.scram(), &["security.protocol"]).await;
    let plain = guarded.alice("SASL_PLAINTEXT", "PLAIN", &[]);
    expect(2, plain, &["this port speaks TLS", "security.protocol=SSL or SASL_SSL"]).await;
    let token = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token", "a.b.c"),
    ];
    expect(1, secured(&token), &["it takes PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"]).await;
}

/// Over several sessions nothing is lost or doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_are_renewed_between_records() {
    const RECORDS: usize = 700;
    let guarded = Guarded::start(Some(Duration::from_millis(2000))).await;
    let client = connect(&guarded.address(2), guarded.scram()).await.unwrap();
    let topic = harness::topic(&client, "long", 1).await;
    let at = harness::at(&topic, 0);
    let mut reader = harness::reader_at(&client, &at, 0, Isolation::ReadCommitted).await;
    let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
    let begun = Instant::now();
    let write = async {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        for number in 0..RECORDS {
            pace.tick().await;
            producer.send(&at, harness::values([number])).await.unwrap();
        }
        producer.flush().await.unwrap();
    };
    let read = async {
        let mut numbers: Vec<String> = Vec::new();
        while numbers.len() < RECORDS {
            let found = harness::next_batches(reader.as_mut()).await.unwrap();
            for batch in &found.batches {
                for record in batch.records().unwrap().iter() {
                    let value = record.unwrap().value.unwrap().to_vec();
                    numbers.push(String::from_utf8(value).unwrap());
                }
            }
        }
        numbers
    };
    let both = async { tokio::join!(write, read) };
    let ((), numbers) = tokio::time::timeout(Duration::from_secs(90), both).await.unwrap();
    let expected: Vec<String> = (0..RECORDS).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected);
    assert!(begun.elapsed() > Duration::from_millis(6500), "several sessions");
    let metrics = guarded.metrics().await;
    assert!(metrics.contains("millstream_authentications_failed_total 0"), "{metrics}");
}

/// A password that is changed ends what goes on under the old one, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_let_in_no_more_hears_why() {
    let guarded = Guarded::start(Some(Duration::from_millis(2000))).await;
    let client = connect(&guarded.address(2), guarded.scram()).await.unwrap();
    let topic = harness::topic(&client, "until", 1).await;
    let at = harness::at(&topic, 0);
    let mut reader = harness::reader_at(&client, &at, 0, Isolation::ReadCommitted).await;
    let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
    producer.send(&at, harness::values(["one"])).await.unwrap();
    producer.flush().await.unwrap();
    guarded.set_password("another").await;
    let ended = async {
        loop {
            if let Err(error) = reader.next().await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(SOON, ended).await.expect("it is told soon");
    assert!(matches!(&error, ClientError::NotLetIn { .. }), "{error}");
    assert!(error.to_string().contains("Authentication failed"), "{error}");
    let ended = async {
        loop {
            if let Err(error) = producer.send(&at, harness::values(["two"])).await {
                return error;
            }
            if let Err(error) = producer.flush().await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(SOON, ended).await.expect("it is told soon");
    assert!(matches!(&error, ClientError::NotLetIn { .. }), "{error}");
    drop(guarded.dir);
}
