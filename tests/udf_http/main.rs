//! Functions that ask servers, in each language: the sources beside this, with the helpers that
//! `millstream udf new` puts there, built as its README says where the language's tools are found.
//!
//! `MILLSTREAM_UDF_TOOLCHAINS=1` says that they have to be, or those of the languages that it names.

#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../../udfs/tests/toolchains/mod.rs"]
mod toolchains;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::thread;

use expect_test::expect;
use fixture::{ROOT, fail, stdout, succeed};
use tempfile::tempdir;

/// Requests to `/together` are answered when so many of them are there.
const TOGETHER: usize = 12;

/// A server that answers until the test ends.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let all_are_there = Arc::new(Barrier::new(TOGETHER));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let all_are_there = all_are_there.clone();
            thread::spawn(move || answer(stream.unwrap(), &all_are_there));
        }
    });
    address
}

/// All requests of a connection, until there are no more.
fn answer(stream: TcpStream, all_are_there: &Barrier) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line).ok()? {
                0 => return None,
                _ if line.trim().is_empty() => break,
                _ => head.push(line.trim().to_owned()),
            }
        }
        let header = |name: &str| -> String {
            let mut pairs = head.iter().filter_map(|line| line.split_once(':'));
            let found = pairs.find(|(of, _)| of.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let mut body = vec![0; header("content-length").parse().unwrap_or_default()];
        reader.read_exact(&mut body).ok()?;
        let asked = head[0].trim_end_matches(" HTTP/1.1");
        let (status, body) = match asked {
            "GET /plain" => ("200 OK", b"plain".to_vec()),
            "GET /missing" => ("404 Not Found", b"there is none".to_vec()),
            "GET /text" => ("200 OK", "Zażółć gęślą jaźń, 日本 🌍".into()),
            "GET /empty" => ("200 OK", Vec::new()),
            "POST /echo" => ("201 Created", body),
            _ => {
                all_are_there.wait();
                ("200 OK", asked.as_bytes().to_vec())
            }
        };
        let more = match (header("x-from"), header("x-two")) {
            (from, _) if from.is_empty() => from,
            (from, two) => format!("x-echo: ä {from} {two}\r\n"),
        };
        let length = body.len();
        write!(writer, "HTTP/1.1 {status}\r\nx-a: b\r\n{more}content-length: {length}\r\n\r\n")
            .ok()?;
        writer.write_all(&body).ok()?;
    }
}

/// The module with the functions of `udf.END` in its folder, if there are the tools.
fn built(language: &str, end: &str, dir: &Path) -> Option<PathBuf> {
    succeed(dir, &["udf", "new", "--lang", language, "asks"]);
    let folder = dir.join("asks");
    if !toolchains::is_to_be_built(language, &folder) {
        return None;
    }
    let source = format!("udf.{end}");
    fs::copy(Path::new(ROOT).join("tests/udf_http").join(&source), folder.join(&source)).unwrap();
    // As the heads of the helpers say.
    let worlds =
        [("build.mjs", "worldName: \"udf"), ("build.sh", "componentize-py -d udf.wit -w udf")];
    for (file, world) in worlds {
        if let Ok(text) = fs::read_to_string(folder.join(file)) {
            fs::write(folder.join(file), text.replace(world, &format!("{world}-http"))).unwrap();
        }
    }
    toolchains::succeed(&mut toolchains::bash(&folder, "./build.sh")).unwrap();
    Some(folder)
}

fn asks_servers(language: &str, end: &str) {
    let dir = tempdir().unwrap();
    let Some(folder) = built(language, end, dir.path()) else { return };
    let server = format!("http://{}", server());
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://{gone}");
    let granted = ["--grant-http", &server, "--grant-http", &gone, "--time", "60s"];
    // What runs JavaScript asks for the time.
    let granted = [&granted[..], &["--with", "grants.clock=true"]].concat();
    let begin = ["udf", "call", "asks.wasm"];
    let call = |of: &[&str]| stdout(&succeed(&folder, &[&begin, of, &granted].concat()));
    let fetched = |urls: &[String]| call(&["fetched", &format!("{urls:?}")]);
    let of = |path: &str| format!("{server}{path}");
    let there = ["/plain", "/missing", "/text", "/empty", "/plain"].map(of);
    let nowhere = [format!("{gone}/"), "http://127.0.0.1:1/".to_owned(), "nonsense".to_owned()];
    let together: Vec<String> = (0..TOGETHER).map(|at| of(&format!("/together/{at}"))).collect();
    let told = [
        fetched(&[&there[..2], &nowhere, &there[2..]].concat()),
        fetched(&together),
        fetched(&[]),
        call(&["posted", &of("/echo"), "Grüße"]),
        call(&["posted", &of("/echo"), ""]),
        fail(&folder, &[&begin[..], &["posted", "http://127.0.0.1:1/", ""], &granted].concat(), 1),
    ];
    expect![[r#"
        [200 - plain, 404 - there is none, error: cannot connect: tcp connect error: Connection refused (os error 111), error: http://127.0.0.1:1 is not granted; it takes grants.http = "http://127.0.0.1:1", error: 'nonsense' is no address for HTTP, 200 - Zażółć gęślą jaźń, 日本 🌍, 200 - , 200 - plain]
        [200 - GET /together/0, 200 - GET /together/1, 200 - GET /together/2, 200 - GET /together/3, 200 - GET /together/4, 200 - GET /together/5, 200 - GET /together/6, 200 - GET /together/7, 200 - GET /together/8, 200 - GET /together/9, 200 - GET /together/10, 200 - GET /together/11]
        []
        201 ä millstream 2 Grüße
        201 ä millstream 2 
        error: posted: http://127.0.0.1:1 is not granted; it takes grants.http = "http://127.0.0.1:1"
    "#]]
    .assert_eq(&told.concat());
    in_a_pipeline(&folder, &server);
}

/// Each row is a request; a file that grants nothing sends none.
fn in_a_pipeline(folder: &Path, server: &str) {
    let pipeline = |grants: &str| {
        let text = format!(
            "[udfs.posted]
file = 'asks.wasm'
time = '60s'
{grants}

[sources.texts]
topic = 'texts'
format = 'raw'

[[queries]]
name = 'answers'
sql = \"SELECT posted('{server}/echo', value) AS answer FROM texts\"
sink = {{ topic = 'answers' }}

[[tests]]
name = 'each row is a request'
input.texts = [{{ value = 'first' }}, {{ value = 'second' }}]
expect.answers = [
    {{ answer = '201 ä millstream 2 first' }},
    {{ answer = '201 ä millstream 2 second' }},
]
"
        );
        fs::write(folder.join("asks.toml"), text).unwrap();
    };
    pipeline(&format!("grants.http = '{server}'"));
    succeed(folder, &["test", "asks.toml"]);
    pipeline("");
    let refused = fail(folder, &["check", "--offline", "asks.toml"], 2);
    assert!(refused.contains("asks.wasm sends requests, and none are granted"), "{refused}");
}

// --- a language after the other ---

#[test]
fn assemblyscript() {
    asks_servers("assemblyscript", "ts");
}

#[test]
fn c() {
    asks_servers("c", "c");
}

#[test]
fn cpp() {
    asks_servers("cpp", "cpp");
}

#[test]
fn go() {
    asks_servers("go", "go");
}

#[test]
fn javascript() {
    asks_servers("javascript", "js");
}

#[test]
fn python() {
    asks_servers("python", "py");
}

#[test]
fn zig() {
    asks_servers("zig", "zig");
}
