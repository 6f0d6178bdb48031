//! Transforms, converters and dead letters on a real broker.

mod support;

use std::fs;

use broker::client::{Client, NewTopic, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use connectors::{ConnectorState, Worker};
use expect_test::expect;
use support::{append, connector, options, process, produce, reaches, read, values};

#[test]
fn lines_become_json_in_topics_of_other_names() {
    let dir = tempfile::tempdir().unwrap();
    append(&dir.path().join("in.txt"), &["one".to_owned(), "two".to_owned()]);
    process(dir.path(), async |client| {
        let source = connector(
            dir.path(),
            "in",
            "connector.class=FileStreamSource
             file=in.txt
             topic=lines
             topic.creation.default.partitions=2
             value.converter=org.apache.kafka.connect.json.JsonConverter
             value.converter.schemas.enable=false
             key.converter=JsonConverter
             transforms=hoist,origin,key,id,route,mark
             transforms.hoist.type=org.apache.kafka.connect.transforms.HoistField$Value
             transforms.hoist.field=line
             transforms.origin.type=org.apache.kafka.connect.transforms.InsertField$Value
             transforms.origin.static.field=origin
             transforms.origin.static.value=disk
             transforms.key.type=org.apache.kafka.connect.transforms.ValueToKey
             transforms.key.fields=origin
             transforms.id.type=org.apache.kafka.connect.transforms.ExtractField$Key
             transforms.id.field=origin
             transforms.route.type=org.apache.kafka.connect.transforms.RegexRouter
             transforms.route.regex=(.*)
             transforms.route.replacement=$1-json
             transforms.mark.type=org.apache.kafka.connect.transforms.InsertHeader
             transforms.mark.header=n
             transforms.mark.value.literal=1",
        );
        let worker = Worker::start(client.clone(), vec![source], options(true));
        worker.sources_finished().await.unwrap();
        let status = worker.shutdown().await.unwrap().connectors[0].clone();
        assert_eq!((status.records, status.skipped), (2, 0));
        assert_eq!(client.topic("lines-json").await.unwrap().unwrap().partitions, 2);
        let mut all = read(&*client, "lines-json", 0).await;
        all.extend(read(&*client, "lines-json", 1).await);
        let shown: String = all
            .into_iter()
            .map(|(key, value)| format!("{} {}\n", key.unwrap(), value.unwrap()))
            .collect();
        expect![[r#"
            {"schema":{"type":"string","optional":true},"payload":"disk"} {"line":"one","origin":"disk"}
            {"schema":{"type":"string","optional":true},"payload":"disk"} {"line":"two","origin":"disk"}
        "#]]
        .assert_eq(&shown);
    });
}

#[test]
fn a_source_fails_or_goes_on_at_what_does_not_get_through() {
    let dir = tempfile::tempdir().unwrap();
    let lines = ["1", "x", "3"].map(str::to_owned);
    append(&dir.path().join("in.txt"), &lines);
    let properties = "connector.class=FileStreamSource
        file=in.txt
        topic=numbers
        transforms=cast
        transforms.cast.type=org.apache.kafka.connect.transforms.Cast$Value
        transforms.cast.spec=int32
        value.converter=IntegerConverter";
    process(dir.path(), async |client| {
        let strict = connector(dir.path(), "in", properties);
        let worker = Worker::start(client.clone(), vec![strict], options(true));
        let failed = worker.sources_finished().await.unwrap_err();
        expect!["connector 'in', task 0: record for 'numbers': transform 'cast': 'x' is no int32; with errors.tolerance=all such records are skipped and counted"]
        .assert_eq(&failed.to_string());
        drop(worker);
        assert!(client.topic("numbers").await.unwrap().is_some());
        assert_eq!(read(&*client, "numbers", 0).await.len(), 0, "nothing of it is there");

        let lenient = connector(dir.path(), "in", &format!("{properties}\nerrors.tolerance=all"));
        let worker = Worker::start(client.clone(), vec![lenient], options(true));
        worker.sources_finished().await.unwrap();
        let status = worker.shutdown().await.unwrap().connectors[0].clone();
        assert_eq!((status.records, status.skipped), (2, 1));
        assert_eq!(values(&*client, "numbers").await, ["\0\0\0\u{1}", "\0\0\0\u{3}"]);
    });
}

const SINK: &str = "connector.class=FileStreamSink
    file=out.txt
    topics=t
    value.converter=JsonConverter
    value.converter.schemas.enable=false
    transforms=take
    transforms.take.type=org.apache.kafka.connect.transforms.ExtractField$Value
    transforms.take.field=a";

#[test]
fn a_sink_fails_with_the_place_of_what_it_cannot_read() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        produce(&*client, "t", 0, &["{\"a\":1}".to_owned(), "{\"a\":".to_owned()]).await;
        let sink = connector(dir.path(), "out", SINK);
        let worker = Worker::start(client.clone(), vec![sink], options(false));
        let failed = worker.finish_sinks_at_end().await.unwrap_err();
        expect![[
            "connector 'out', task 0: record at offset 1 of partition t-0: value converter: not JSON: at byte 5 a JSON value is expected but the text ends; with errors.tolerance=all such records are skipped and counted"
        ]]
        .assert_eq(&failed.to_string());
    });
}

