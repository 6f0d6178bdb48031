//! Listeners with TLS and SASL, users and ACLs: the real binary, and clients that people use.

mod fixture;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fixture::{
    ROOT, Running, both, certificates, fail, finish, millstream, run_with, stdout, succeed,
    succeed_with, tools,
};
use tempfile::{TempDir, tempdir};

/// A broker with a listener of each kind.
struct Guarded {
    dir: TempDir,
    running: Running,
    /// By the names of listeners.
    addresses: Vec<(String, String)>,
}

const PROPERTIES: &str = "\
listeners=INSIDE://127.0.0.1:0,SSL://127.0.0.1:0,SASL_SSL://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0
listener.security.protocol.map=INSIDE:PLAINTEXT
log.dirs=data
ssl.keystore.type=PEM
ssl.keystore.location=server.pem
ssl.truststore.type=PEM
ssl.truststore.location=ca.crt
listener.name.ssl.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin
";

impl Guarded {
    fn start() -> Guarded {
        Guarded::start_with(PROPERTIES)
    }

    fn start_with(properties: &str) -> Guarded {
        let dir = tempdir().unwrap();
        certificates(dir.path());
        fs::write(dir.path().join("server.properties"), properties).unwrap();
        let create = ["users", "create", "admin", "--data-dir", "data"];
        succeed_with(dir.path(), &create, "admin's own\n");
        let mut running = Running::start(dir.path(), &["kafka-server-start", "server.properties"]);
        let line = running.wait_stderr("✓ listeners");
        let words: Vec<&str> = line.split_whitespace().collect();
        let addresses = words.windows(2).filter(|two| two[1].starts_with("127.0.0.1:"));
        let addresses =
            addresses.map(|two| (two[0].to_owned(), two[1].to_owned())).collect::<Vec<_>>();
        assert_eq!(addresses.len(), 4, "{line}");
        running.wait_stdout("Kafka Server started");
        let guarded = Guarded { dir, running, addresses };
        guarded.properties("admin", "SCRAM-SHA-512", "admin's own");
        guarded
    }

    fn address(&self, listener: &str) -> &str {
        let found = self.addresses.iter().find(|(name, _)| name == listener);
        &found.expect("one of the four").1
    }

    /// Makes NAME.properties, by which a user comes over SASL_SSL.
    fn properties(&self, user: &str, mechanism: &str, password: &str) {
        let text = format!(
            "security.protocol=SASL_SSL\nsasl.mechanism={mechanism}\nssl.truststore.type=PEM\n\
             ssl.truststore.location=ca.crt\n\
             sasl.jaas.config=a.b.LoginModule required username=\"{user}\" password=\"{password}\";\n"
        );
        fs::write(self.dir.path().join(format!("{user}.properties")), text).unwrap();
    }

    /// A command and how a user comes to the broker.
    fn as_user<'a>(&'a self, user: &'a str, words: &[&'a str]) -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned());
        let config = format!("{user}.properties");
        let broker = ["--bootstrap-server", self.address("SASL_SSL"), "--command-config", &config];
        words.chain(broker.map(str::to_owned)).collect()
    }

    fn admin(&self, words: &[&str], input: &str) -> String {
        let words = self.as_user("admin", words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = succeed_with(self.dir.path(), &words, input);
        stdout(&output) + &String::from_utf8_lossy(&output.stderr)
    }

    /// librdkafka's settings for a listener.
    fn settings(&self, listener: &str, more: &[&str]) -> Vec<String> {
        let ca = self.dir.path().join("ca.crt");
        let tls = listener.ends_with("SSL");
        let ca = tls.then(|| format!("ssl.ca.location={}", ca.display()));
        let first = [
            format!("bootstrap.servers={}", self.address(listener)),
            format!("security.protocol={listener}"),
        ];
        first.into_iter().chain(ca).chain(more.iter().map(|one| (*one).to_owned())).collect()
    }
}

fn client(command: &mut Command) -> String {
    // Cargo puts our own librdkafka before the system's, and it is built without TLS.
    let output = finish(command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null()));
    assert!(output.status.success(), "{command:?}: {}", both(&output));
    stdout(&output)
}

