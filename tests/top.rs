//! `millstream top`, beside pipelines that run, by the real binary.

mod fixture;

use std::fs;

use fixture::{Running, fail, stdout, succeed};
use serde_json::Value;
use tempfile::tempdir;

const PIPELINE: &str = r#"
[connectors.orders]
connector.class = "FileStreamSource"
file = "orders.csv"
topic = "orders"

[sources.orders]
format = "csv"
columns = { id = "bigint", amount = "double" }

[[queries]]
name = "large"
from = "orders"
steps = [{ filter = "amount > 100" }]
sink = { topic = "large", print = true }

[[queries]]
name = "totals"
sql = "SELECT id, sum(amount) AS total FROM orders GROUP BY id"
sink = { topic = "totals", key = "id", print = true }
"#;

#[test]
fn what_runs_is_shown_until_it_has_stopped() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("orders.toml"), PIPELINE).unwrap();
    fs::write(dir.path().join("orders.csv"), "1,50\n2,70\n3,500\n").unwrap();
    let once = ["top", "--once", "--interval", "0.1"];
    let said = fail(dir.path(), &once, 1);
    assert!(said.contains("no pipelines run with their data in .millstream"), "{said}");

    let args = ["run", "orders.toml", "--json", "--listen", "127.0.0.1:0"];
    let mut running = Running::start(dir.path(), &args);
    let mut left = vec!["large", "totals"];
    while !left.is_empty() {
        let line = running.wait_stdout("\"id\":3");
        left.retain(|query| {
            !line.contains(query) && (*query != "totals" || !line.contains("total"))
        });
        if line.contains("amount") {
            left.retain(|query| *query != "large");
        }
    }
    let json = [&once[..], &["--json"]].concat();
    let look: Value = serde_json::from_slice(&succeed(dir.path(), &json).stdout).unwrap();
    let [large, totals] = [0, 1].map(|at| look["queries"][at].clone());
    assert_eq!((&large["query"], &totals["query"]), (&"large".into(), &"totals".into()));
    assert_eq!((large["rows_in"].as_u64(), large["rows_out"].as_u64()), (Some(3), Some(1)));
    assert_eq!(large["dropped"][0]["rows"], 2);
    assert!(large["dropped"][0]["at"].as_str().unwrap().ends_with("orders.toml:14"), "{large}");
    assert_eq!(totals["entries"], 3);
    assert!(totals["rows_in_per_s"].is_number());
    assert_eq!(look["connectors"][0]["records"], 3);

    let text = stdout(&succeed(dir.path(), &once));
    assert!(text.contains("where amount > 100.0") && text.contains("totals"), "{text}");

    assert_eq!(running.interrupt().0, Some(0));
    assert_eq!(fs::read_dir(dir.path().join(".millstream/run")).unwrap().count(), 0);
    fail(dir.path(), &once, 1);
}
