//! Kafka's own commands under their own names, as scripts call them.

mod fixture;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use expect_test::{Expect, expect};
use fixture::{PATIENCE, Running, run_with, succeed};
use tempfile::{TempDir, tempdir};

/// A broker, and where commands for it run.
struct Shell {
    dir: TempDir,
    address: String,
    _broker: Running,
}

impl Shell {
    fn new() -> Shell {
        let dir = tempdir().unwrap();
        let (broker, address) = Running::broker(dir.path());
        Shell { dir, address, _broker: broker }
    }

    /// What a command prints on stdout, then on stderr, then its status if it is not 0.
    fn run_with(&self, line: &str, input: &str) -> String {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.extend(["--bootstrap-server", &self.address]);
        run(self.dir.path(), &words, input).replace(&self.address, "HOST:PORT")
    }

    fn run(&self, line: &str) -> String {
        self.run_with(line, "")
    }

    /// Runs lines of a script, each shown with what it prints.
    fn script(&self, lines: &[&str], expected: Expect) {
        let shown: String =
            lines.iter().map(|line| format!("$ {line}\n{}", self.run(line))).collect();
        expected.assert_eq(&without_ids(&shown));
    }
}

fn run(dir: &Path, words: &[&str], input: &str) -> String {
    let output = run_with(dir, words, input);
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    if !output.status.success() {
        text.push_str(&format!("=> {}\n", output.status.code().unwrap()));
    }
    text
}

/// Topic ids are random.
fn without_ids(text: &str) -> String {
    let mut parts = text.split("TopicId: ");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        out.push_str("TopicId: ID");
        out.push_str(&part[22..]);
    }
    out
}

