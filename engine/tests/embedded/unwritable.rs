//! Rows that the sink's format has no form for.

use super::*;

const SCHEMA: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "long"},
    {"name": "size", "type": {"type": "enum", "name": "Size", "symbols": ["S", "M", "L"]}},
    {"name": "note", "type": "string"}]}"#;

/// One such row stopped its query, and again at each start, whatever `on_error` says.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_sinks_schema_does_not_hold_fail_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let schema = dir.path().join("order.avsc");
    std::fs::write(&schema, SCHEMA).unwrap();
    let avro = format!("WITH (format = 'avro', 'avro.schema_file' = '{}')", schema.display());
    let pipeline = |on_error: &str, select: &str, sink: &str| {
        let sql = format!(
            "CREATE TABLE a (id BIGINT, size TEXT, note TEXT)
                 WITH (topic = 'a', format = 'json', {on_error});
             CREATE TABLE o {sink};
             INSERT INTO o {select};"
        );
        let loaded = load_text(PathBuf::from("test.sql"), sql);
        loaded.unwrap_or_else(|problems| panic!("{problems:?}")).0
    };
    let rows: Vec<String> = (0..1000)
        .map(|id| match id % 100 {
            7 => format!(r#"{{"id":{id},"size":"XL","note":""}}"#),
            31 => format!(r#"{{"id":{id},"size":"S"}}"#),
            _ => format!(r#"{{"id":{id},"size":"M","note":"n"}}"#),
        })
        .collect();
    let select = "SELECT id, size, note FROM a";
    let aside = "on_error = 'dead-letter', 'dead_letter.topic' = 'aside'";
    for (on_error, letters) in [("on_error = 'skip'", 0), (aside, 20)] {
        let world = World::new().await;
        world.create("a", 1).await;
        world.produce("a", 0, &rows).await;
        world.run_to_end(&[&pipeline(on_error, select, &avro)]).await.unwrap();
        let end = TopicPartition::new("o", 0);
        let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
        let end = world.client.list_offsets(std::slice::from_ref(&end), latest).await.unwrap();
        // And the marker of the one transaction.
        assert_eq!(end[0], Some(Offset(981)), "{on_error}");
        if letters > 0 {
            let aside = world.read("aside").await;
            assert_eq!(aside.len(), letters);
            let is_bad = |(_, row): &(_, String)| row.contains("XL") || row.contains("null");
            assert!(aside.iter().all(is_bad), "{aside:?}");
        }
    }
    let world = World::new().await;
    world.create("a", 1).await;
    world.produce("a", 0, &rows).await;
    let error =
        world.run_to_end(&[&pipeline("on_error = 'fail'", select, &avro)]).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("topic 'a'") && said.contains("XL"), "{said}");
    assert!(said.contains("the enum has no symbol \"XL\""), "{said}");

    // A column that the table declares NOT NULL took NULL, which whoever read it then refused.
    let declared = "(id BIGINT, size TEXT, note TEXT NOT NULL) WITH ('format' = 'json')";
    let world = World::new().await;
    world.create("a", 1).await;
    world.produce("a", 0, &rows).await;
    world.run_to_end(&[&pipeline("on_error = 'skip'", select, declared)]).await.unwrap();
    assert_eq!(world.read("o").await.len(), 990);
    let strict = pipeline("on_error = 'fail'", select, declared);
    let world = World::new().await;
    world.create("a", 1).await;
    world.produce("a", 0, &rows).await;
    let said = world.run_to_end(&[&strict]).await.unwrap_err().to_string();
    assert!(said.contains("'note' is NULL, and declared NOT NULL"), "{said}");
}
