//! Functions that ask servers: rows are asked for side by side, each once, and their answers are in
//! order.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use udfs::http::{Fetch, Request, Response};
use udfs::{Grants, Host, Limits, Module, Options};

/// Waits until so many are asked for at the same time, unless it is the last lot.
struct Together {
    count: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: usize,
    most: usize,
    /// By how often somebody was let go.
    round: usize,
    asked: Vec<String>,
}

impl Together {
    fn new(count: usize) -> Arc<Together> {
        Arc::new(Together { count, state: Mutex::default(), changed: Condvar::new() })
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut self.state.lock().unwrap().asked);
        asked.sort_unstable();
        asked
    }

    fn meet(&self, url: &str) -> bool {
        let mut state = self.state.lock().unwrap();
        state.asked.push(url.to_owned());
        state.waiting += 1;
        state.most = state.most.max(state.waiting);
        let round = state.round;
        if state.waiting == self.count {
            state.waiting = 0;
            state.round += 1;
            self.changed.notify_all();
            return true;
        }
        let patience = Duration::from_secs(20);
        let met = self.changed.wait_timeout_while(state, patience, |now| now.round == round);
        !met.unwrap().1.timed_out()
    }
}

impl Fetch for Together {
    fn fetch(&self, requests: Vec<Request>, time: Duration) -> Vec<Result<Response, String>> {
        let answer = |request: Request| {
            if request.url.ends_with("never") {
                let began = Instant::now();
                while began.elapsed() < time {
                    std::thread::park_timeout(time - began.elapsed());
                }
                return Err("no answer".to_owned());
            }
            if !self.meet(&request.url) {
                return Err("nobody else came".to_owned());
            }
            match request.url.contains("wrong") {
                true => Err(format!("{} is wrong", request.url)),
                false => {
                    let body = request.url.into_bytes();
                    Ok(Response { status: 200, headers: Vec::new(), body })
                }
            }
        };
        requests.into_iter().map(answer).collect()
    }
}

fn load(by: &Arc<Together>, side_by_side: usize) -> Module {
    let host = Host::new(None).unwrap();
    host.fetch_by(by.clone());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modules/http.wasm");
    let grants = Grants { http: vec!["a.b".parse().unwrap()], ..Grants::default() };
    let time = Duration::from_secs(30);
    let limits = Limits { time, side_by_side, ..Limits::default() };
    let options = Options { name: "http".to_owned(), limits, grants, ..Options::default() };
    Module::load(&host, &path, options).unwrap()
}

fn asked(module: &Module, urls: &ArrayRef) -> Result<ArrayRef, udfs::CallError> {
    let function = module.functions().iter().position(|of| of.name == "asked").unwrap();
    module.evaluate(function, std::slice::from_ref(urls), urls.len())
}

fn urls(count: usize, special: &[(usize, &str)]) -> ArrayRef {
    let url = |at: usize| match special.iter().find(|(row, _)| *row == at) {
        Some((_, "")) => None,
        Some((_, path)) => Some(format!("https://a.b/{at}/{path}")),
        None => Some(format!("https://a.b/{at}")),
    };
    Arc::new((0..count).map(url).collect::<StringArray>())
}

/// Rows of a function that asks for one thing each were asked for one after the other.
#[test]
fn rows_are_asked_for_at_the_same_time_and_answered_in_order() {
    for side_by_side in [2, 16] {
        let by = Together::new(side_by_side);
        let module = load(&by, side_by_side);
        // One is NULL, and nobody asks for it.
        let urls = urls(side_by_side * 20 + 1, &[(7, "")]);
        let answers = asked(&module, &urls).unwrap();
        for (at, answer) in answers.as_string::<i32>().iter().enumerate() {
            let expected = (at != 7).then(|| format!("200 https://a.b/{at}"));
            assert_eq!(answer, expected.as_deref());
        }
        assert_eq!(by.asked().len(), side_by_side * 20);
        assert_eq!(by.state.lock().unwrap().most, side_by_side);
    }
}

#[test]
fn whoever_asks_for_a_batch_at_once_is_called_once() {
    let by = Together::new(1);
    let module = load(&by, 1);
    asked(&module, &urls(50, &[])).unwrap();
    assert_eq!(by.state.lock().unwrap().most, 1);
}

/// As tasks look for rows that fail: by halves.
fn search(module: &Module, urls: &ArrayRef, first: usize, failed: &mut Vec<(usize, String)>) {
    let count = urls.len();
    match asked(module, urls) {
        Ok(answers) => assert_eq!(answers.len(), count),
        Err(error) if count == 1 => failed.push((first, error.reason)),
        Err(_) => {
            let half = count / 2;
            search(module, &urls.slice(0, half), first, failed);
            search(module, &urls.slice(half, count - half), first + half, failed);
        }
    }
}

/// The neighbours of a row that failed were asked for again, at each step of the search for it.
#[test]
fn no_row_is_asked_for_twice_to_find_those_that_fail() {
    let by = Together::new(16);
    let module = load(&by, 16);
    let urls = urls(16 * 8, &[(5, "wrong"), (77, "wrong")]);
    let mut failed = Vec::new();
    udfs::search(|| search(&module, &urls, 0, &mut failed));
    let told: Vec<String> = failed.iter().map(|(row, reason)| format!("{row} {reason}")).collect();
    assert_eq!(told, ["5 https://a.b/5/wrong is wrong", "77 https://a.b/77/wrong is wrong",]);
    let asked = by.asked();
    assert_eq!(asked.len(), 16 * 8);
    assert!(asked.windows(2).all(|pair| pair[0] != pair[1]));
}

/// Each row of a server that does not answer took the whole time, one after the other.
#[test]
fn a_server_that_never_answers_costs_no_more_than_the_limit() {
    let by = Together::new(1);
    let host = Host::new(None).unwrap();
    host.fetch_by(by.clone());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modules/http.wasm");
    let grants = Grants { http: vec!["a.b".parse().unwrap()], ..Grants::default() };
    let time = Duration::from_millis(200);
    let limits = Limits { time, ..Limits::default() };
    let module = Module::load(&host, &path, Options { limits, grants, ..Options::default() });
    let special: Vec<(usize, &str)> = (0..8192).map(|row| (row, "never")).collect();
    let (began, mut failed) = (Instant::now(), Vec::new());
    udfs::search(|| search(&module.unwrap(), &urls(8192, &special), 0, &mut failed));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(failed.len(), 8192);
    let not_called = failed.iter().filter(|(_, reason)| reason.contains("was not called")).count();
    assert!((1000..8192 - 5).contains(&not_called), "{not_called} were not called");
}
