//! Writes four orders to a topic and reads them back in a group, with rdkafka (librdkafka).
//!
//! In this repository:
//!
//! ```sh
//! cargo run --release --example orders -- localhost:9092
//! ```
//!
//! In a project of your own, with this file as src/main.rs:
//!
//! ```sh
//! cargo add rdkafka@0.39
//! cargo add tokio@1 --features macros,rt-multi-thread
//! cargo run -- localhost:9092
//! ```

use std::error::Error;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};

const ORDERS: [(&str, &str); 4] =
    [("ada", "3 apples"), ("grace", "1 book"), ("ada", "2 pears"), ("alan", "1 pen")];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bootstrap = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".to_owned());
    create_topic(&bootstrap).await?;
    write(&bootstrap).await?;
    read(&bootstrap).await
}

/// A topic is a number of partitions; each is a log of its own, which keeps its order.
async fn create_topic(bootstrap: &str) -> Result<(), Box<dyn Error>> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let topic = NewTopic::new("orders", 3, TopicReplication::Fixed(1));
    for created in admin.create_topics([&topic], &AdminOptions::new()).await? {
        match created {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(format!("cannot create {name}: {code}").into()),
        }
    }
    Ok(())
}

/// A key's messages go to one partition, so they stay in order.
async fn write(bootstrap: &str) -> Result<(), Box<dyn Error>> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        // The same partition as Java's client picks; librdkafka's own choice would be another.
        .set("partitioner", "murmur2_random")
        .create()?;
    for (customer, order) in ORDERS {
        let record = FutureRecord::to("orders").key(customer).payload(order);
        // Waits until the broker has it. Where many are sent, wait for all of them at the end.
        producer.send(record, Duration::from_secs(30)).await.map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// The members of a group share a topic's partitions. Their group remembers how far it has read:
/// run this twice, and it reads on where it stopped.
async fn read(bootstrap: &str) -> Result<(), Box<dyn Error>> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "warehouse")
        .set("auto.offset.reset", "earliest") // where a group begins that has never read
        .create()?;
    consumer.subscribe(&["orders"])?;
    for _ in ORDERS {
        let message = consumer.recv().await?;
        let text =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"")).into_owned();
        let (customer, order) = (text(message.key()), text(message.payload()));
        println!("partition {}: {customer} = {order}", message.partition());
    }
    consumer.commit_consumer_state(CommitMode::Sync)?;
    Ok(())
}