/// An unknown topic ended the deletion of all others' offsets, any name of a subscription or a group
/// was described as if it were there, and an id beside a name chose among the topics of that name.
#[test]
fn what_is_not_there_is_told_beside_what_is() {
    let shell = Shell::new();
    shell.run("kafka-topics --create --topic t --partitions 2");
    shell.run("kafka-topics --create --topic u");
    shell.run("kafka-consumer-groups --reset-offsets --group g --topic t --to-earliest --execute");
    shell.run("kafka-configs --alter --client-metrics m --add-config interval.ms=7000");
    shell.script(
        &[
            "kafka-consumer-groups --delete-offsets --group g --topic nope --topic t",
            "kafka-consumer-groups --delete-offsets --group g --topic nope",
            "kafka-configs --describe --client-metrics nope",
            "kafka-configs --describe --entity-type client-metrics",
            "kafka-configs --describe --group nope",
            "kafka-configs --describe --group g",
            "kafka-topics --describe --topic t --topic-id AAAAAAAAAAAAAAAAAAAAAQ",
        ],
        expect![[r#"
            $ kafka-consumer-groups --delete-offsets --group g --topic nope --topic t
            Request succeeded for deleting offsets from group g.

            TOPIC           PARTITION  STATUS         
            nope            -          Error: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: This server does not host this topic-partition.
            t               0          Successful     
            t               1          Successful     
            $ kafka-consumer-groups --delete-offsets --group g --topic nope
            Request succeeded for deleting offsets from group g.

            TOPIC           PARTITION  STATUS         
            nope            -          Error: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: This server does not host this topic-partition.
            $ kafka-configs --describe --client-metrics nope
            The client-metric 'nope' doesn't exist and doesn't have dynamic config.
            $ kafka-configs --describe --entity-type client-metrics
            Dynamic configs for client-metric m are:
              interval.ms=7000 sensitive=false synonyms={DYNAMIC_CLIENT_METRICS_CONFIG:interval.ms=7000}
            $ kafka-configs --describe --group nope
            The group 'nope' doesn't exist and doesn't have dynamic config.
            $ kafka-configs --describe --group g
            Dynamic configs for group g are:
            $ kafka-topics --describe --topic t --topic-id AAAAAAAAAAAAAAAAAAAAAQ
            Error while executing topic command : TopicId 'AAAAAAAAAAAAAAAAAAAAAQ' does not exist as expected
            => 1
        "#]],
    );
    let described = shell.run("kafka-topics --describe --topic u");
    let (_, id) = described.split_once("TopicId: ").unwrap();
    let beside = format!("kafka-topics --describe --topic t --topic-id {}", &id[..22]);
    assert_eq!(shell.run(&beside), described);
}

#[test]
fn topics_are_created_described_altered_and_deleted() {
    let shell = Shell::new();
    shell.script(
        &[
            "kafka-topics --create --topic orders --partitions 2 --replication-factor 1",
            "kafka-topics --create --topic orders",
            "kafka-topics --create --topic orders --if-not-exists",
            "kafka-topics --create --topic a.b --config retention.ms=1000",
            "kafka-topics.sh --list",
            "kafka-topics --list --topic o.*",
            "kafka-topics --describe --topic orders",
            "kafka-topics --describe --topics-with-overrides",
            "kafka-topics --describe --under-replicated-partitions",
            "kafka-topics --describe --topic nope",
            "kafka-topics --alter --topic orders --partitions 3",
            "kafka-topics --delete --topic orders",
            "kafka-topics --delete --topic orders",
            "kafka-topics --delete --topic orders --if-exists",
        ],
        expect![[r#"
            $ kafka-topics --create --topic orders --partitions 2 --replication-factor 1
            Created topic orders.
            $ kafka-topics --create --topic orders
            Error while executing topic command : Topic 'orders' already exists.
            => 1
            $ kafka-topics --create --topic orders --if-not-exists
            $ kafka-topics --create --topic a.b --config retention.ms=1000
            WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.
            Created topic a.b.
            $ kafka-topics.sh --list
            a.b
            orders
            $ kafka-topics --list --topic o.*
            orders
            $ kafka-topics --describe --topic orders
            Topic: orders	TopicId: ID	PartitionCount: 2	ReplicationFactor: 1	Configs: 
            	Topic: orders	Partition: 0	Leader: 1	Replicas: 1	Isr: 1	Elr: 	LastKnownElr: 
            	Topic: orders	Partition: 1	Leader: 1	Replicas: 1	Isr: 1	Elr: 	LastKnownElr: 
            $ kafka-topics --describe --topics-with-overrides
            Topic: a.b	TopicId: ID	PartitionCount: 1	ReplicationFactor: 1	Configs: retention.ms=1000
            $ kafka-topics --describe --under-replicated-partitions
            $ kafka-topics --describe --topic nope
            Error while executing topic command : Topic 'nope' does not exist as expected
            => 1
            $ kafka-topics --alter --topic orders --partitions 3
            $ kafka-topics --delete --topic orders
            $ kafka-topics --delete --topic orders
            Error while executing topic command : Topic 'orders' does not exist as expected
            => 1
            $ kafka-topics --delete --topic orders --if-exists
        "#]],
    );
}

#[test]
fn wrong_flags_are_told_in_kafkas_words_and_are_status_1() {
    let shell = Shell::new();
    shell.script(
        &[
            "kafka-topics",
            "kafka-topics --create --list",
            "kafka-topics --create",
            "kafka-topics --nope",
            "kafka-topics --create --topic x --if-exists",
            "kafka-topics --alter --topic x --config a=b",
            "kafka-topics --create --topic x --partitions y",
            "kafka-console-producer",
            "kafka-console-producer --topic t --request-required-acks 7",
            "kafka-console-consumer",
            "kafka-console-consumer --topic t --offset 1",
            "kafka-console-consumer --topic t --group g --consumer-property group.id=h",
            "kafka-consumer-groups",
            "kafka-consumer-groups --describe",
            "kafka-consumer-groups --list --state nope",
            "kafka-consumer-groups --reset-offsets --group g --topic t --dry-run",
            "kafka-configs --describe",
            "kafka-configs --alter --topic t",
            "kafka-configs --describe --entity-type nope",
            "kafka-get-offsets --time nope",
            "kafka-delete-records",
            "kafka-log-dirs",
            "kafka-cluster",
            "kafka-transactions nope",
        ],
        expect![[r#"
            $ kafka-topics
            Command must include exactly one action: --list, --describe, --create, --alter or --delete
              help: `kafka-topics --help` shows all options
            => 1
            $ kafka-topics --create --list
            Command must include exactly one action: --list, --describe, --create, --alter or --delete
              help: `kafka-topics --help` shows all options
            => 1
            $ kafka-topics --create
            Missing required argument "[topic]"
              help: `kafka-topics --help` shows all options
            => 1
            $ kafka-topics --nope
            nope is not a recognized option
              help: `kafka-topics --help` shows all options
            => 1
            $ kafka-topics --create --topic x --if-exists
            Option "[if-exists]" can't be used with option "[create]"
              help: `kafka-topics --help` shows all options
            => 1
            $ kafka-topics --alter --topic x --config a=b
            Option combination "[[bootstrap-server], [config]]" can't be used with option "[alter]" (To alter topic configurations, the kafka-configs tool can be used.)
              help: `kafka-topics --help` shows all options
            => 1
            $ kafka-topics --create --topic x --partitions y
            Error while executing topic command : Cannot parse argument 'y' of option partitions
            => 1
            $ kafka-console-producer
            Missing required argument "[topic]"
              help: `kafka-console-producer --help` shows all options
            => 1
            $ kafka-console-producer --topic t --request-required-acks 7
            org.apache.kafka.common.config.ConfigException: Invalid value 7 for configuration acks: String must be one of: all, -1, 0, 1
              help: `kafka-console-producer --help` shows all options
            => 1
            $ kafka-console-consumer
            Exactly one of --include/--topic is required. 
              help: `kafka-console-consumer --help` shows all options
            => 1
            $ kafka-console-consumer --topic t --offset 1
            The partition is required when offset is specified.
              help: `kafka-console-consumer --help` shows all options
            => 1
            $ kafka-console-consumer --topic t --group g --consumer-property group.id=h
            The group ids provided in different places (directly using '--group', via '--consumer-property', or via '--consumer.config') do not match. Detected group ids: 'g', 'h'
              help: `kafka-console-consumer --help` shows all options
            => 1
            $ kafka-consumer-groups
            Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets, --validate-regex
              help: `kafka-consumer-groups --help` shows all options
            => 1
            $ kafka-consumer-groups --describe
            Option [describe] takes one of these options: [all-groups], [group]
              help: `kafka-consumer-groups --help` shows all options
            => 1
            $ kafka-consumer-groups --list --state nope
            Invalid state list 'nope'. Valid states are: Dead, Empty, CompletingRebalance, Reconciling, Assigning, Stable, PreparingRebalance
              help: `kafka-consumer-groups --help` shows all options
            => 1
            $ kafka-consumer-groups --reset-offsets --group g --topic t --dry-run
            Option '[reset-offsets]' requires one of the following scenarios: [[to-offset], [to-current], [to-datetime], [from-file], [by-duration], [to-earliest], [to-latest], [shift-by]]
              help: `kafka-consumer-groups --help` shows all options
            => 1
            $ kafka-configs --describe
            At least one entity type must be specified
              help: `kafka-configs --help` shows all options
            => 1
            $ kafka-configs --alter --topic t
            At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter
              help: `kafka-configs --help` shows all options
            => 1
            $ kafka-configs --describe --entity-type nope
            Invalid entity type nope, the entity type must be one of topics, clients, users, brokers, ips, client-metrics, groups, broker-loggers with a --bootstrap-server or --bootstrap-controller argument
              help: `kafka-configs --help` shows all options
            => 1
            $ kafka-get-offsets --time nope
            Error occurred: Malformed time argument nope. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered, or a specified long format timestamp
              help: `kafka-get-offsets --help` shows all options
            => 1
            $ kafka-delete-records
            Missing required argument "[offset-json-file]"
              help: `kafka-delete-records --help` shows all options
            => 1
            $ kafka-log-dirs
            Missing required argument "[describe]"
              help: `kafka-log-dirs --help` shows all options
            => 1
            $ kafka-cluster
            kafka-cluster: error: too few arguments
              help: `kafka-cluster --help` shows all options
            => 1
            $ kafka-transactions nope
            kafka-transactions.sh: error: invalid choice: 'nope' (choose from 'list', 'describe', 'describe-producers', 'find-hanging', 'abort', 'forceTerminateTransaction')
              help: `kafka-transactions --help` shows all options
            => 1
        "#]],
    );
}

#[test]
fn lines_become_records_and_records_lines() {
    let shell = Shell::new();
    shell.run("kafka-topics --create --topic t --partitions 1");
    let produce = |flags: &str, input: &str| {
        shell.run_with(&format!("kafka-console-producer --topic t {flags}"), input)
    };
    assert_eq!(produce("", "one\n\nthree\r\n"), "");
    assert_eq!(produce("--property parse.key=true --property key.separator=:", "k:v:w\n"), "");
    let all = "--property parse.headers=true --property parse.key=true \
               --reader-property null.marker=NULL --compression-codec zstd";
    assert_eq!(produce(all, "h1:v1,h2:NULL\tkey\tNULL\nNULL\tNULL\tvalue\n"), "");
    expect![[r#"
        org.apache.kafka.common.KafkaException: No key separator found on line number 2: 'no key'
          help: `kafka-console-producer --help` shows all options
        => 1
    "#]]
    .assert_eq(&produce("--property parse.key=true", "a\tb\nno key\nc\td\n"));
    assert_eq!(produce("--property parse.key=true --property ignore.error=true", "plain\n"), "");

    let consume = |flags: &str| {
        shell.run(&format!("kafka-console-consumer --topic t --timeout-ms 30000 {flags}"))
    };
    expect![[r#"
        Partition:0|Offset:0|NO_HEADERS|null|one
        Partition:0|Offset:1|NO_HEADERS|null|
        Partition:0|Offset:2|NO_HEADERS|null|three
        Partition:0|Offset:3|NO_HEADERS|k|v:w
        Partition:0|Offset:4|h1:v1,h2:null|key|null
        Partition:0|Offset:5|NO_HEADERS|null|value
        Partition:0|Offset:6|NO_HEADERS|a|b
        Partition:0|Offset:7|NO_HEADERS|null|plain
        Processed a total of 8 messages
    "#]]
    .assert_eq(&consume(
        "--from-beginning --max-messages 8 --property print.key=true --property print.headers=true \
         --property print.partition=true --property print.offset=true \
         --property key.separator=|",
    ));
    expect![[r#"
        three
        v:w
        Processed a total of 2 messages
    "#]]
    .assert_eq(&consume("--partition 0 --offset 2 --max-messages 2"));
    let none = shell.run("kafka-console-consumer --topic t --timeout-ms 500");
    assert_eq!(none, "Processed a total of 0 messages\n");
    let timestamps = consume("--from-beginning --max-messages 1 --property print.timestamp=true");
    assert!(timestamps.starts_with("CreateTime:"), "{timestamps}");
    let noop = consume(
        "--from-beginning --max-messages 8 --formatter org.apache.kafka.tools.consumer.NoOpMessageFormatter",
    );
    assert_eq!(noop, "Processed a total of 8 messages\n");
    let included =
        shell.run("kafka-console-consumer --include t|u --from-beginning --max-messages 1");
    assert_eq!(included, "one\nProcessed a total of 1 messages\n");
}

#[test]
fn groups_are_listed_described_reset_and_deleted() {
    let shell = Shell::new();
    shell.run("kafka-topics --create --topic t --partitions 2");
    let keyed =
        "kafka-console-producer --topic t --property parse.key=true --property key.separator=:";
    shell.run_with(keyed, "a:1\nb:2\nc:3\nd:4\ne:5\n");
    let consume = "kafka-console-consumer --topic t --group g --timeout-ms 30000";
    let first = shell.run(&format!("{consume} --from-beginning --max-messages 2"));
    assert!(first.ends_with("Processed a total of 2 messages\n"), "{first}");
    let rest = shell.run(&format!("{consume} --max-messages 3"));
    assert!(rest.ends_with("Processed a total of 3 messages\n"), "{rest}");
    shell.script(
        &[
            "kafka-consumer-groups --list",
            "kafka-consumer-groups --list --state --type",
            "kafka-consumer-groups --describe --group g",
            "kafka-consumer-groups --describe --group g --members",
            "kafka-consumer-groups --describe --group g --state",
            "kafka-consumer-groups --describe --group nope",
            "kafka-consumer-groups --reset-offsets --group g --topic t --to-earliest --dry-run",
            "kafka-consumer-groups --reset-offsets --group g --topic t:0 --to-offset 1",
            "kafka-consumer-groups --reset-offsets --group g --topic t --to-offset 1 --execute",
            "kafka-consumer-groups --reset-offsets --group g --all-topics --shift-by -1 --execute",
            "kafka-consumer-groups --reset-offsets --group g --topic t --to-datetime \
             2020-01-01T00:00:00.000 --dry-run",
            "kafka-consumer-groups --reset-offsets --group g --topic t --by-duration -PT1H --dry-run",
            "kafka-consumer-groups --reset-offsets --group g --topic t --to-latest --export --dry-run",
            "kafka-consumer-groups --describe --group g",
            "kafka-consumer-groups --delete-offsets --group g --topic t:0",
            "kafka-consumer-groups --delete --group g --group nope",
            "kafka-consumer-groups --list",
        ],
        expect![[r#"
            $ kafka-consumer-groups --list
            g
            $ kafka-consumer-groups --list --state --type
            GROUP                     TYPE                 STATE               
            g                         Classic              Empty               
            $ kafka-consumer-groups --describe --group g

            GROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID
            g               t               0          4               4               0               -               -               -
            g               t               1          1               1               0               -               -               -

            Consumer group 'g' has no active members.
            $ kafka-consumer-groups --describe --group g --members

            GROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS     

            Consumer group 'g' has no active members.
            $ kafka-consumer-groups --describe --group g --state

            GROUP           COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE                #MEMBERS
            g               HOST:PORT  (1)      -                    Empty                0

            Consumer group 'g' has no active members.
            $ kafka-consumer-groups --describe --group nope

            Error: Executing consumer group command failed due to org.apache.kafka.common.errors.GroupIdNotFoundException: Group nope not found.
            $ kafka-consumer-groups --reset-offsets --group g --topic t --to-earliest --dry-run

            GROUP                          TOPIC                          PARTITION  NEW-OFFSET     
            g                              t                              0          0              
            g                              t                              1          0              
            $ kafka-consumer-groups --reset-offsets --group g --topic t:0 --to-offset 1

            GROUP                          TOPIC                          PARTITION  NEW-OFFSET     
            g                              t                              0          1              
            WARN: No action will be performed as the --execute option is missing. In a future major release, the default behavior of this command will be to prompt the user before executing the reset rather than doing a dry run. You should add the --dry-run option explicitly if you are scripting this command and want to keep the current default behavior without prompting.
            $ kafka-consumer-groups --reset-offsets --group g --topic t --to-offset 1 --execute

            GROUP                          TOPIC                          PARTITION  NEW-OFFSET     
            g                              t                              0          1              
            g                              t                              1          1              
            $ kafka-consumer-groups --reset-offsets --group g --all-topics --shift-by -1 --execute

            GROUP                          TOPIC                          PARTITION  NEW-OFFSET     
            g                              t                              0          0              
            g                              t                              1          0              
            $ kafka-consumer-groups --reset-offsets --group g --topic t --to-datetime 2020-01-01T00:00:00.000 --dry-run

            GROUP                          TOPIC                          PARTITION  NEW-OFFSET     
            g                              t                              0          0              
            g                              t                              1          0              
            $ kafka-consumer-groups --reset-offsets --group g --topic t --by-duration -PT1H --dry-run

            Warn: Partition 0 from topic t is empty. Falling back to latest known offset.

            Warn: Partition 1 from topic t is empty. Falling back to latest known offset.

            GROUP                          TOPIC                          PARTITION  NEW-OFFSET     
            g                              t                              0          4              
            g                              t                              1          1              
            $ kafka-consumer-groups --reset-offsets --group g --topic t --to-latest --export --dry-run
            t,0,4
            t,1,1

            $ kafka-consumer-groups --describe --group g

            GROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID
            g               t               0          0               4               4               -               -               -
            g               t               1          0               1               1               -               -               -

            Consumer group 'g' has no active members.
            $ kafka-consumer-groups --delete-offsets --group g --topic t:0
            Request succeeded for deleting offsets from group g.

            TOPIC           PARTITION  STATUS         
            t               0          Successful     
            $ kafka-consumer-groups --delete --group g --group nope

            Error: Deletion of some consumer groups failed:
            * Group 'nope' could not be deleted due to: org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist.

            These consumer groups were deleted successfully: 'g'
            $ kafka-consumer-groups --list
        "#]],
    );
}

#[test]
fn a_plan_is_exported_and_read_again() {
    let shell = Shell::new();
    shell.run_with("kafka-console-producer --topic t", "1\n2\n3\n");
    let export = "kafka-consumer-groups --reset-offsets --group g --topic t --to-latest --export \
                  --dry-run";
    fs::write(shell.dir.path().join("plan.csv"), shell.run(export)).unwrap();
    shell.script(
        &[
            "kafka-consumer-groups --reset-offsets --group g --from-file plan.csv --execute",
            "kafka-consumer-groups --reset-offsets --group g --from-file nope.csv --execute",
        ],
        expect![[r#"
            $ kafka-consumer-groups --reset-offsets --group g --from-file plan.csv --execute

            GROUP                          TOPIC                          PARTITION  NEW-OFFSET     
            g                              t                              0          3              
            $ kafka-consumer-groups --reset-offsets --group g --from-file nope.csv --execute
            error: nope.csv: No such file or directory (os error 2)
            => 1
        "#]],
    );
}

#[test]
fn configs_are_described_and_altered() {
    let shell = Shell::new();
    shell.run("kafka-topics --create --topic t");
    shell.script(
        &[
            "kafka-configs --describe --topic t",
            "kafka-configs --alter --entity-type topics --entity-name t --add-config \
             retention.ms=5000,cleanup.policy=[compact,delete]",
            "kafka-configs --describe --entity-type topics --entity-name t",
            "kafka-configs --alter --topic t --delete-config cleanup.policy",
            "kafka-configs --alter --topic t --delete-config cleanup.policy",
            "kafka-configs --describe --topic t",
            "kafka-configs --describe --topic nope",
            "kafka-configs --describe --entity-type clients",
            "kafka-configs --alter --entity-type users --entity-name alice --add-config \
             SCRAM-SHA-256=[iterations=8192,password=secret]",
            "kafka-configs --describe --entity-type users",
            "kafka-configs --alter --user alice --delete-config SCRAM-SHA-512",
            "kafka-configs --alter --user alice --delete-config SCRAM-SHA-256",
            "kafka-configs --describe --entity-type users",
        ],
        expect![[r#"
            $ kafka-configs --describe --topic t
            Dynamic configs for topic t are:
            $ kafka-configs --alter --entity-type topics --entity-name t --add-config retention.ms=5000,cleanup.policy=[compact,delete]
            Completed updating config for topic t.
            $ kafka-configs --describe --entity-type topics --entity-name t
            Dynamic configs for topic t are:
              cleanup.policy=compact,delete sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, DEFAULT_CONFIG:log.cleanup.policy=delete}
              retention.ms=5000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5000}
            $ kafka-configs --alter --topic t --delete-config cleanup.policy
            Completed updating config for topic t.
            $ kafka-configs --alter --topic t --delete-config cleanup.policy
            Invalid config(s): cleanup.policy
              help: `kafka-configs --help` shows all options
            => 1
            $ kafka-configs --describe --topic t
            Dynamic configs for topic t are:
              retention.ms=5000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5000}
            $ kafka-configs --describe --topic nope
            The topic 'nope' doesn't exist and doesn't have dynamic config.
            $ kafka-configs --describe --entity-type clients
            error: entity type 'clients' is not served here
              help: Kafka's own kafka-configs.sh sets quotas, which the broker keeps to
            => 1
            $ kafka-configs --alter --entity-type users --entity-name alice --add-config SCRAM-SHA-256=[iterations=8192,password=secret]
            Completed updating config for user alice.
            $ kafka-configs --describe --entity-type users
            SCRAM credential configs for user-principal 'alice' are SCRAM-SHA-256=iterations=8192
            $ kafka-configs --alter --user alice --delete-config SCRAM-SHA-512
            Error while executing config command
            java.util.concurrent.ExecutionException: org.apache.kafka.common.errors.ResourceNotFoundException: Attempt to delete a user credential that does not exist
              help: `kafka-configs --help` shows all options
            => 1
            $ kafka-configs --alter --user alice --delete-config SCRAM-SHA-256
            Completed updating config for user alice.
            $ kafka-configs --describe --entity-type users
        "#]],
    );
    let all = shell.run("kafka-configs --describe --topic t --all");
    assert!(all.starts_with("All configs for topic t are:\n"), "{all}");
    assert!(all.contains("\n  segment.bytes=1073741824 sensitive=false synonyms={"), "{all}");
}

#[test]
fn offsets_are_shown_and_records_deleted() {
    let shell = Shell::new();
    shell.run_with("kafka-console-producer --topic t", "1\n2\n3\n");
    let offsets = r#"{"partitions":[{"topic":"t","partition":0,"offset":2},
                      {"topic":"nope","partition":0,"offset":2}],"version":1}"#;
    fs::write(shell.dir.path().join("offsets.json"), offsets).unwrap();
    shell.script(
        &[
            "kafka-get-offsets",
            "kafka-get-offsets --topic t --time earliest",
            "kafka-get-offsets --topic-partitions t:0-1 --time 99999999999999",
            "kafka-get-offsets --topic nope",
            "kafka-delete-records --offset-json-file offsets.json",
            "kafka-get-offsets --topic t --time -2",
            "kafka-console-consumer --topic t --from-beginning --max-messages 1",
            "kafka-delete-records --offset-json-file nope.json",
            "kafka-transactions list",
        ],
        expect![[r#"
            $ kafka-get-offsets
            t:0:3
            $ kafka-get-offsets --topic t --time earliest
            t:0:0
            $ kafka-get-offsets --topic-partitions t:0-1 --time 99999999999999
            $ kafka-get-offsets --topic nope
            Error occurred: Could not match any topic-partitions with the specified filters
              help: `kafka-get-offsets --help` shows all options
            => 1
            $ kafka-delete-records --offset-json-file offsets.json
            Executing records delete operation
            Records delete operation completed:
            partition: nope-0	error: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: This server does not host this topic-partition.
            partition: t-0	low_watermark: 2
            $ kafka-get-offsets --topic t --time -2
            t:0:2
            $ kafka-console-consumer --topic t --from-beginning --max-messages 1
            3
            Processed a total of 1 messages
            $ kafka-delete-records --offset-json-file nope.json
            error: Unable to read file nope.json: No such file or directory (os error 2)
            => 1
            $ kafka-transactions list
            TransactionalId	Coordinator	ProducerId	TransactionState	
        "#]],
    );
    let dirs = shell.run("kafka-log-dirs --describe --topic-list t --broker-list 1");
    assert!(!dirs.contains("note"), "{dirs}");
    let last = dirs.lines().last().unwrap();
    let json: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(json["brokers"][0]["logDirs"][0]["partitions"][0]["partition"], "t-0");
    assert!(last.starts_with(
        r#"{"brokers":[{"broker":1,"logDirs":[{"partitions":[{"partition":"t-0","size":"#
    ));
    let apis = shell.run("kafka-broker-api-versions");
    assert!(apis.starts_with(
        "HOST:PORT (id: 1 rack: null isFenced: false) -> (\n\tProduce(0): 0 to 13 [usable: 13],\n"
    ));
    assert!(shell.run("kafka-cluster cluster-id").starts_with("Cluster ID: "));
}

#[test]
fn zookeeper_is_needless_and_old_flags_are_taken_with_a_note() {
    let shell = Shell::new();
    shell.script(
        &[
            "zookeeper-server-start -daemon config/zookeeper.properties",
            "kafka-topics --create --topic t --zookeeper localhost:2181",
        ],
        expect![[r#"
            $ zookeeper-server-start -daemon config/zookeeper.properties
            No ZooKeeper is needed: kafka-server-start alone starts a broker.
            $ kafka-topics --create --topic t --zookeeper localhost:2181
            Created topic t.
            note: there is no ZooKeeper, --zookeeper localhost:2181 is ignored; using the broker at HOST:PORT
        "#]],
    );
    let line = ["kafka-console-producer", "--topic", "t", "--broker-list", &shell.address];
    let told = run(shell.dir.path(), &line, "x\n");
    let note = format!(
        "note: --broker-list is --bootstrap-server now; using the broker at {}\n",
        shell.address
    );
    assert_eq!(told, note);
    // Without any flag the data directory leads to the broker that serves it.
    let list = run(shell.dir.path(), &["kafka-topics", "--list", "--data-dir", "data"], "");
    assert_eq!(list, "t\n");
}

#[test]
fn security_that_cannot_be_had_is_refused() {
    let shell = Shell::new();
    let properties = "security.protocol=SASL_SSL\nssl.truststore.type=JKS\n";
    fs::write(shell.dir.path().join("client.properties"), properties).unwrap();
    shell.script(
        &["kafka-topics --list --command-config client.properties"],
        expect![[r#"
        $ kafka-topics --list --command-config client.properties
        error: client.properties: ssl.truststore.type=JKS: only PEM is read here; turn it into that by `keytool -importkeystore -srckeystore IN -destkeystore OUT.p12 -deststoretype PKCS12`, then `openssl pkcs12 -in OUT.p12 -out OUT.pem -nodes`
        => 1
    "#]],
    );
}

#[test]
fn links_run_under_kafkas_names() {
    let dir = tempdir().unwrap();
    succeed(dir.path(), &["links", "bin"]);
    // Once more: what is there already is left alone.
    succeed(dir.path(), &["links", "bin"]);
    let absent = Command::new(dir.path().join("bin/kafka-delegation-tokens.sh")).output().unwrap();
    assert_eq!(absent.status.code(), Some(1), "not here, but linked to say why");
    for name in ["kafka-topics", "kafka-topics.sh", "kafka-consumer-groups.sh"] {
        let output =
            Command::new(dir.path().join("bin").join(name)).arg("--help").output().unwrap();
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(
            help.contains("--bootstrap-server <HOST:PORT>") && help.contains("Example:"),
            "{help}"
        );
    }
}

#[test]
fn a_server_starts_by_its_properties_in_the_background_and_is_stopped() {
    let dir = tempdir().unwrap();
    let run = |words: &[&str]| run(dir.path(), words, "");
    let properties = "process.roles=broker,controller\nnode.id=7\nnum.network.threads=3\n\
                      listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:1\n\
                      controller.listener.names=CONTROLLER\nlog.dirs=logs\nmy.own=1\n";
    fs::write(dir.path().join("server.properties"), properties).unwrap();
    let stop = ["kafka-server-stop", "server.properties"];
    assert!(run(&stop).starts_with("No kafka server to stop"));
    let started = run(&[
        "kafka-server-start.sh",
        "-daemon",
        "server.properties",
        "--override",
        "num.partitions=3",
    ]);
    assert!(started.contains("server.properties: unknown and ignored: my.own\n"), "{started}");
    assert!(started.contains("started process "), "{started}");
    let deadline = Instant::now() + PATIENCE;
    let create = ["kafka-topics", "--create", "--topic", "t", "--data-dir", "logs"];
    // It says in its lock when it listens.
    while run(&create) != "Created topic t.\n" {
        let log = || fs::read_to_string(dir.path().join("logs/server.out")).unwrap_or_default();
        assert!(Instant::now() < deadline, "{}", log());
    }
    let described = run(&["kafka-topics", "--describe", "--topic", "t", "--data-dir", "logs"]);
    assert!(described.contains("PartitionCount: 3"), "{described}");
    assert!(described.contains("Leader: 7"), "{described}");
    // Another test's may run too; then all are named, and none is stopped.
    let unnamed = run(&["kafka-server-stop"]);
    let id = started.split("started process ").nth(1).unwrap().split(';').next().unwrap();
    let own = format!("\n  {id}  ");
    let several = unnamed.starts_with("There are several kafka servers") && unnamed.contains(&own);
    assert!(several || unnamed == format!("asked process {id} to stop\n"), "{unnamed}");
    let stopped = run(&stop);
    assert!(stopped.starts_with("asked process ") || !several, "{stopped}");
    while !run(&stop).starts_with("No kafka server to stop") {
        assert!(Instant::now() < deadline, "it does not stop");
    }
    // Nobody serves the directory now: the command opens it itself.
    let list = run(&["kafka-topics", "--list", "--data-dir", "logs"]);
    assert_eq!(list, "t\n");
}

#[test]
fn a_directory_of_kafkas_own_is_left_alone() {
    let dir = tempdir().unwrap();
    fs::create_dir_all(dir.path().join("logs/__cluster_metadata-0")).unwrap();
    fs::write(dir.path().join("server.properties"), "log.dirs=logs\n").unwrap();
    let refused = run(dir.path(), &["kafka-server-start", "server.properties"], "");
    expect![[r#"
        error: logs is Apache Kafka's own
          help: choose another directory by log.dirs
        => 1
    "#]]
    .assert_eq(&refused);
}

#[test]
fn topics_that_come_later_are_read_if_they_are_included() {
    let shell = Shell::new();
    for group in [&[][..], &["--group", "g"]] {
        let name = group.last().unwrap_or(&"alone");
        let pattern = format!("{name}-.*");
        let read = ["kafka-console-consumer", "--include", &pattern, "--from-beginning"];
        let rest = ["--max-messages", "2", "--bootstrap-server", &shell.address];
        let mut reader = Running::start(shell.dir.path(), &[&read[..], group, &rest[..]].concat());
        reader.wait_stderr("waiting for it");
        shell.run_with(&format!("kafka-console-producer --topic {name}-first"), "one\n");
        reader.wait_stdout("one");
        shell.run_with(&format!("kafka-console-producer --topic {name}-second"), "two\n");
        reader.wait_stdout("two");
        assert_eq!(reader.end().0, Some(0));
    }
}

/// By any of their names, and with whatever flags scripts give them.
#[test]
fn commands_that_are_not_here_say_why() {
    let shell = Shell::new();
    shell.script(
        &[
            "kafka-delegation-tokens.sh --describe",
            "kafka-leader-election --election-type preferred --all-topic-partitions",
            "kafka-storage format -t some-id -c server.properties --standalone",
            "kafka-topic --list",
            "kafka-brew",
            "kafka-consumer-groups --validate-regex a{1,2}",
            "kafka-consumer-groups --validate-regex a(",
        ],
        expect![[r#"
            $ kafka-delegation-tokens.sh --describe
            kafka-delegation-tokens: there are no delegation tokens; SCRAM and OAUTHBEARER serve in their place
            => 1
            $ kafka-leader-election --election-type preferred --all-topic-partitions
            kafka-leader-election: there is one broker, which leads every partition
            => 1
            $ kafka-storage format -t some-id -c server.properties --standalone
            Nothing has to be formatted: kafka-server-start makes its data directory.
            $ kafka-topic --list
            error: there is no command 'kafka-topic'
              help: did you mean `kafka-topics`?
            => 2
            $ kafka-brew
            error: there is no command 'kafka-brew'
              help: `millstream links DIR` links all that there are into a directory
            => 2
            $ kafka-consumer-groups --validate-regex a{1,2}
            The regular expression `a{1,2}` is valid.
            $ kafka-consumer-groups --validate-regex a(
            The regular expression `a(` is invalid.
        "#]],
    );
    assert_eq!(run(shell.dir.path(), &["kafka-storage", "random-uuid"], "").len(), 23);
}

/// All that there was to print was printed before its reader went: without a word of it the command
/// waited for ever.
#[test]
fn a_consumer_ends_when_nobody_reads_what_it_prints() {
    let shell = Shell::new();
    shell.run_with("kafka-console-producer --topic t", "one\ntwo\n");
    for line in ["kafka-console-consumer --topic t --from-beginning", "consume t"] {
        let program = env!("CARGO_BIN_EXE_millstream");
        let at = &shell.address;
        let pipe = format!("{program} {line} --bootstrap-server {at} | head -n 1");
        let started = Instant::now();
        let mut pipe = Command::new("timeout").args(["60", "sh", "-c", &pipe]).spawn().unwrap();
        assert!(pipe.wait().unwrap().success(), "{line}");
        assert!(started.elapsed() < PATIENCE, "{line}");
    }
}
