//! Tables of a database straight in a pipeline, by the real binary and a real PostgreSQL.

mod fixture;
#[path = "../connectors/tests/postgres/server.rs"]
#[allow(dead_code)]
mod server;

use std::fs;
use std::time::Duration;

use fixture::Running;
use serde_json::{Value, json};
use server::Postgres;
use tempfile::tempdir;

const PIPELINE: &str = r#"
[connectors.orders]
connector.class = "file-source"
file = "orders.jsonl"
topic = "orders"

[connectors.shop]
connector.class = "io.debezium.connector.postgresql.PostgresConnector"
database.hostname = "HOST"
database.port = "PORT"
database.user = "postgres"
database.dbname = "postgres"
topic.prefix = "shop"
table.include.list = "public.customers"

[sources.orders]
columns = { id = "int", customer = "int" }

[tables.customers]
topic = "shop.public.customers"
format = "debezium-json"
columns = { id = "int", name = "text" }
key = "id"

[[queries]]
name = "named"
sql = "SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON o.customer = c.id"
sink = { topic = "named", print = true }

[connectors.back]
connector.class = "postgres-sink"
topics = "named"
connection.url = "postgresql:///postgres?host=HOST&port=PORT&user=postgres"
auto.create = "true"
insert.mode = "upsert"
pk.mode = "record_value"
pk.fields = "id"
"#;

/// The snapshot is kept waiting by a lock: rows that would be joined with a table that is not there
/// yet would have no name.
#[test]
fn a_table_is_joined_once_its_snapshot_is_read_and_rows_go_back_as_plain_json() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = Postgres::fresh();
    let dir = tempdir().unwrap();
    let orders: String =
        (0..50).map(|id| format!("{{\"id\":{id},\"customer\":{}}}\n", id % 5)).collect();
    fs::write(dir.path().join("orders.jsonl"), orders).unwrap();
    let target = database.target("postgres");
    let pipeline = PIPELINE.replace("HOST", &target.host).replace("PORT", &target.port.to_string());
    fs::write(dir.path().join("shop.toml"), pipeline).unwrap();
    let mut holder = runtime.block_on(async {
        let customers = "create table customers (id int primary key, name text)";
        database.sql(customers).await;
        let rows = "insert into customers select g, 'customer ' || g from generate_series(0, 4) g";
        database.sql(rows).await;
        let mut session = database.session().await;
        session.query("begin").await.unwrap();
        session.query("lock table public.customers in access exclusive mode").await.unwrap();
        session
    });
    let run = ["run", "shop.toml", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let mut running = Running::start(dir.path(), &run);
    runtime.block_on(async {
        let waiting = "select 1 from pg_locks where not granted";
        while database.sql(waiting).await.rows.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        holder.query("commit").await.unwrap();
    });
    running.wait_stderr("customers: 5 rows");
    running.wait_stdout("\"id\":49");
    runtime.block_on(async {
        let count = "select count(*) from named where name is not null";
        let there = "select 1 from pg_tables where tablename = 'named'";
        while database.sql(there).await.rows.is_empty()
            || database.sql(count).await.single() != Some("50")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (status, printed, told) = running.interrupt();
    assert_eq!(status, Some(0), "{told:#?}");
    let rows: Vec<Value> = printed.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    let expected = (0..50).map(|id| json!({"id": id, "name": format!("customer {}", id % 5)}));
    assert_eq!(rows, expected.collect::<Vec<_>>());
}
