//! Who may ask over HTTP: the REST API of a worker and the metrics of a broker, by TLS and to those
//! alone who are known. The real binary, curl, and our own commands.

mod fixture;

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use expect_test::expect;
use fixture::{PATIENCE, Running, certificates, finish, millstream, stdout, succeed_with};
use tempfile::{TempDir, tempdir};

/// A worker whose REST API is as these properties say; where it listens.
fn worker(dir: &Path, properties: &str) -> (Running, Vec<String>) {
    fs::write(dir.join("worker.properties"), properties).unwrap();
    let words = ["connect", "worker.properties", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let mut worker = Running::start(dir, &words);
    let mut urls = addresses(&worker.wait_stderr("✓ rest"));
    if properties.contains("admin.listeners=h") {
        urls.extend(addresses(&worker.wait_stderr("✓ rest admin")));
    }
    worker.wait_stderr("→ look");
    (worker, urls)
}

fn addresses(line: &str) -> Vec<String> {
    let words = line.split([' ', ',']).filter(|word| word.starts_with("http"));
    words.map(|url| url.trim_end_matches("/metrics").to_owned()).collect()
}

/// What curl is answered: the status, and the body.
fn curl(dir: &Path, words: &[&str]) -> (u16, String) {
    let output = curl_output(dir, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = stdout(&output);
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

fn curl_output(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}"]);
    finish(command.args(words).current_dir(dir))
}

/// `millstream connect WORDS`, with these variables; status, stdout and stderr.
fn order(dir: &Path, words: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = millstream(dir, &[&["connect"], words].concat());
    let output = finish(command.envs(variables.iter().copied()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const CONNECTOR: &str =
    r#"{"name":"lines","config":{"connector.class":"FileStreamSource","file":"in","topic":"t"}}"#;

/// The worker's files as Kafka Connect has them, over TLS with passwords of both kinds and tokens.
#[test]
fn only_who_is_known_is_served_by_https() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    certificates(dir);
    let hashed = stdout(&succeed_with(dir, &["users", "hash", "bob"], "b0b\n"));
    assert!(hashed.starts_with("bob=SCRAM-SHA-256$16384:"), "{hashed}");
    fs::write(dir.join("passwords"), format!("ann=s3cret\n{hashed}")).unwrap();
    fs::write(dir.join("tokens"), "ci=t0ken\n").unwrap();
    fs::write(dir.join("in"), "").unwrap();
    let (mut worker, urls) = worker(
        dir,
        "listeners=https://127.0.0.1:0\nssl.keystore.type=PEM\nssl.keystore.location=server.pem
         rest.extension.classes=org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension
         rest.basic.auth.file=passwords\nrest.bearer.auth.file=tokens\n",
    );
    let url = urls[0].as_str();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let connectors = format!("{url}/connectors");
    let ask = |more: &[&str]| curl(dir, &[&["--cacert", "ca.crt", &connectors], more].concat());
    for known in
        [&["-u", "ann:s3cret"][..], &["-u", "bob:b0b"], &["-H", "Authorization: Bearer t0ken"]]
    {
        assert_eq!(ask(known), (200, "[]".to_owned()), "{known:?}");
    }
    let (status, told) = ask(&[]);
    assert_eq!(status, 401);
    expect![[r#"{"error_code":401,"message":"User cannot access the resource: no credentials were sent (Authorization)"}"#]]
        .assert_eq(&told);
    let (status, head) = ask(&["-u", "ann:wr0ng", "--head"]);
    assert_eq!(status, 401);
    assert!(head.to_lowercase().contains("www-authenticate: basic realm="), "{head}");
    worker.wait_stderr("user=\"\"");
    let line = worker.wait_stderr("user=\"ann\"");
    assert!(line.contains("millstream::audit: refused a request"), "{line}");
    assert!(line.contains("surface=\"rest\"") && line.contains("path=\"/connectors\""), "{line}");
    assert!(!line.contains("wr0ng"), "{line}");
    // Whom curl does not trust, and plain HTTP where TLS is spoken.
    assert!(!curl_output(dir, &[&connectors]).status.success());
    let plain = connectors.replace("https", "http");
    assert!(!curl_output(dir, &[&plain, "-u", "ann:s3cret"]).status.success());

    // Our own commands.
    fs::write(dir.join("lines.json"), CONNECTOR).unwrap();
    fs::write(
        dir.join("ann.properties"),
        "basic.auth.user=ann\nbasic.auth.password=s3cret\nssl.truststore.location=ca.crt\n",
    )
    .unwrap();
    let by_file = ["--url", url, "--connect-config", "ann.properties"];
    let created = order(dir, &[&["create", "lines.json"], &by_file[..]].concat(), &[]);
    assert_eq!(created, (Some(0), String::new(), "created connector 'lines'\n".to_owned()));
    let token = [("MILLSTREAM_CONNECT_TOKEN", "t0ken"), ("MILLSTREAM_CONNECT_CA", "ca.crt")];
    let (code, listed, _) = order(dir, &["list", "--url", url], &token);
    assert!(code == Some(0) && listed.contains("lines"), "{listed}");
    let (code, _, told) = order(dir, &["list", "--url", url], &token[1..]);
    assert_eq!(code, Some(1));
    assert!(told.contains("MILLSTREAM_CONNECT_USER"), "{told}");
    let (_, _, told) = order(dir, &["list", "--url", url], &token[..1]);
    assert!(told.contains("certificate is not trusted") && told.contains("MILLSTREAM_CONNECT_CA"));
    let seen = url.replace("https://", "https://ann:s3cret@");
    let (code, _, told) = order(dir, &["list", "--url", &seen], &token[1..]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("everybody on this machine") && !told.contains("s3cret"), "{told}");

    // What is in the files counts, without a restart; a broken file changes nothing.
    fs::write(dir.join("tokens"), "ci=an0ther\n").unwrap();
    let began = Instant::now();
    // Files are looked at once in a second.
    while ask(&["-H", "Authorization: Bearer an0ther"]).0 != 200 {
        assert!(began.elapsed() < PATIENCE, "the new token is not taken");
    }
    assert_eq!(ask(&["-H", "Authorization: Bearer t0ken"]).0, 401);
    let (status, _, stderr) = worker.interrupt();
    let said = stderr.join("\n");
    assert_eq!(status, Some(0), "{said}");
    for secret in ["s3cret", "b0b", "t0ken", "an0ther", "wr0ng"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

/// Several listeners, certificates of clients, and `/admin` by itself.
#[test]
fn listeners_differ_and_clients_may_need_certificates() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    certificates(dir);
    let (_worker, urls) = worker(
        dir,
        "listeners=http://127.0.0.1:0,https://127.0.0.1:0
         listeners.https.ssl.keystore.type=PEM
         listeners.https.ssl.keystore.location=server.pem
         listeners.https.ssl.client.auth=required
         listeners.https.ssl.truststore.location=ca.crt
         admin.listeners=http://127.0.0.1:0
         rest.advertised.listener=https
         response.http.headers.config=set X-Frame-Options: DENY\n",
    );
    let [http, https, admin] = &urls[..] else { panic!("{urls:?}") };
    let ask = |url: &str, path: &str, more: &[&str]| {
        curl(dir, &[&[&*format!("{url}{path}")], more].concat()).0
    };
    let by = ["--cacert", "ca.crt", "--cert", "carol.pem"];
    assert_eq!(ask(http, "/connectors", &[]), 200);
    assert_eq!(ask(https, "/connectors", &by), 200);
    assert!(!curl_output(dir, &[&[&*format!("{https}/")], &by[..2]].concat()).status.success());
    assert_eq!(ask(http, "/admin/loggers", &[]), 404);
    assert_eq!(ask(admin, "/admin/loggers", &[]), 200);
    assert_eq!(ask(admin, "/connectors", &[]), 404);
    let (_, head) = curl(dir, &[&format!("{http}/"), "--include"]);
    assert!(head.to_lowercase().contains("x-frame-options: deny"), "{head}");
    fs::write(
        dir.join("carol.properties"),
        "ssl.truststore.location=ca.crt\nssl.keystore.location=carol.pem\n",
    )
    .unwrap();
    let words = ["list", "--url", https, "--connect-config", "carol.properties"];
    assert_eq!(order(dir, &words, &[]).2, "no connectors\n");
}

/// A page in a browser on this machine reaches what listens here alone. It could create a
/// connector, and with it run any program.
/// 32 connections that asked for nothing, or sent half of a body, had every place.
#[test]
fn those_who_ask_for_nothing_keep_nobody_out() {
    let dir = tempdir().unwrap();
    let (worker, urls) = worker(dir.path(), "listeners=http://127.0.0.1:0\n");
    let address = urls[0].trim_start_matches("http://");
    let open: Vec<TcpStream> = (0..400)
        .map(|at| {
            let mut stream = TcpStream::connect(address).unwrap();
            if at % 2 == 0 {
                let head = format!(
                    "POST /connectors HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1000\r\n\
                     Content-Type: application/json\r\n\r\n{{"
                );
                stream.write_all(head.as_bytes()).unwrap();
            }
            stream
        })
        .collect();
    let (status, body) = curl(dir.path(), &[&format!("{}/connectors", urls[0])]);
    assert_eq!((status, &*body), (200, "[]"));
    drop((open, worker));
}

#[test]
fn pages_of_other_sites_reach_nothing() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let allowed = "listeners=http://127.0.0.1:0\naccess.control.allow.origin=http://ui.example\n\
                   access.control.allow.methods=GET,POST,PUT\n";
    let (mut worker, urls) = worker(dir, allowed);
    let url = format!("{}/connectors", urls[0]);
    let post = |more: &[&str]| {
        let json = ["-H", "Content-Type: application/json", "-d", CONNECTOR];
        curl(dir, &[&[&*url], &json[..], more].concat())
    };
    let told = [
        curl(dir, &[&url, "-H", "Content-Type: text/plain", "-d", CONNECTOR]),
        curl(dir, &[&url, "-d", CONNECTOR]),
        post(&["-H", "Origin: http://evil.example"]),
        post(&["-H", "Origin: null"]),
        post(&["-H", "Host: evil.example:8083"]),
    ];
    let told: Vec<String> =
        told.iter().map(|(status, body)| format!("{status} {body}\n")).collect();
    expect![[r#"
        415 {"error_code":415,"message":"HTTP 415 Unsupported Media Type: Content-Type: text/plain; send Content-Type: application/json"}
        415 {"error_code":415,"message":"HTTP 415 Unsupported Media Type: Content-Type: application/x-www-form-urlencoded; send Content-Type: application/json"}
        403 {"error_code":403,"message":"pages of 'http://evil.example' may not ask here: access.control.allow.origin says which may"}
        403 {"error_code":403,"message":"pages of 'null' may not ask here: access.control.allow.origin says which may"}
        421 {"error_code":421,"message":"'evil.example' is not the name of this server: ask by localhost, or set rest.advertised.host.name, or let it ask for credentials by rest.basic.auth.file"}
    "#]]
    .assert_eq(&told.concat());
    worker.wait_stderr("a page of another site asks");
    worker.wait_stderr("the Host is not ours");
    assert_eq!(curl(dir, &[&url]), (200, "[]".to_owned()));
    // A site that is allowed asks for leave, and then asks.
    let origin = ["-H", "Origin: http://ui.example"];
    let leave = ["-X", "OPTIONS", "--include", "-H", "Access-Control-Request-Method: POST"];
    let (status, head) = curl(dir, &[&[&*url], &leave[..], &origin].concat());
    assert_eq!(status, 200);
    let head = head.to_lowercase();
    for line in [
        "access-control-allow-origin: http://ui.example",
        "access-control-allow-methods: get,post,put",
    ] {
        assert!(head.contains(line), "{head}");
    }
    fs::write(dir.join("in"), "").unwrap();
    let own = format!("Origin: {}", urls[0]);
    assert_eq!(post(&["-H", &own]).0, 201);
    assert_eq!(post(&origin).0, 409);
}

/// What is not served as it is meant is told before anything starts.
#[test]
fn mistakes_are_told_and_nothing_starts() {
    let dir = tempdir().unwrap();
    fs::write(
        dir.path().join("worker.properties"),
        "listeners=https://127.0.0.1:0\nssl.keystore.location=none.pem\n\
         rest.basic.auth.file=none\naccess.control.allow.origin=ui.example\n",
    )
    .unwrap();
    let (code, _, told) = order(dir.path(), &["worker.properties"], &[]);
    assert_eq!(code, Some(2));
    for mistake in [
        "`ssl.keystore.location`: cannot read 'none.pem'",
        "`rest.basic.auth.file`: cannot read 'none'",
        "`access.control.allow.origin`: 'ui.example' is no origin",
    ] {
        assert!(told.contains(mistake), "{mistake}: {told}");
    }
}

/// A broker whose metrics are behind TLS and a token.
fn scraped() -> (TempDir, Running, String) {
    let dir = tempdir().unwrap();
    certificates(dir.path());
    fs::write(dir.path().join("tokens"), "prometheus=pr0m\n").unwrap();
    fs::write(
        dir.path().join("metrics.properties"),
        "ssl.keystore.location=server.pem\nbearer.auth.file=tokens\n",
    )
    .unwrap();
    let words = ["broker", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let metrics = ["--metrics-listen", "127.0.0.1:0", "--metrics-config", "metrics.properties"];
    let mut broker = Running::start(dir.path(), &[&words[..], &metrics].concat());
    let url = addresses(&broker.wait_stderr("✓ metrics")).remove(0);
    (dir, broker, url)
}

#[test]
fn metrics_are_for_who_is_known() {
    let (dir, mut broker, url) = scraped();
    for path in ["/metrics", "/health", "/"] {
        let at = format!("{url}{path}");
        let by = ["--cacert", "ca.crt", &at];
        assert_eq!(curl(dir.path(), &by).0, 401, "{path}");
        let token = ["-H", "Authorization: Bearer pr0m"];
        assert_eq!(curl(dir.path(), &[&by[..], &token].concat()).0, 200, "{path}");
    }
    let line = broker.wait_stderr("refused a request");
    assert!(line.contains("surface=\"metrics\""), "{line}");
}