/// librdkafka's Python client by each way in, and kcat, whose librdkafka is an older one.
#[test]
fn clients_come_by_every_listener() {
    let guarded = Guarded::start();
    guarded.admin(&["users", "create", "alice", "--mechanism", "SCRAM-SHA-256"], "al1ce\n");
    guarded.admin(&["topics", "create", "orders", "--partitions", "2"], "");
    guarded.admin(&["topics", "create", "secret"], "");
    let grant =
        |words: &[&str]| guarded.admin(&[&["acls", "add", "--principal"], words].concat(), "");
    for user in ["User:alice", "User:carol"] {
        grant(&[
            user,
            "--operation",
            "write",
            "--operation",
            "read",
            "--topic",
            "ord",
            "--prefixed",
        ]);
        grant(&[user, "--operation", "read", "--group", "readers"]);
    }
    let dir = guarded.dir.path();
    let name_and_password = ["sasl.username=alice", "sasl.password=al1ce"];
    let by = |mechanism: &'static str| [&[mechanism], &name_and_password[..]].concat();
    let file = |name: &str| dir.join(name).display().to_string();
    let certificate = format!("ssl.certificate.location={}", file("carol.crt"));
    let key = format!("ssl.key.location={}", file("carol.key"));
    let ways = [
        ("SASL_SSL", by("sasl.mechanism=SCRAM-SHA-256")),
        ("SASL_SSL", by("sasl.mechanism=PLAIN")),
        ("SASL_PLAINTEXT", by("sasl.mechanism=PLAIN")),
        ("SSL", vec![certificate.as_str(), key.as_str()]),
    ];
    for (listener, more) in ways {
        let mut python = Command::new(tools().join("venv/bin/python"));
        python.arg(Path::new(ROOT).join("tests/clients/secured.py"));
        python.args(["orders", "secret"]).args(guarded.settings(listener, &more));
        assert_eq!(client(&mut python).trim(), "written, read and denied", "{listener} {more:?}");
        let mut kcat = Command::new("kcat");
        kcat.args(["-C", "-t", "orders", "-e", "-q", "-c", "1000", "-f", "%s\n"]);
        for setting in guarded.settings(listener, &more) {
            kcat.args(["-X", &setting]);
        }
        assert_eq!(client(&mut kcat).lines().count(), 1000, "{listener} {more:?}");
    }
}

