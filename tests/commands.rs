//! The commands, as typed in a shell.

mod fixture;

use std::fs;
use std::net::TcpListener;
use std::thread;

use expect_test::expect;
use fixture::{Running, fail, millstream, stdout, succeed, succeed_with};
use tempfile::tempdir;

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let at = ["--bootstrap-server", &address];
    let run = |args: &[&str]| succeed(dir.path(), &[args, &at].concat());
    run(&["topics", "create", "orders", "--partitions", "3", "--config", "retention.ms=1000000"]);
    run(&["topics", "create", "orders", "--if-not-exists"]);
    succeed_with(
        dir.path(),
        &["produce", "orders", "--key-separator", ":", "--bootstrap-server", &address],
        "a:1\nb:2\r\nc:3",
    );
    expect![[r#"
        topic   partitions  offsets
        orders           3        3
    "#]]
    .assert_eq(&table_of(&run(&["topics", "list"])));
    let described: serde_json::Value =
        serde_json::from_slice(&run(&["topics", "describe", "orders", "--json"]).stdout).unwrap();
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    run(&["topics", "delete", "orders"]);
    let error = fail(dir.path(), &[&["topics", "describe", "orders"], &at[..]].concat(), 1);
    assert!(error.contains("topic 'orders' does not exist"), "{error}");
}

fn table_of(output: &std::process::Output) -> String {
    stdout(output)
}

#[test]
fn what_was_produced_is_consumed_with_and_without_a_running_broker() {
    let dir = tempdir().unwrap();
    let data = ["--data-dir", "data"];
    {
        let (broker, _) = Running::broker(dir.path());
        // The directory is served, so the command joins the broker that serves it.
        succeed_with(
            dir.path(),
            &[&["produce", "greetings"], &data[..]].concat(),
            "hello\nworld\n",
        );
        assert_eq!(broker.interrupt().0, Some(0));
    }
    // Nobody serves it now: the command opens the log itself.
    let read = succeed(dir.path(), &[&["consume", "greetings", "--until-end"], &data[..]].concat());
    assert_eq!(stdout(&read), "hello\nworld\n");
    let read = succeed(
        dir.path(),
        &[&["consume", "greetings", "--offset", "1", "--max-messages", "1", "--json"], &data[..]]
            .concat(),
    );
    let record: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(record["value"], "world");
    assert_eq!(record["offset"], 1);
    assert_eq!(record["partition"], 0);
}

#[test]
fn a_group_goes_on_where_it_committed() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let at = ["--bootstrap-server", &address];
    succeed_with(dir.path(), &[&["produce", "t"], &at[..]].concat(), "1\n2\n3\n");
    let consume = ["consume", "t", "--group", "g", "--max-messages"];
    let first = succeed(dir.path(), &[&consume[..], &["2"], &at].concat());
    assert_eq!(stdout(&first), "1\n2\n");
    let second = succeed(dir.path(), &[&consume[..], &["1"], &at].concat());
    assert_eq!(stdout(&second), "3\n");
}