#[test]
fn what_a_sink_cannot_read_goes_to_a_topic_that_says_why() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let records = ["{\"a\":{\"b\":1}}", "broken", "{\"a\":\"text\"}", "[]"].map(str::to_owned);
        produce(&*client, "t", 0, &records).await;
        let lenient = "errors.tolerance=all
            errors.deadletterqueue.topic.name=dead
            errors.deadletterqueue.topic.replication.factor=1
            errors.deadletterqueue.context.headers.enable=true";
        let sink = connector(dir.path(), "out", &format!("{SINK}\n{lenient}"));
        let worker = Worker::start(client.clone(), vec![sink], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        let status = worker.shutdown().await.unwrap().connectors[0].clone();
        assert_eq!(status.state, ConnectorState::Finished);
        assert_eq!((status.records, status.skipped), (2, 2));
        let lines = fs::read_to_string(dir.path().join("out.txt")).unwrap();
        assert_eq!(lines, "{\"b\":1}\ntext\n");
        assert_eq!(values(&*client, "dead").await, ["broken", "[]"]);
        expect![[r#"
            __connect.errors.topic = t
            __connect.errors.partition = 0
            __connect.errors.offset = 1
            __connect.errors.connector.name = out
            __connect.errors.task.id = 0
            __connect.errors.stage = VALUE_CONVERTER
            __connect.errors.class.name = org.apache.kafka.connect.json.JsonConverter
            __connect.errors.exception.class.name = org.apache.kafka.connect.errors.DataException
            __connect.errors.exception.message = value converter: not JSON: at byte 0 a JSON value is expected but there is 'b'
            __connect.errors.exception.stacktrace = value converter: not JSON: at byte 0 a JSON value is expected but there is 'b'
        "#]]
        .assert_eq(&headers(&*client, "dead").await);
    });
}

/// The headers of a topic's first record.
async fn headers(client: &dyn Client, topic: &str) -> String {
    let from = vec![(TopicPartition::new(topic, 0), Offset::ZERO)];
    let mut reader = client.reader(ReaderOptions::partitions(from)).await.unwrap();
    loop {
        let ReaderEvent::Batches(fetched) = reader.next().await.unwrap() else { continue };
        let Some(batch) = fetched.batches.first() else { continue };
        let records = batch.records().unwrap();
        let first = records.iter().next().unwrap().unwrap();
        let line = |header: broker::record::records::Header<'_>| {
            let value = String::from_utf8_lossy(header.value.unwrap()).into_owned();
            format!("{} = {value}\n", header.key)
        };
        return first.headers().map(line).collect();
    }
}

#[test]
fn a_record_without_a_topic_of_its_own_waits_for_no_one() {
    // A topic that exists already, with other partitions than would be made.
    let dir = tempfile::tempdir().unwrap();
    append(&dir.path().join("in.txt"), &["a".to_owned()]);
    process(dir.path(), async |client| {
        client.create_topic(&NewTopic::new("there", 3)).await.unwrap();
        let source = connector(
            dir.path(),
            "in",
            "connector.class=FileStreamSource
             file=in.txt
             topic=x
             transforms=route
             transforms.route.type=RegexRouter
             transforms.route.regex=x
             transforms.route.replacement=there",
        );
        let worker = Worker::start(client.clone(), vec![source.clone()], options(false));
        reaches(&worker, "in", ConnectorState::CaughtUp).await;
        worker.shutdown().await.unwrap();
        let mut found = 0;
        for partition in 0..3 {
            found += read(&*client, "there", partition).await.len();
        }
        assert_eq!(found, 1);
        let worker = Worker::start(client.clone(), vec![source], options(false));
        reaches(&worker, "in", ConnectorState::CaughtUp).await;
        assert_eq!(worker.shutdown().await.unwrap().connectors[0].records, 0, "it resumes");
    });
}
