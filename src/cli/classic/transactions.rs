//! `kafka-transactions`.

use broker::client::admin::transactions::{HangingTransaction, ProducerDescription};
use broker::client::admin::{Admin, AdminError};
use broker::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use broker::protocol::ErrorCode;

use super::options::{Given, Tool, value};
use super::{Error, java};
use crate::cli::stdout::print;
use crate::cli::transactions::{Hanging, OLDER_THAN_MIN, find_hanging};

pub const TOOL: Tool = Tool {
    name: "kafka-transactions",
    about: "This tool is used to analyze the transactional state of producers in the cluster.\n\
            Commands: list, describe, describe-producers, find-hanging, abort, forceTerminateTransaction.",
    example: "kafka-transactions describe --transactional-id my-id",
    options: &[
        value("broker-id", "ID", "Ask this broker; with find-hanging: its partitions"),
        value("coordinator-epoch", "EPOCH", "With abort: the coordinator's epoch"),
        value("duration-filter", "MS", "With list: only transactions open for longer"),
        value("max-transaction-timeout", "MIN", "With find-hanging: open for longer (default 15)"),
        value("partition", "N", "The partition"),
        value("producer-epoch", "EPOCH", "With abort: the producer's epoch"),
        value("producer-id", "ID", "With abort: the producer"),
        value("start-offset", "OFFSET", "With abort: where the transaction begins"),
        value("topic", "TOPIC", "The topic"),
        value("transactional-id", "ID", "The transactional id"),
        value("transactional-id-pattern", "REGEX", "With list: only ids that match"),
        value("transactionalId", "ID", "With forceTerminateTransaction: the transactional id"),
    ],
};

const COMMANDS: [&str; 6] = [
    "list",
    "describe",
    "describe-producers",
    "find-hanging",
    "abort",
    "forceTerminateTransaction",
];

pub async fn run(given: &Given) -> Result<(), Error> {
    let command = given.rest.first().map(String::as_str);
    let Some(command) = command.filter(|command| COMMANDS.contains(command)) else {
        return Err(Error::usage(match command {
            None => "kafka-transactions.sh: error: too few arguments".to_owned(),
            Some(other) => format!(
                "kafka-transactions.sh: error: invalid choice: '{other}' (choose from '{}')",
                COMMANDS.join("', '")
            ),
        }));
    };
    let connection = super::connect(given).await?;
    let admin = &connection.admin;
    let done = match command {
        "list" => list(admin, given).await,
        "describe" => describe(admin, given).await,
        "describe-producers" => describe_producers(admin, given).await,
        "find-hanging" => hanging(admin, given).await,
        "forceTerminateTransaction" => terminate(admin, given).await,
        _ => abort(admin, given).await,
    };
    connection.close().await;
    done
}

fn partition(given: &Given) -> Result<TopicPartition, Error> {
    let topic = given.required("topic")?;
    given.required("partition")?;
    Ok(TopicPartition::new(topic, given.parsed::<i32>("partition")?.unwrap_or_default()))
}

/// Told on stderr, as this command does.
fn failed(what: &str, error: &AdminError) -> Error {
    Error::usage(format!("{what}: {}", java::message(error)))
}

async fn list(admin: &Admin, given: &Given) -> Result<(), Error> {
    let filter = given.parsed::<i64>("duration-filter")?.filter(|duration| *duration >= 0);
    let found = admin.transactions(filter, given.value("transactional-id-pattern")).await;
    let found = found.map_err(|error| failed("Failed to list transactions", &error))?;
    let rows: Vec<Vec<String>> = found
        .into_iter()
        .map(|listed| {
            let (coordinator, id) = (listed.coordinator.to_string(), listed.producer_id);
            vec![listed.transactional_id, coordinator, id.to_string(), listed.state]
        })
        .collect();
    let header = ["TransactionalId", "Coordinator", "ProducerId", "TransactionState"];
    Ok(print(&java::table(&header, &rows))?)
}

async fn describe(admin: &Admin, given: &Given) -> Result<(), Error> {
    let id = given.required("transactional-id")?;
    let found = admin.transaction(id).await.map_err(|error| {
        let what = format!("Failed to describe transaction state of transactional-id `{id}`");
        match error.code() {
            Some(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND) => Error::usage(format!(
                "{what}: DescribeTransactions request for transactionalId `{id}` failed because \
                 the ID could not be found."
            )),
            _ => failed(&what, &error),
        }
    })?;
    let partitions: Vec<String> = found.partitions.iter().map(ToString::to_string).collect();
    let number = |number: Option<i64>| number.map_or("None".to_owned(), |ms| ms.to_string());
    let now_ms = broker::broker::now_ms();
    let row = vec![
        found.coordinator.to_string(),
        id.to_owned(),
        found.producer_id.to_string(),
        found.epoch.to_string(),
        found.state,
        found.timeout_ms.to_string(),
        number(found.start_time_ms),
        number(found.start_time_ms.map(|start| now_ms - start)),
        partitions.join(","),
    ];
    let header = [
        "CoordinatorId",
        "TransactionalId",
        "ProducerId",
        "ProducerEpoch",
        "TransactionState",
        "TransactionTimeoutMs",
        "CurrentTransactionStartTimeMs",
        "TransactionDurationMs",
        "TopicPartitions",
    ];
    Ok(print(&java::table(&header, &[row]))?)
}

