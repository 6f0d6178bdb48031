//! Many partitions, connections and groups.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;

use crate::figures::Measured;
use crate::load::{Acks, WAIT, consumer, producer, read, send};
use crate::served::Served;

const PARTITIONS: usize = 1_000;
const CONNECTIONS: usize = 1_000;
const GROUPS: usize = 100;
/// Of each group.
const RECORDS: usize = 10_000;

/// A topic of many partitions: made, written and read.
pub fn partitions(broker: &mut Served, row: &mut Measured) {
    let (topic, bytes, records) = ("partitions", 100, 2_000_000_u64);
    let began = Instant::now();
    broker.create_topic(topic, PARTITIONS, false);
    row.less(&format!("{PARTITIONS} partitions made"), began.elapsed().as_secs_f64() * 1e3, "ms");
    let sending = producer(broker, Acks::Leader, &[("linger.ms", "50")]);
    let record = vec![b'x'; bytes];
    let began = Instant::now();
    for number in 0..records {
        send(&sending, topic, (number % PARTITIONS as u64) as i32, &record);
    }
    sending.flush(WAIT).expect("all is written");
    let rate = |began: Instant| records as f64 / began.elapsed().as_secs_f64() / 1e3;
    row.more(&format!("produce to {PARTITIONS} partitions, 100 B"), rate(began), "k records/s");
    let began = Instant::now();
    read(&consumer(broker, topic, PARTITIONS), records, bytes);
    row.more(&format!("fetch from {PARTITIONS} partitions, 100 B"), rate(began), "k records/s");
    row.less(&format!("memory with {PARTITIONS} partitions"), broker.memory_mib(), "MiB");
    broker.delete_topic(topic);
}

/// Connections that are all asked and answered, again and again, by a broker that has done nothing
/// before: what it has freed since would hide what they take.
pub fn connections(broker: &mut Served, row: &mut Measured) {
    const ROUNDS: usize = 20;
    // ApiVersions v0 (KIP-35), without a client id.
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
    broker.restart_in_order();
    let before = broker.memory_mib();
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(&broker.address).expect("it takes connections");
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(WAIT)))
            .expect("a socket");
        open.push(stream);
    }
    let began = Instant::now();
    let mut answer = Vec::new();
    for _ in 0..ROUNDS {
        for stream in &mut open {
            stream.write_all(&REQUEST).expect("it reads");
        }
        for stream in &mut open {
            let mut length = [0; 4];
            stream.read_exact(&mut length).expect("it answers");
            answer.resize(u32::from_be_bytes(length) as usize, 0);
            stream.read_exact(&mut answer).expect("it answers");
        }
    }
    let rate = (ROUNDS * CONNECTIONS) as f64 / began.elapsed().as_secs_f64() / 1e3;
    row.more(&format!("requests of {CONNECTIONS} connections"), rate, "k/s");
    let each_kib = (broker.memory_mib() - before).max(0.0) * 1024.0 / CONNECTIONS as f64;
    row.less("memory of a connection", each_kib, "KiB");
}

/// Groups that all begin at once and read the same topic.
pub fn groups(broker: &mut Served, row: &mut Measured) {
    let topic = "groups";
    broker.create_topic(topic, 4, false);
    let sending = producer(broker, Acks::Leader, &[("linger.ms", "5")]);
    for number in 0..RECORDS {
        send(&sending, topic, (number % 4) as i32, &[b'x'; 100]);
    }
    sending.flush(WAIT).expect("all is written");
    let began = Instant::now();
    let members: Vec<BaseConsumer> = (0..GROUPS)
        .map(|number| {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", &broker.address);
            config.set("group.id", format!("g-{number}")).set("auto.offset.reset", "earliest");
            let member: BaseConsumer = config.create().expect("librdkafka takes these settings");
            member.subscribe(&[topic]).expect("a topic");
            member
        })
        .collect();
    let mut left: Vec<(&BaseConsumer, usize)> =
        members.iter().map(|member| (member, RECORDS)).collect();
    while !left.is_empty() {
        assert!(began.elapsed() < WAIT * 3, "{} groups have not read all", left.len());
        for (member, records) in &mut left {
            while *records > 0
                && let Some(message) = member.poll(Duration::from_millis(1))
            {
                message.expect("no error");
                *records -= 1;
            }
        }
        left.retain(|(_, records)| *records > 0);
    }
    let took = began.elapsed().as_secs_f64();
    row.less(&format!("{GROUPS} groups join and read {RECORDS} records each"), took, "s");
    row.less(&format!("memory with {GROUPS} groups"), broker.memory_mib(), "MiB");
}
