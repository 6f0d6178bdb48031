//! Functions that ask servers.

use millstream_udf::{Request, Response, fetch, udf};

fn text(answer: Result<Response, String>) -> String {
    match answer {
        Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        Err(reason) => format!("error: {reason}"),
    }
}

#[udf(volatile)]
fn asked(url: &str) -> Result<String, String> {
    let request = Request::get(url).header("x-from", "millstream");
    fetch(&[request]).remove(0).map(|answer| text(Ok(answer)))
}

#[udf(volatile)]
fn all_asked(urls: Vec<String>) -> Vec<String> {
    let requests: Vec<Request> = urls.into_iter().map(|url| Request::post(url, "ask")).collect();
    fetch(&requests).into_iter().map(text).collect()
}