async fn describe_producers(admin: &Admin, given: &Given) -> Result<(), Error> {
    let of = partition(given)?;
    let node = given.parsed::<i32>("broker-id")?;
    let place = node.map_or("leader".to_owned(), |id| format!("broker {id}"));
    let found = admin.producers(&of, node).await.map_err(|error| {
        failed(&format!("Failed to describe producers for partition {of} on {place}"), &error)
    })?;
    let row = |producer: &ProducerDescription| {
        vec![
            producer.producer_id.to_string(),
            producer.epoch.to_string(),
            producer.coordinator_epoch.to_string(),
            producer.last_sequence.to_string(),
            producer.last_timestamp_ms.to_string(),
            producer.transaction_start.map_or("None".to_owned(), |start| start.to_string()),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let header = [
        "ProducerId",
        "ProducerEpoch",
        "LatestCoordinatorEpoch",
        "LastSequence",
        "LastTimestamp",
        "CurrentTransactionStartOffset",
    ];
    Ok(print(&java::table(&header, &rows))?)
}

/// Partitions to look at: the one that was named, those of a topic, or those that a broker leads.
async fn candidates(admin: &Admin, given: &Given) -> Result<Vec<TopicPartition>, Error> {
    if given.has("topic") && given.has("partition") {
        return Ok(vec![partition(given)?]);
    }
    let broker = given.parsed::<i32>("broker-id")?;
    if broker.is_none() && !given.has("topic") {
        return Err(Error::usage(
            "The `find-hanging` command requires either --topic or --broker-id to limit the scope \
             of the search",
        ));
    }
    let names: Vec<String> = match given.value("topic") {
        Some(topic) => vec![topic.to_owned()],
        None => admin.topic_names().await?.into_iter().map(|(name, _)| name).collect(),
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for topic in admin.describe_topics(&names).await? {
        for at in &topic.partitions {
            if broker.is_none_or(|id| at.replicas.contains(&id)) {
                found.push(TopicPartition::new(topic.name.as_str(), at.number));
            }
        }
    }
    Ok(found)
}

/// Transactions that are open for too long and that no coordinator knows.
async fn hanging(admin: &Admin, given: &Given) -> Result<(), Error> {
    let candidates = candidates(admin, given).await?;
    let timeout_min = given.parsed::<i64>("max-transaction-timeout")?.unwrap_or(OLDER_THAN_MIN);
    let found = find_hanging(admin, candidates, timeout_min).await;
    let found = found.map_err(|error| failed("Failed to find hanging transactions", &error))?;
    let row = |one: &Hanging| {
        let producer = &one.producer;
        vec![
            one.partition.topic.to_string(),
            one.partition.partition.to_string(),
            producer.producer_id.to_string(),
            producer.epoch.to_string(),
            producer.coordinator_epoch.to_string(),
            producer.transaction_start.unwrap_or_default().to_string(),
            producer.last_timestamp_ms.to_string(),
            one.idle_min.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let header = [
        "Topic",
        "Partition",
        "ProducerId",
        "ProducerEpoch",
        "CoordinatorEpoch",
        "StartOffset",
        "LastTimestamp",
        "Duration(min)",
    ];
    Ok(print(&java::table(&header, &rows))?)
}

async fn terminate(admin: &Admin, given: &Given) -> Result<(), Error> {
    let id = match given.value("transactional-id") {
        Some(id) => id,
        None => given.required("transactionalId")?,
    };
    admin.terminate_transaction(id).await.map_err(|error| {
        failed(&format!("Failed to force terminate transactionalId `{id}`"), &error)
    })
}

async fn abort(admin: &Admin, given: &Given) -> Result<(), Error> {
    let of = partition(given)?;
    if let Some(start) = given.parsed::<i64>("start-offset")? {
        return match crate::cli::transactions::abort(admin, &of, Offset(start)).await {
            Err(crate::cli::Failure::Running { message, .. }) => Err(Error::usage(message)),
            done => Ok(done?),
        };
    }
    let Some(producer_id) = given.parsed::<i64>("producer-id")? else {
        return Err(Error::usage(
            "The transaction to abort must be identified either with --start-offset (for brokers \
             on 3.0 or above) or with --producer-id, --producer-epoch, and --coordinator-epoch \
             (for older brokers)",
        ));
    };
    let missing = |name| Error::usage(format!("Missing required argument --{name}"));
    let epoch = given.parsed::<i16>("producer-epoch")?;
    let coordinator_epoch = given.parsed::<i32>("coordinator-epoch")?;
    let hanging = HangingTransaction {
        partition: of,
        producer_id: ProducerId(producer_id),
        epoch: ProducerEpoch(epoch.ok_or_else(|| missing("producer-epoch"))?),
        coordinator_epoch: coordinator_epoch.ok_or_else(|| missing("coordinator-epoch"))?.max(0),
    };
    let aborted = admin.abort_transaction(&hanging).await;
    aborted.map_err(|error| failed("Failed to abort transaction", &error))
}
