//! The connector of examples/connector, as its own program would run it.

#[path = "../../examples/connector/weather.rs"]
mod weather;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use connectors::plugin::{self, Plugin, Tasks};
use connectors::records::SourceRecords;
use connectors::task::{Polled, SourceContext, SourceTask, TaskError};
use connectors::{Worker, WorkerOptions, validate};

/// Its waits are over at once, and for nothing.
struct Restless;

static RESTLESS: Plugin = Plugin {
    name: "restless",
    classes: &[],
    doc: "Nothing",
    tasks: Tasks::Source(|_| vec![Box::new(Restless)]),
    converter: connectors::convert::settings::STRING,
    defaults: plugin::no_defaults,
    check: plugin::no_check,
    alter_offsets: None,
    check_offset: None,
    own_keys: &[],
    family: None,
};

#[async_trait]
impl SourceTask for Restless {
    async fn start(&mut self, _: &SourceContext) -> Result<(), TaskError> {
        Ok(())
    }

    async fn poll(&mut self, _: &mut SourceRecords) -> Result<Polled, TaskError> {
        Ok(Polled::Drained)
    }

    async fn wait(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
}

/// Such a task had its thread for itself, and neither the broker nor whoever was to stop it had
/// a turn.
#[test]
fn a_task_that_waits_for_nothing_lets_others_run() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let broker = Broker::open(BrokerConfig::new(dir.path().join("data"))).await.unwrap();
            plugin::register(&RESTLESS);
            let properties = [("connector.class".to_owned(), "restless".to_owned())].into();
            let config = validate("restless", &properties, dir.path()).unwrap();
            let client = Arc::new(EmbeddedClient::new(broker));
            let worker = Worker::start(client, vec![config], WorkerOptions::default());
            tokio::time::sleep(Duration::from_millis(300)).await;
            worker.shutdown().await.unwrap();
        });
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(30)).expect("others have their turn");
}

#[test]
fn connectors_of_ones_own_run_beside_an_embedded_broker_and_go_on_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Degrees go from 15 to 30 and again: two of sixteen readings are above 28.
    assert_eq!(runtime.block_on(weather::run(dir.path(), 32)).unwrap(), 8);
    assert_eq!(runtime.block_on(weather::run(dir.path(), 48)).unwrap(), 4);
    assert_eq!(runtime.block_on(weather::run(dir.path(), 48)).unwrap(), 0);
    // Mistakes are found by what they declare.
    let properties = [("connector.class", "thermometers"), ("topic", "t"), ("plaecs", "x")];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let problems = validate("c", &properties, Path::new(".")).unwrap_err();
    let words: Vec<String> = problems.iter().map(|problem| problem.in_words()).collect();
    expect_test::expect![[r#"
        `places` is missing: where the thermometers are; for example `places = attic, cellar`
        `thermometers` has no key `plaecs`; did you mean `places`?"#]]
    .assert_eq(&words.join("\n"));
}