/// What is denied, and who is refused, is told on stderr, without any password.
#[test]
fn what_is_denied_is_told() {
    let mut guarded = Guarded::start();
    guarded.admin(&["users", "create", "bob"], "b0b's own\n");
    let inside = guarded.address("INSIDE").to_owned();
    let dir = guarded.dir.path().to_owned();
    let denied = fail(&dir, &["acls", "list", "--bootstrap-server", &inside], 1);
    assert!(denied.contains("not permitted on this cluster"), "{denied}");
    let line = guarded.running.wait_stderr("millstream::audit: denied");
    let expected = "principal=\"User:ANONYMOUS\" host=\"127.0.0.1\" api=DescribeAcls \
                    operation=DESCRIBE resource_type=CLUSTER name=\"kafka-cluster\"";
    assert!(line.contains(expected), "{line}");
    guarded.properties("bob", "SCRAM-SHA-512", "not b0b's own");
    let words = guarded.as_user("bob", &["topics", "list"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let refused = fail(&dir, &words, 1);
    assert!(refused.contains("the broker does not let us in"), "{refused}");
    let line = guarded.running.wait_stderr("millstream::audit: refused a client");
    assert!(line.contains("\\\"bob\\\"") && !line.contains("own"), "{line}");
    // As himself he is let in, and sees nothing.
    guarded.properties("bob", "PLAIN", "b0b's own");
    guarded.admin(&["topics", "create", "secret"], "");
    assert!(!both(&succeed(&dir, &words)).contains("secret"));
    let records = guarded.as_user("bob", &["consume", "secret"]);
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let refused = fail(&dir, &records, 1);
    assert!(refused.contains("'secret'") && !refused.contains("own"), "{refused}");
    // With a wrong password, and without trust, records are as far away as all else.
    guarded.properties("bob", "SCRAM-SHA-512", "not b0b's own");
    let refused = fail(&dir, &records, 1);
    assert!(refused.contains("does not let us in: Authentication failed"), "{refused}");
    assert!(!refused.contains("own"), "{refused}");
    let trust = fs::read_to_string(dir.join("bob.properties")).unwrap();
    fs::write(dir.join("bob.properties"), trust.replace("ca.crt", "carol.crt")).unwrap();
    let refused = fail(&dir, &records, 1);
    assert!(refused.contains("certificate") && refused.contains("truststore"), "{refused}");
}

/// Our own commands and pipelines write and read by TLS and SCRAM, with logins that end every two
/// seconds and a password that stands in no file; and by certificates on both sides.
#[test]
fn records_and_pipelines_come_by_every_listener() {
    let more = "connections.max.reauth.ms=2000\n";
    let guarded = Guarded::start_with(&format!("{PROPERTIES}{more}"));
    let dir = guarded.dir.path().to_owned();
    guarded.admin(&["topics", "create", "orders", "--partitions", "2"], "");
    fs::write(dir.join("secrets.properties"), "admin=admin's own\n").unwrap();
    guarded.properties("admin", "SCRAM-SHA-512", "${file:secrets.properties:admin}");
    const RECORDS: usize = 600;
    let pipeline = "SET 'pipeline.name' = 'totals';
CREATE TABLE orders (\"user\" TEXT, n BIGINT) WITH (format = 'json');
CREATE TABLE doubled WITH (format = 'json');
INSERT INTO doubled SELECT \"user\", n * 2 AS twice FROM orders;
";
    fs::write(dir.join("totals.sql"), pipeline).unwrap();
    let run = guarded.as_user("admin", &["run", "totals.sql"]);
    let run: Vec<&str> = run.iter().map(String::as_str).collect();
    let running = Running::start(&dir, &run);
    // Slowly, so that several logins end meanwhile.
    let words = guarded.as_user("admin", &["produce", "orders"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut producing = millstream(&dir, &words).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = producing.stdin.take().unwrap();
    let began = Instant::now();
    for n in 0..RECORDS {
        writeln!(lines, "{{\"user\":\"u{}\",\"n\":{n}}}", n % 7).unwrap();
        let due = began + Duration::from_millis(10) * n as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    drop(lines);
    assert!(producing.wait().unwrap().success());
    let count = RECORDS.to_string();
    let consume = ["consume", "doubled", "--group", "g", "--max-messages", &count];
    let read = guarded.admin(&consume, "");
    let mut twice: Vec<u64> = read
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["twice"].as_u64())
        .collect();
    twice.sort_unstable();
    assert_eq!(twice, (0..RECORDS as u64).map(|n| n * 2).collect::<Vec<_>>());
    let (status, _, told) = running.interrupt();
    assert_eq!(status, Some(0), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("WARN") || line.contains("own")), "{told:#?}");
    // Nothing came twice.
    let read = guarded.admin(&["consume", "doubled", "--until-end"], "");
    assert_eq!(read.lines().filter(|line| line.starts_with('{')).count(), RECORDS);

    let grant = ["acls", "add", "--principal", "User:carol", "--topic", "orders"];
    guarded.admin(&[&grant[..], &["--operation", "read", "--operation", "write"]].concat(), "");
    let mutual = "security.protocol=SSL\nssl.truststore.location=ca.crt\n\
                  ssl.keystore.type=PEM\nssl.keystore.location=carol.pem\n";
    fs::write(dir.join("carol.properties"), mutual).unwrap();
    let at = ["--topic", "orders", "--bootstrap-server", guarded.address("SSL")];
    let config = ["--producer.config", "carol.properties"];
    succeed_with(&dir, &[&["kafka-console-producer"], &at[..], &config].concat(), "by carol\n");
    let config = ["--consumer.config", "carol.properties", "--from-beginning"];
    let until = ["--max-messages", "601", "--partition", "0", "--timeout-ms", "5000"];
    let read =
        run_with(&dir, &[&["kafka-console-consumer"], &at[..], &config, &until].concat(), "");
    assert!(both(&read).contains("Processed a total of"), "{}", both(&read));
}

/// Our own commands for users and rules, and Kafka's.
#[test]
fn users_and_rules_are_looked_after() {
    let guarded = Guarded::start();
    let listed = guarded.admin(&["users", "list"], "");
    assert!(listed.contains("admin  SCRAM-SHA-512        4096"), "{listed}");
    let both_mechanisms =
        ["users", "create", "eve", "--mechanism", "SCRAM-SHA-256", "--mechanism", "SCRAM-SHA-512"];
    guarded.admin(&[&both_mechanisms[..], &["--iterations", "8192"]].concat(), "secret\n");
    let described = guarded.admin(&["kafka-configs", "--describe", "--user", "eve"], "");
    let expected = "SCRAM credential configs for user-principal 'eve' are \
                    SCRAM-SHA-256=iterations=8192, SCRAM-SHA-512=iterations=8192\n";
    assert_eq!(described, expected);
    guarded.admin(&["users", "delete", "eve"], "");
    let listed = guarded.admin(&["users", "list", "--json"], "");
    assert!(!listed.contains("eve") && listed.contains("\"admin\""), "{listed}");
    let rule = ["--allow-principal", "User:eve", "--operation", "Read", "--topic", "t"];
    let added = guarded.admin(&[&["kafka-acls", "--add"], &rule[..]].concat(), "");
    let entry = "\t(principal=User:eve, host=*, operation=READ, permissionType=ALLOW)\n\n";
    let resource = "resource `ResourcePattern(resourceType=TOPIC, name=t, patternType=LITERAL)`:";
    assert_eq!(added, format!("Adding ACLs for {resource} \n {entry}"));
    let listed = guarded.admin(&["kafka-acls", "--list", "--topic", "t"], "");
    assert_eq!(listed, format!("Current ACLs for {resource}\n{entry}"));
    let listed = guarded.admin(&["acls", "list"], "");
    assert!(listed.contains("topic  t     User:eve   *     allow       read"), "{listed}");
    let remove = [&["kafka-acls", "--remove"], &rule[..]].concat();
    guarded.admin(&remove, "n\n");
    assert!(guarded.admin(&["acls", "list"], "").contains("User:eve"));
    guarded.admin(&remove, "y\n");
    assert!(guarded.admin(&["acls", "list"], "").contains("there are no such rules"));
    // A password on the command line could be read by everybody on the machine.
    let none = run_with(guarded.dir.path(), &["users", "create", "x", "--password", "y"], "");
    assert_eq!(none.status.code(), Some(2));
    let empty = guarded.as_user("admin", &["users", "create", "x"]);
    let empty: Vec<&str> = empty.iter().map(String::as_str).collect();
    assert!(fail(guarded.dir.path(), &empty, 2).contains("the password is empty"));
}

/// A command opens a stopped broker for itself: nobody else may come in by it, whoever the broker
/// asks when it runs.
#[test]
fn a_stopped_broker_is_looked_after_without_a_port() {
    let dir = tempdir().unwrap();
    let data = ["--data-dir", "data"];
    let run = |words: &[&str]| stdout(&succeed(dir.path(), &[words, &data].concat()));
    let create = ["users", "create", "alice", "--data-dir", "data"];
    succeed_with(dir.path(), &create, "al1ce\n");
    run(&["topics", "create", "t", "--partitions", "2"]);
    run(&["acls", "add", "--principal", "User:alice", "--operation", "read", "--topic", "t"]);
    assert!(run(&["topics", "list"]).contains("t "));
    assert!(run(&["acls", "list"]).contains("User:alice"));
    let configs = run(&["configs", "describe", "--broker", "1", "--all", "--json"]);
    let listeners = configs.lines().filter(|line| line.contains("\"listeners\""));
    let listeners: Vec<serde_json::Value> =
        listeners.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((listeners.len(), &listeners[0]["value"]), (1, &"".into()), "{configs}");
    // What measures needs somebody else to measure.
    let perf = "kafka-consumer-perf-test --data-dir data --topic t --messages 1";
    let refused = run_with(dir.path(), &perf.split(' ').collect::<Vec<_>>(), "");
    let told = both(&refused);
    assert!(!refused.status.success() && told.contains("there is nobody to measure"), "{told}");
}

/// What `openssl req -x509` makes by itself is an authority: it is trusted where it
/// is named itself, and explained where it is not.
#[test]
fn an_authority_as_a_server_is_trusted_where_it_is_named() {
    let dir = tempdir().unwrap();
    certificates(dir.path());
    let own =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let named = ["-subj", "/CN=own", "-addext", "subjectAltName=IP:127.0.0.1"];
    let files = ["-keyout", "own.key", "-out", "own.crt"];
    let mut made = Command::new("openssl");
    made.args([&own[..], &named, &files].concat()).current_dir(dir.path());
    assert!(made.output().unwrap().status.success());
    let pem = ["own.key", "own.crt"].map(|name| fs::read(dir.path().join(name)).unwrap()).concat();
    fs::write(dir.path().join("own.pem"), pem).unwrap();
    let properties = "listeners=SSL://127.0.0.1:0\nlog.dirs=data\nssl.keystore.type=PEM\n\
                      ssl.keystore.location=own.pem\n";
    fs::write(dir.path().join("server.properties"), properties).unwrap();
    let broker = ["broker", "--broker-config", "server.properties", "--data-dir", "data"];
    let mut running = Running::start(dir.path(), &broker);
    let address = running.address();
    let asked = ["topics", "list", "--bootstrap-server", &address];
    let asked = [&asked[..], &["--command-config", "client.properties"]].concat();
    let trust = |file: &str| {
        let config = "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location=";
        fs::write(dir.path().join("client.properties"), format!("{config}{file}\n")).unwrap();
    };
    trust("own.crt");
    succeed(dir.path(), &asked);
    trust("ca.crt");
    let told = fail(dir.path(), &asked, 1);
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["CaUsedAsEndEntity", "an authority's own", "ssl.truststore.location"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// Keys of an issuer of tokens, `jwks.json`, and what signs by them.
struct Issuer<'a>(&'a Path);

impl Issuer<'_> {
    fn new(dir: &Path) -> Issuer<'_> {
        let issuer = Issuer(dir);
        issuer.openssl(&["genrsa", "-out", "issuer.key", "2048"], b"");
        let told = issuer.openssl(&["rsa", "-in", "issuer.key", "-noout", "-modulus"], b"");
        let told = String::from_utf8(told).unwrap();
        let digits = told.trim().strip_prefix("Modulus=").unwrap();
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let modulus: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        let key = serde_json::json!({
            "kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256",
            "n": issuer.base64(&modulus), "e": "AQAB",
        });
        let keys = serde_json::json!({ "keys": [key] }).to_string();
        fs::write(dir.join("jwks.json"), keys).unwrap();
        issuer
    }

    fn openssl(&self, words: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("openssl")
            .args(words)
            .current_dir(self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "openssl {words:?}");
        output.stdout
    }

    fn base64(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8(self.openssl(&["base64", "-A"], bytes)).unwrap();
        text.trim_end().trim_end_matches('=').replace('+', "-").replace('/', "_")
    }

    /// Writes a token that holds until some time from now into a file.
    fn token(&self, file: &str, subject: &str, seconds: i64) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = now.as_secs() as i64;
        let header = serde_json::json!({ "alg": "RS256", "kid": "one" }).to_string();
        let claims = serde_json::json!({
            "sub": subject, "iss": "https://issuer", "aud": "millstream",
            "iat": now - 3600, "exp": now + seconds,
        });
        let claims = claims.to_string();
        let signed =
            format!("{}.{}", self.base64(header.as_bytes()), self.base64(claims.as_bytes()));
        let signature =
            self.openssl(&["dgst", "-sha256", "-sign", "issuer.key"], signed.as_bytes());
        let token = format!("{signed}.{}", self.base64(&signature));
        fs::write(self.0.join(file), token).unwrap();
    }
}

/// Our client by a token in a file, let in by our broker with the issuer's keys, as whom the token
/// says; by what looks after a cluster, and by what reads and writes.
#[test]
fn a_client_comes_by_a_token() {
    let dir = tempdir().unwrap();
    let issuer = Issuer::new(dir.path());
    let jwks = dir.path().join("jwks.json");
    let properties = format!(
        "listeners=SASL_PLAINTEXT://127.0.0.1:0\nlog.dirs=data\n\
         sasl.enabled.mechanisms=OAUTHBEARER\n\
         sasl.oauthbearer.jwks.endpoint.url=file://{}\n\
         sasl.oauthbearer.expected.issuer=https://issuer\n\
         sasl.oauthbearer.expected.audience=millstream\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:admin\n",
        jwks.display()
    );
    fs::write(dir.path().join("server.properties"), properties).unwrap();
    for (user, seconds) in [("admin", 3600), ("eve", 3600), ("late", -60)] {
        issuer.token(&format!("{user}.token"), user, seconds);
        let token = dir.path().join(format!("{user}.token"));
        let config = format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n\
             sasl.oauthbearer.token.endpoint.url=file://{}\n",
            token.display()
        );
        fs::write(dir.path().join(format!("{user}.properties")), config).unwrap();
    }
    let broker = ["broker", "--broker-config", "server.properties", "--data-dir", "data"];
    let mut running = Running::start(dir.path(), &broker);
    let address = running.address();
    let by = |user: &str, words: &[&str], input: &str| {
        let config = format!("{user}.properties");
        let way = ["--bootstrap-server", &address, "--command-config", &config];
        run_with(dir.path(), &[words, &way].concat(), input)
    };
    let good = |words: &[&str], input: &str| {
        let output = by("admin", words, input);
        assert!(output.status.success(), "{words:?}: {}", both(&output));
        stdout(&output)
    };
    good(&["topics", "create", "t"], "");
    good(&["produce", "t"], "one\ntwo\n");
    assert_eq!(good(&["consume", "t", "--until-end"], ""), "one\ntwo\n");
    // She is known, and may do nothing.
    let denied = by("eve", &["topics", "create", "u"], "");
    assert!(
        !denied.status.success() && both(&denied).contains("not permitted"),
        "{}",
        both(&denied)
    );
    let late = by("late", &["topics", "list"], "");
    assert_eq!(late.status.code(), Some(1), "{}", both(&late));
    let token = fs::read_to_string(dir.path().join("late.token")).unwrap();
    assert!(!both(&late).contains(&token), "a token is a secret");
}