#[test]
fn groups_configs_records_and_the_cluster_are_looked_after() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let at = ["--bootstrap-server", &address];
    let run = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = succeed(dir.path(), &[&words[..], &at].concat());
        let told = String::from_utf8(output.stderr.clone()).unwrap();
        (stdout(&output) + &told).replace(&address, "HOST:PORT")
    };
    run("topics create t --partitions 2 --config retention.ms=1000000");
    succeed_with(
        dir.path(),
        &[&["produce", "t", "--partition", "0"], &at[..]].concat(),
        "1\n2\n3\n4\n",
    );
    run("consume t --group g --max-messages 1");
    let lines = [
        "topics alter t --partitions 3 --config cleanup.policy=compact,delete",
        "groups list",
        "groups describe g",
        "groups describe g --json",
        "groups reset g --topic t:0 --to 3",
        "groups reset g --to latest --execute",
        "groups reset g --topic t:0 --shift-by -2 --execute --json",
        "groups forget g --topic t:1",
        "groups delete g",
        "configs describe --topic t",
        "configs alter --topic t --delete retention.ms --set cleanup.policy=delete",
        "configs describe --topic t --json",
        "records offsets t",
        "records offsets t --at 2020-01-01 --json",
        "records delete t --partition 0 --before 3",
        "records offsets t --at earliest",
        "transactions list",
    ];
    let shown: String = lines.iter().map(|line| format!("$ {line}\n{}", run(line))).collect();
    expect![[r#"
        $ topics alter t --partitions 3 --config cleanup.policy=compact,delete
        changed the configs of topic 't'
        topic 't' has 3 partitions now
        $ groups list
        group  state  protocol
        g      Empty  consumer
        $ groups describe g
        g: Empty, 0 members, lag 3, coordinator HOST:PORT (id 1)
        topic  partition  committed  end  lag  member  host
        t              0          1    4    3  -       -
        t              1          0    0    0  -       -
        $ groups describe g --json
        {"assignor":"","coordinator":1,"group":"g","members":[],"partitions":[{"committed":1,"end":4,"lag":3,"member":null,"partition":0,"topic":"t"},{"committed":0,"end":0,"lag":0,"member":null,"partition":1,"topic":"t"}],"protocol_type":"consumer","state":"Empty"}
        $ groups reset g --topic t:0 --to 3
        topic  partition  new_offset
        t              0           3
        nothing was changed; --execute does it
        $ groups reset g --to latest --execute
        topic  partition  new_offset
        t              0           4
        t              1           0
        $ groups reset g --topic t:0 --shift-by -2 --execute --json
        {"offset":2,"partition":0,"topic":"t"}
        $ groups forget g --topic t:1
        group 'g' has forgotten 1 partition
        $ groups delete g
        deleted group 'g'
        $ configs describe --topic t
        config          value           set_by
        cleanup.policy  compact,delete  dynamic topic
        retention.ms    1000000         dynamic topic
        $ configs alter --topic t --delete retention.ms --set cleanup.policy=delete
        changed 2 settings
        $ configs describe --topic t --json
        {"name":"cleanup.policy","read_only":false,"sensitive":false,"source":"DYNAMIC_TOPIC_CONFIG","value":"delete"}
        $ records offsets t
        partition  offset
                0       4
                1       0
                2       0
        $ records offsets t --at 2020-01-01 --json
        {"offset":0,"partition":0,"topic":"t"}
        {"offset":null,"partition":1,"topic":"t"}
        {"offset":null,"partition":2,"topic":"t"}
        $ records delete t --partition 0 --before 3
        partition t-0 begins at offset 3 now
        $ records offsets t --at earliest
        partition  offset
                0       3
                1       0
                2       0
        $ transactions list
        no transactional ids yet
    "#]].assert_eq(&shown);
    assert!(run("cluster describe").contains("1 broker, controller 1"));
    assert!(run("cluster apis").contains("Produce"));
    assert!(run("cluster disks --json").contains(r#""partition":0,"size_bytes":"#));
    // A record that was deleted in the middle of its batch is not shown.
    assert_eq!(run("consume t --until-end"), "4\n");
}

#[test]
fn what_is_not_there_is_told_with_what_to_do() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let told = |line: &str, status| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let error =
            fail(dir.path(), &[&words[..], &["--bootstrap-server", &address]].concat(), status);
        format!("$ {line}\n{error}")
    };
    succeed(dir.path(), &["topics", "create", "nine", "--bootstrap-server", &address]);
    let shown = [
        told("topics alter t --partitions 3", 1),
        told("topics alter t", 2),
        told("groups describe g", 1),
        told("groups reset g --to latest", 1),
        told("configs describe --topic t", 1),
        told("configs alter --topic t", 2),
        told("records offsets t", 1),
        told("records delete t --before end", 1),
        told("records delete nine --before 3", 1),
        told("transactions describe t", 1),
    ];
    expect![[r#"
        $ topics alter t --partitions 3
        error: topic 't' does not exist
          help: `millstream topics list` shows which there are
        $ topics alter t
        error: nothing to change
          help: give --partitions N, --config KEY=VALUE or --delete-config KEY
        $ groups describe g
        error: group 'g' does not exist
          help: `millstream groups list` shows which there are
        $ groups reset g --to latest
        error: group 'g' has committed nothing
          help: name the topics that it shall read with --topic
        $ configs describe --topic t
        error: topic 't' does not exist
          help: `millstream topics list` shows which there are
        $ configs alter --topic t
        error: nothing to change
          help: give --set KEY=VALUE or --delete KEY
        $ records offsets t
        error: topic 't' does not exist
          help: `millstream topics list` shows which there are
        $ records delete t --before end
        error: topic 't' does not exist
          help: `millstream topics list` shows which there are
        $ records delete nine --before 3
        error: partition nine-0 ends at offset 0, before 3
          help: nothing was deleted; `--before end` deletes all records
        $ transactions describe t
        error: transactional id 't': there is no such transactional id
    "#]]
    .assert_eq(&shown.concat());
}

#[test]
fn wrong_usage_is_status_2_and_says_what_to_do() {
    let dir = tempdir().unwrap();
    assert!(fail(dir.path(), &["topic", "list"], 2).contains("topics"));
    assert!(fail(dir.path(), &["consume", "t", "--offset", "-3"], 2).contains("--offset"));
    let error = fail(dir.path(), &["consume", "t", "--data-dir", "nowhere"], 2);
    assert!(error.contains("nowhere") && error.contains("--bootstrap-server"), "{error}");
    assert!(!dir.path().join("nowhere").exists(), "a failed command must create nothing");
}

#[test]
fn a_port_in_use_is_named() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let error = fail(dir.path(), &["broker", "--data-dir", "other", "--listen", &address], 1);
    assert!(error.contains(&address) && error.contains("--listen"), "{error}");
}

#[test]
fn a_second_broker_is_kept_off_the_directory() {
    let dir = tempdir().unwrap();
    let (broker, address) = Running::broker(dir.path());
    let error = fail(dir.path(), &["broker", "--data-dir", "data", "--listen", "127.0.0.1:0"], 1);
    assert!(error.contains(&address) && error.contains(&broker.id().to_string()), "{error}");
}

#[test]
fn a_directory_from_a_newer_version_is_left_alone() {
    let dir = tempdir().unwrap();
    let (broker, _) = Running::broker(dir.path());
    assert_eq!(broker.interrupt().0, Some(0));
    let meta = dir.path().join("data/meta.properties");
    let newer = fs::read_to_string(&meta).unwrap().replace("version=1", "version=99");
    fs::write(&meta, &newer).unwrap();
    let error = fail(dir.path(), &["broker", "--data-dir", "data", "--listen", "127.0.0.1:0"], 1);
    assert!(error.contains("99") && error.contains("data"), "{error}");
    assert_eq!(fs::read_to_string(&meta).unwrap(), newer);
}

#[test]
fn no_broker_at_the_address_is_said_at_once() {
    let dir = tempdir().unwrap();
    // Bound and let go: nobody listens there now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fail(dir.path(), &["topics", "list", "--bootstrap-server", &free.to_string()], 1);
    assert!(error.contains(&free.to_string()), "{error}");
}

#[test]
fn every_command_has_help_with_an_example() {
    let dir = tempdir().unwrap();
    let commands = [
        "run",
        "check",
        "test",
        "explain",
        "graph",
        "top",
        "query",
        "tap",
        "state",
        "broker",
        "topics",
        "produce",
        "consume",
        "groups",
        "configs",
        "records",
        "transactions",
        "cluster",
        "links",
    ];
    for command in commands {
        let help = stdout(&succeed(dir.path(), &[command, "--help"]));
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(help.contains(&format!("millstream {command}")), "{command}: {help}");
    }
    let none = millstream(dir.path(), &[]).output().unwrap();
    assert_eq!(none.status.code(), Some(2));
}

/// A segment as the console leaves it, one that is damaged, and no partition at all.
#[test]
fn log_files_are_shown_without_a_broker() {
    let dir = tempdir().unwrap();
    let (broker, address) = Running::broker(dir.path());
    let to = ["--bootstrap-server", address.as_str()];
    let run = |args: &[&str]| succeed(dir.path(), &[args, &to].concat());
    run(&["topics", "create", "orders", "--partitions", "1"]);
    let produce = ["produce", "orders", "--key-separator", ":"];
    succeed_with(dir.path(), &[&produce[..], &to].concat(), "a:1\nb:2\n");
    run(&["consume", "orders", "--group", "g", "--max-messages", "2"]);
    // Beside a broker that serves it.
    let dump = |path: &str| succeed(dir.path(), &["records", "dump", path, "--json"]);
    let lines = stdout(&dump("data/orders-0"));
    let records: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    assert_eq!((&records[1]["offset"], &records[1]["key"]), (&1.into(), &"b".into()));
    assert_eq!(records[1]["value"], "2");
    let groups = stdout(&dump("data/__consumer_offsets-0"));
    assert!(groups.contains(r#""data":{"group":"g","partition":0,"topic":"orders"}"#), "{groups}");
    assert_eq!(broker.interrupt().0, Some(0));

    let text = stdout(&succeed(dir.path(), &["records", "dump", "data/orders-0"]));
    assert!(text.contains("offsets 0..=1 at byte 0: 2 records, "), "{text}");
    assert!(text.contains("  \"a\"  \"1\"\n"), "{text}");
    let segment = dir.path().join("data/orders-0/00000000000000000000.log");
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - 1;
    bytes[last - 1] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let told = fail(dir.path(), &["records", "dump", "data/orders-0", "--batches"], 1);
    assert!(told.contains("at byte 0: record batch at offset 0: checksum"), "{told}");
    fs::write(&segment, &bytes[..last]).unwrap();
    let told = fail(dir.path(), &["records", "dump", segment.to_str().unwrap()], 1);
    assert!(told.contains("a batch cut short"), "{told}");
    let told = fail(dir.path(), &["records", "dump", "data"], 2);
    assert!(told.contains("no segments") && told.contains("help"), "{told}");
}

#[test]
fn a_transactional_id_is_terminated_and_one_that_is_not_there_is_not_created() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let to = ["--bootstrap-server", address.as_str()];
    let args = |line: &'static str| [&line.split(' ').collect::<Vec<_>>()[..], &to].concat();
    let told = fail(dir.path(), &args("transactions terminate tx"), 1);
    assert!(told.contains("there is no such transactional id"), "{told}");
    // As Kafka's own does, this one creates it.
    let line = "kafka-transactions forceTerminateTransaction --transactionalId tx";
    succeed(dir.path(), &args(line));
    let ended = succeed(dir.path(), &args("transactions terminate tx"));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(told, "'tx' had no open transaction; its producer is fenced\n");
    let none = succeed(dir.path(), &args("transactions hanging"));
    assert_eq!(String::from_utf8(none.stderr).unwrap(), "no hanging transactions\n");
    let told = fail(dir.path(), &args("transactions hanging nope"), 1);
    assert!(told.contains("topic 'nope' does not exist"), "{told}");
}

/// It accepts connections, as a port behind a wrong address may, and that is all: commands wait for
/// a bounded time, and Ctrl-C ends them before that.
#[test]
fn a_server_that_never_answers_keeps_nobody() {
    let dir = tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let to = ["--bootstrap-server", address.as_str()];
    let path = dir.path();
    let commands = [
        &["topics", "list"][..],
        &["produce", "t"],
        &["consume", "t", "--group", "g"],
        &["kafka-topics", "--list"],
        &["kafka-console-producer", "--topic", "t"],
        &["kafka-console-consumer", "--topic", "t"],
    ];
    thread::scope(|scope| {
        for command in commands {
            scope.spawn(move || {
                let told = fail(path, &[command, &to].concat(), 1);
                assert!(told.contains("it accepts connections but does not answer"), "{told}");
            });
        }
    });
    for command in commands {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let to = ["--bootstrap-server", address.as_str()];
        let running = Running::start(dir.path(), &[command, &to].concat());
        let _held = silent.accept().unwrap();
        assert_eq!(running.interrupt().0, Some(130), "{command:?}");
    }
}

#[test]
fn a_consumer_that_is_stopped_ends_as_others_do() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let to = ["--bootstrap-server", address.as_str()];
    succeed_with(dir.path(), &[&["produce", "t"], &to[..]].concat(), "one\n");
    for line in [
        "consume t",
        "consume t --group ours",
        "kafka-console-consumer --topic t --from-beginning",
        "kafka-console-consumer --topic t --from-beginning --group theirs",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let mut running = Running::start(dir.path(), &[&words[..], &to].concat());
        running.wait_stdout("one");
        let (status, _, told) = running.interrupt();
        let told_of =
            if line.starts_with("kafka") { "Processed a total of 1 messages" } else { "" };
        assert_eq!((status, told.concat().as_str()), (Some(130), told_of), "{line}");
    }
}
