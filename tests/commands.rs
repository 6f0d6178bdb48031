//! The commands, as typed in a shell.

mod fixture;

use std::fs;

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
    for command in ["run", "check", "broker", "topics", "produce", "consume"] {
        let help = stdout(&succeed(dir.path(), &[command, "--help"]));
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(help.contains(&format!("millstream {command}")), "{command}: {help}");
    }
    let none = millstream(dir.path(), &[]).output().unwrap();
    assert_eq!(none.status.code(), Some(2));
}
