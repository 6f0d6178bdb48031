//! Functions in WebAssembly, by the real binary: looked at, tried, and called in pipelines.

mod fixture;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use expect_test::expect;
use fixture::{ROOT, Running, both, fail, finish, millstream, stdout, succeed, succeed_with};
use tempfile::{TempDir, tempdir};

const NUMBERS: &str = r#"(module
    (func (export "add") (param i64 i64) (result i64) local.get 0 local.get 1 i64.add)
    (func (export "divide") (param i64 i64) (result i64) local.get 0 local.get 1 i64.div_s))"#;

/// A directory with modules in it.
fn place() -> TempDir {
    let dir = tempdir().unwrap();
    let modules = Path::new(ROOT).join("udfs/tests/modules");
    for file in ["text.wasm", "typed.wasm", "typed.wit"] {
        fs::copy(modules.join(file), dir.path().join(file)).unwrap();
    }
    fs::write(dir.path().join("numbers.wat"), NUMBERS).unwrap();
    dir
}

fn said(dir: &Path, args: &[&str]) -> String {
    fail(dir, args, 2)
}

#[test]
fn a_file_is_looked_at_and_its_functions_are_tried() {
    let dir = place();
    let told = stdout(&succeed(dir.path(), &["udf", "inspect", "numbers.wat"]));
    expect![[r#"
        numbers.wat: core module, functions of numbers, 187 bytes
        sha256   98cbac783151b854eaee1f1b8acd6c82acd3be5398c65f89e1e760a96a187b78
        imports  nothing

        add(a0 bigint, a1 bigint) → bigint
        divide(a0 bigint, a1 bigint) → bigint
    "#]]
    .assert_eq(&told);
    let told = stdout(&succeed(dir.path(), &["udf", "inspect", "text.wasm", "--json"]));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["functions"][0]["arguments"][0]["type"], "varchar");
    assert_eq!(told["imports"][0], "millstream:udf/host@0.1.0");
    let call = |words: &[&str]| {
        stdout(&succeed(dir.path(), &[&["udf", "call"], words].concat())).trim_end().to_owned()
    };
    assert_eq!(call(&["numbers.wat", "add", "40", "2"]), "42");
    assert_eq!(call(&["numbers.wat", "add", "-40", "NULL"]), "NULL");
    assert_eq!(call(&["text.wasm", "email_domain", "ada@straße.org"]), "straße.org");
    assert_eq!(call(&["text.wasm", "kind_of", "12"]), "a number");
    assert_eq!(call(&["text.wasm", "kind_of", "twelve"]), "text");
    let with = ["--with", "config.greeting=hi=there"];
    assert_eq!(call(&[&["text.wasm", "greeting"], &with[..]].concat()), "hi=there");
    let kinds = Path::new(ROOT).join("udfs/tests/modules/kinds.wasm").display().to_string();
    assert_eq!(call(&[&kinds, "first_of", "NULL", "NULL"]), "?");
    assert_eq!(call(&[&kinds, "round_to", "1.256"]), "1.26");
    let typed = ["--wit", "typed.wit", "typed.wasm"];
    assert_eq!(call(&[&typed[..], &["total", "[1, 2, 39]"]].concat()), "42");
    let point = "{\"x\": 5, \"label\": null}";
    assert_eq!(call(&[&typed[..], &["swap", point]].concat()), "{x: -5, label: none}");
    let told = [
        said(dir.path(), &["udf", "inspect", "nowhere.wasm"]),
        said(dir.path(), &["udf", "inspect", "typed.wit"]),
        said(dir.path(), &["udf", "call", "numbers.wat", "sub", "1", "2"]),
        said(dir.path(), &["udf", "call", "numbers.wat", "add", "1"]),
        said(dir.path(), &["udf", "call", "numbers.wat", "add", "1", "two"]),
        said(
            dir.path(),
            &["udf", "call", "numbers.wat", "add", "1", "2", "--with", "grants.clok=true"],
        ),
    ];
    expect![[r#"
        error: cannot read nowhere.wasm: No such file or directory (os error 2)
        error: typed.wit: it is no WebAssembly, neither a module or component (.wasm) nor their text (.wat)
        error: numbers.wat has no function 'sub'
          help: it has add, divide
        error: add does not take 1 argument
          help: it is add(a0 bigint, a1 bigint) → bigint
        error: 'two' is no bigint for 'a1': Cast error: Cannot cast string 'two' to value of Int64 type
        error: --with grants.clok: functions have no such setting here
          help: there is config.NAME, grants.clock, grants.random, grants.environment.NAME, grants.directories.NAME, side_by_side and search
    "#]].assert_eq(&told.concat());
    let told = fail(dir.path(), &["udf", "call", "numbers.wat", "divide", "1", "0"], 1);
    assert!(told.contains("divide: wasm trap: integer divide by zero"), "{told}");
    let benched = stdout(&succeed(dir.path(), &["udf", "bench", "numbers.wat", "add"]));
    assert!(benched.contains("M rows/s"), "{benched}");
}

const PIPELINE: &str = r#"
[udfs.positive]
file = "text.wasm"

[udfs.quotient]
file = "numbers.wat"
function = "divide"

[udfs.email_domain]
file = "text.wasm"

[connectors.people-file]
connector.class = "FileStreamSource"
file = "people.jsonl"
topic = "people"

[sources.people]
topic = "people"
format = "json"
on_error = { dead_letter = "bad-people" }
columns = { id = "bigint", email = "text" }

[[queries]]
name = "domains"
sql = """
SELECT positive(id) AS id, quotient(100, id - 3) AS q, email_domain(email) AS domain FROM people
"""
sink = { topic = "domains", format = "json" }

[[tests]]
name = "rows that fail are put aside, and their neighbours pass"

input.people = [{ id = 1, email = "a@b.c" }, { id = 0 }, { id = 3, email = "c@d.e" }]
expect.domains = [{ id = 1, q = -50, domain = "b.c" }]
dead_lettered = 2
"#;

fn run(dir: &Path) -> PathBuf {
    let path = dir.join("people.toml");
    fs::write(&path, PIPELINE).unwrap();
    path
}

/// A row that makes a function fail costs itself alone, with the function's own words.
#[test]
fn functions_are_called_in_pipelines() {
    let dir = place();
    run(dir.path());
    succeed(dir.path(), &["test", "people.toml"]);
    let people: Vec<String> = (-2..2000)
        .map(|id| format!("{{\"id\":{id},\"email\":\"p{id}@example{}.org\"}}\n", id % 7))
        .collect();
    fs::write(dir.path().join("people.jsonl"), people.concat()).unwrap();
    succeed(dir.path(), &["run", "people.toml", "--until-end"]);
    let read = |topic: &str, more: &[&str]| {
        let words = [&["consume", topic, "--until-end"], more].concat();
        stdout(&succeed(dir.path(), &words))
    };
    let domains = read("domains", &[]);
    let expected: Vec<String> = (1..2000i64)
        .filter(|id| *id != 3)
        .map(|id| {
            format!(
                "{{\"id\":{id},\"q\":{},\"domain\":\"example{}.org\"}}\n",
                100 / (id - 3),
                id % 7
            )
        })
        .collect();
    assert_eq!(domains, expected.concat());
    let bad = read("bad-people", &["--json"]);
    let reasons: Vec<String> = bad
        .lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let headers = record["headers"].as_array().unwrap();
            let named =
                |header: &&serde_json::Value| header["key"] == "__connect.errors.exception.message";
            headers.iter().find(named).unwrap().to_string()
        })
        .collect();
    expect![[r#"
        {"key":"__connect.errors.exception.message","value":"function positive: it is not above zero"}
        {"key":"__connect.errors.exception.message","value":"function positive: it is not above zero"}
        {"key":"__connect.errors.exception.message","value":"function positive: it is not above zero"}
        {"key":"__connect.errors.exception.message","value":"function quotient: wasm trap: integer divide by zero"}"#]].assert_eq(&reasons.join("\n"));
    // Compiled once, and kept.
    assert_eq!(fs::read_dir(dir.path().join(".millstream/udfs")).unwrap().count(), 2);
    let asked = stdout(&succeed(
        dir.path(),
        &[
            "query",
            "SELECT email_domain(email) AS d, count(*) AS n FROM people GROUP BY 1 ORDER BY 1 LIMIT 1",
            "people.toml",
        ],
    ));
    assert!(asked.contains("example-1.org"), "{asked}");
}

/// Transforms of connectors knew only the functions that they declare themselves.
#[test]
fn functions_of_a_file_are_called_in_its_connectors_transforms() {
    let dir = place();
    let text = r#"
[udfs.email_domain]
file = "text.wasm"

[connectors.people]
connector.class = "FileStreamSource"
file = "people.txt"
topic = "domains"
transforms = "domain"
"transforms.domain.type" = "millstream.transforms.Sql$Value"
"transforms.domain.sql" = "SELECT EMAIL_DOMAIN(_value) AS domain FROM record WHERE _value <> ''"
"value.converter" = "org.apache.kafka.connect.json.JsonConverter"
"value.converter.schemas.enable" = false
"#;
    fs::write(dir.path().join("people.toml"), text).unwrap();
    fs::write(dir.path().join("people.txt"), "ada@example.org\n\nbob@b.example\n").unwrap();
    succeed(dir.path(), &["run", "people.toml", "--until-end"]);
    let domains = stdout(&succeed(dir.path(), &["consume", "domains", "--until-end"]));
    expect![[r#"
        {"domain":"example.org"}
        {"domain":"b.example"}
    "#]]
    .assert_eq(&domains);
}

/// What a module exports that cannot be called was not told of where others can.
#[test]
fn functions_that_cannot_be_called_are_named_with_the_reason() {
    let dir = place();
    let module = r#"(module
        (func (export "add") (param i64 i64) (result i64) local.get 0 local.get 1 i64.add)
        (func (export "log_it") (param i32))
        (func (export "both") (param i32) (result i32 i32) local.get 0 local.get 0))"#;
    fs::write(dir.path().join("some.wat"), module).unwrap();
    let told = stdout(&succeed(dir.path(), &["udf", "inspect", "some.wat"]));
    expect![[r#"
        some.wat: core module, functions of numbers, 228 bytes
        sha256   ed876a5efa07e0033a6b5f8223b1c69648904e6e6a26443089e76ed6e1b2ad3d
        imports  nothing

        add(a0 bigint, a1 bigint) → bigint

        not to be called: 'log_it' is not a function of numbers with one result
                          'both' is not a function of numbers with one result
    "#]]
    .assert_eq(&told);
    let told = said(dir.path(), &["udf", "call", "some.wat", "log_it", "1"]);
    expect![[r#"
        error: some.wat: 'log_it' is not a function of numbers with one result
          help: it has add
    "#]]
    .assert_eq(&told);
}

#[test]
fn a_file_with_a_wrong_function_is_refused() {
    let dir = place();
    let path = run(dir.path());
    let wrong = PIPELINE
        .replace("\"numbers.wat\"", "\"typed.wit\"")
        .replace("positive(id)", "positive(email)");
    fs::write(path, wrong).unwrap();
    let told = said(dir.path(), &["check", "people.toml"]);
    expect![[r#"
          × typed.wit: it is no WebAssembly, neither a module or component (.wasm) nor their text (.wat)
           ╭─[people.toml:6:8]
         5 │ [udfs.quotient]
         6 │ file = "typed.wit"
           ·        ─────┬─────
           ·             ╰── here
         7 │ function = "divide"
           ╰────
          help: `millstream udf inspect FILE` shows what a file has

          × positive(varchar) does not fit positive(number bigint) → bigint
            ╭─[people.toml:26:8]
         25 │ sql = """
         26 │ SELECT positive(email) AS id, quotient(100, id - 3) AS q, email_domain(email) AS domain FROM people
            ·        ───────┬───────
            ·               ╰── here
         27 │ """
            ╰────

        2 errors; nothing was started
    "#]].assert_eq(&told);
    let nothing = std::fs::read_dir(dir.path()).unwrap();
    assert!(nothing.flatten().all(|entry| entry.file_name() != ".millstream"));
}

#[test]
fn functions_are_called_on_topics() {
    let dir = place();
    let (_broker, address) = Running::broker(dir.path());
    let at = ["--bootstrap-server", &address];
    let people = "{\"id\":1,\"email\":\"ada@example.org\"}\n{\"id\":2,\"email\":null}\n\
                  {\"id\":3,\"email\":\"Grace Hopper\"}\n";
    succeed_with(dir.path(), &[&["produce", "people"], &at[..]].concat(), people);
    fs::copy(Path::new(ROOT).join("udfs/tests/modules/kinds.wasm"), dir.path().join("kinds.wasm"))
        .unwrap();
    let call = |words: &[&str]| {
        let words = [&["udf", "call"], words, &["--topic", "people", "--json"], &at[..]].concat();
        stdout(&succeed(dir.path(), &words))
    };
    let told = [
        call(&["text.wasm", "email_domain", "email"]),
        call(&["numbers.wat", "add", "id", "id * 10", "--limit", "1"]),
        call(&["kinds.wasm", "words", "email"]),
        call(&["kinds.wasm", "mode", "email"]),
        call(&["kinds.wasm", "greeting"]),
        call(&["kinds.wasm", "round_to", "digits => 0", "x => id + 0.4", "--limit", "1"]),
    ];
    expect![[r#"
        {"email":"ada@example.org","email_domain":"example.org"}
        {"email":null,"email_domain":null}
        {"email":"Grace Hopper","email_domain":null}
        {"id":1,"id * 10":10,"add":11}
        {"email":"ada@example.org","word":"ada@example.org","position":1}
        {"email":"Grace Hopper","word":"Grace","position":1}
        {"email":"Grace Hopper","word":"Hopper","position":2}
        {"mode":"Grace Hopper"}
        {"greeting":null}
        {"greeting":null}
        {"greeting":null}
        {"0":0,"id + 0.4":1.4,"round_to":1.0}
    "#]]
    .assert_eq(&told.concat());
    let wrong = ["udf", "call", "text.wasm", "email_domain", "id", "--topic", "people"];
    let told = said(dir.path(), &[&wrong[..], &at[..]].concat());
    expect![[r#"
        it says
          × email_domain(bigint) does not fit email_domain(text varchar) → varchar
           ╭─[query:2:20]
         1 │ CREATE FUNCTION email_domain LANGUAGE wasm AS 'text.wasm' WITH ('memory' = '268435456B', 'time' = '1000ms', 'stack' = '524288B');
         2 │ SELECT id AS "id", email_domain(id) AS email_domain FROM "people";
           ·                    ────────┬───────
           ·                            ╰── here
           ╰────

    "#]].assert_eq(&format!("it says\n{told}"));
}

#[test]
fn functions_that_change_are_taken_up_without_a_restart() {
    let dir = place();
    let dir = dir.path();
    let times = |factor: i64| {
        let module = format!(
            "(module (func (export \"times\") (param i64) (result i64)
                (i64.mul (local.get 0) (i64.const {factor}))))"
        );
        fs::write(dir.join("times.wat"), module).unwrap();
    };
    times(2);
    let pipeline = "
[udfs.times]
file = 'times.wat'
[connectors.file]
connector.class = 'FileStreamSource'
file = 'n.jsonl'
topic = 'n'
[sources.n]
format = 'json'
columns = { n = 'bigint' }
[[queries]]
name = 'q'
from = 'n'
steps = [{ udf = 'times', args = ['n'], as = 'm' }]
sink = { topic = 'out', print = true }
";
    fs::write(dir.join("p.toml"), pipeline).unwrap();
    let mut lines = String::new();
    let mut append = |n: i64| {
        lines.push_str(&format!("{{\"n\":{n}}}\n"));
        fs::write(dir.join("n.jsonl"), &lines).unwrap();
    };
    append(1);
    let run = ["run", "p.toml", "--listen", "127.0.0.1:0", "--data-dir", "data"];
    let mut running = Running::start(dir, &run);
    running.wait_stdout("{\"n\":1,\"m\":2}");
    let reload = ["udf", "reload", "--data-dir", "data"];
    let same = stdout(&succeed(dir, &reload));
    times(3);
    let replaced = stdout(&succeed(dir, &reload));
    append(2);
    running.wait_stdout("{\"n\":2,\"m\":6}");
    fs::write(dir.join("times.wat"), "(module (func (export \"times\") (result i64) i64.const 1))")
        .unwrap();
    let kept = both(&finish(&mut millstream(dir, &reload)));
    append(3);
    running.wait_stdout("{\"n\":3,\"m\":9}");
    running.interrupt();
    expect![[r#"
          = times: times.wat has not changed
          ✓ times: times.wat is called from now on
        exit status: 1
        --- stdout ---
          ✗ times: times.wat: it was times(a0 bigint) → bigint, and has times() → bigint now

        --- stderr ---
        error: a function keeps the module that it had
    "#]]
    .assert_eq(&[same, replaced, kept].concat());
    let nobody = fail(dir, &reload, 1);
    expect![[r#"
        error: no pipelines run with their data in data
          help: start some with `millstream run FILE`, or name their --data-dir
    "#]]
    .assert_eq(&nobody);
    // By itself, where that is asked for.
    times(3);
    let mut running = Running::start(dir, &[&run[..], &["--watch-functions"]].concat());
    running.wait_stderr("look");
    times(4);
    running.wait_stderr("times: times.wat");
    append(4);
    running.wait_stdout("{\"n\":4,\"m\":16}");
    running.interrupt();
}

/// A server that answers with what it was asked, until the test ends.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.unwrap()));
        }
    });
    address
}

/// All requests of a connection.
fn answer(stream: TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.trim().is_empty() => break,
                Ok(_) => head.push(line.trim().to_ascii_lowercase()),
            }
        }
        let header = |name: &str| {
            head.iter()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let mut body = vec![0; header("content-length:").parse().unwrap_or_default()];
        reader.read_exact(&mut body).unwrap();
        let asked = head[0].trim_end_matches(" http/1.1").to_owned();
        let (status, more, text) = match asked.rsplit(' ').next().unwrap() {
            "/moved" => ("302 Found", "location: /there\r\n", String::new()),
            "/long" => ("200 OK", "", "x".repeat(5 << 20)),
            "/never" => loop {
                std::thread::park();
            },
            _ => {
                let body = String::from_utf8(body).unwrap();
                ("200 OK", "", format!("{asked} {body}{}", header("x-from:")))
            }
        };
        let length = text.len();
        let answered =
            write!(writer, "HTTP/1.1 {status}\r\n{more}content-length: {length}\r\n\r\n{text}");
        if answered.is_err() {
            return;
        }
    }
}

#[test]
fn functions_ask_the_servers_that_are_granted() {
    let dir = place();
    let dir = dir.path();
    fs::copy(Path::new(ROOT).join("udfs/tests/modules/http.wasm"), dir.join("http.wasm")).unwrap();
    let server = format!("http://{}", echo_server());
    let granted = ["--grant-http", &server, "--time", "2s"];
    let call = |words: &[&str]| {
        let words = [&["udf", "call", "http.wasm"], words, &granted].concat();
        both(&finish(&mut millstream(dir, &words))).replace(&server, "SERVER")
    };
    let all: Vec<String> = (0..40).map(|at| format!("\"{server}/{at}\"")).collect();
    let told = [
        call(&["asked", &format!("{server}/a?b=c")]),
        call(&["all_asked", &format!("[{}]", all.join(", "))]),
        call(&["asked", &format!("{server}/moved")]),
        call(&["asked", &format!("{server}/long")]),
        call(&["asked", &format!("{server}/never")]),
        call(&["asked", "http://127.0.0.1:1/"]),
        call(&["asked", "file:///etc/passwd"]),
    ];
    expect![[r#"
        exit status: 0
        --- stdout ---
        200 get /a?b=c millstream

        --- stderr ---
        exit status: 0
        --- stdout ---
        [200 post /0 ask, 200 post /1 ask, 200 post /2 ask, 200 post /3 ask, 200 post /4 ask, 200 post /5 ask, 200 post /6 ask, 200 post /7 ask, 200 post /8 ask, 200 post /9 ask, 200 post /10 ask, 200 post /11 ask, 200 post /12 ask, 200 post /13 ask, 200 post /14 ask, 200 post /15 ask, 200 post /16 ask, 200 post /17 ask, 200 post /18 ask, 200 post /19 ask, 200 post /20 ask, 200 post /21 ask, 200 post /22 ask, 200 post /23 ask, 200 post /24 ask, 200 post /25 ask, 200 post /26 ask, 200 post /27 ask, 200 post /28 ask, 200 post /29 ask, 200 post /30 ask, 200 post /31 ask, 200 post /32 ask, 200 post /33 ask, 200 post /34 ask, 200 post /35 ask, 200 post /36 ask, 200 post /37 ask, 200 post /38 ask, 200 post /39 ask]

        --- stderr ---
        exit status: 1
        --- stdout ---

        --- stderr ---
        error: asked: it redirects to SERVER/there, which is not followed
        exit status: 1
        --- stdout ---

        --- stderr ---
        error: asked: its answer is longer than 4194304 bytes
        exit status: 1
        --- stdout ---

        --- stderr ---
        error: asked: no answer within the time that is left (the `time` limit)
        exit status: 1
        --- stdout ---

        --- stderr ---
        error: asked: http://127.0.0.1:1 is not granted; it takes grants.http = "http://127.0.0.1:1"
        exit status: 1
        --- stdout ---

        --- stderr ---
        error: asked: 'file:///etc/passwd' is no address for HTTP
    "#]].assert_eq(&told.concat());
    let pipeline = |grants: &str| {
        let text = format!(
            "[udfs.asked]
file = 'http.wasm'
time = '10s'
{grants}

[sources.urls]
topic = 'urls'
format = 'raw'

[[queries]]
name = 'answers'
sql = \"SELECT asked(value) AS answer FROM urls\"
sink = {{ topic = 'answers' }}

[[tests]]
name = 'each row is a request'
input.urls = [{{ value = '{server}/1' }}, {{ value = '{server}/2' }}]
expect.answers = [{{ answer = '200 get /1 millstream' }}, {{ answer = '200 get /2 millstream' }}]
"
        );
        fs::write(dir.join("p.toml"), text).unwrap();
    };
    pipeline(&format!("grants.http = ['{server}', 'api.example.com']"));
    succeed(dir, &["test", "p.toml"]);
    pipeline("");
    let refused = said(dir, &["check", "--offline", "p.toml"]);
    pipeline("grants.http = 'https://api.example.com/v1'");
    let wrong = said(dir, &["check", "--offline", "p.toml"]);
    expect![[r#"
        it says
          × http.wasm sends requests, and none are granted
           ╭─[p.toml:2:8]
         1 │ [udfs.asked]
         2 │ file = 'http.wasm'
           ·        ─────┬─────
           ·             ╰── here
         3 │ time = '10s'
           ╰────
          help: name the servers that it may ask: grants.http = "api.example.com"

        and
          × 'https://api.example.com/v1' is no host, such as api.example.com or http://localhost:8080
           ╭─[p.toml:4:15]
         3 │ time = '10s'
         4 │ grants.http = 'https://api.example.com/v1'
           ·               ──────────────┬─────────────
           ·                             ╰── here
         5 │ 
           ╰────

    "#]].assert_eq(&format!("it says\n{refused}and\n{wrong}"));
}
