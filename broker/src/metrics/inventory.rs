//! What is there: partitions with their sizes and offsets, groups with their members and lag.
//!
//! Committed offsets are looked at before the ends of logs, so that a lag is never negative.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::broker::{Broker, Topic};
use crate::ids::{Offset, TopicPartition};
use crate::log::Partition;

#[derive(Debug)]
pub(super) struct Inventory {
    broker: Weak<Broker>,
}

/// What a group has committed.
struct Commits {
    group: Arc<str>,
    offsets: Vec<(TopicPartition, Offset)>,
}

impl Inventory {
    pub fn new(broker: Weak<Broker>) -> Inventory {
        Inventory { broker }
    }
}

impl Collector for Inventory {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(broker) = self.broker.upgrade() else { return Ok(()) };
        let commits = groups(&broker, &mut encoder)?;
        let topics = broker.topics();
        traffic(&topics, &mut encoder)?;
        partitions(&topics, &mut encoder)?;
        lag(&topics, &commits, &mut encoder)?;
        process(&mut encoder)
    }
}

/// One metric of type gauge, with a value for each of `labelled`.
fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder,
    (name, help): (&str, &str),
    labelled: impl IntoIterator<Item = (L, i64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in labelled {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn groups(
    broker: &Arc<Broker>,
    encoder: &mut DescriptorEncoder,
) -> Result<Vec<Commits>, fmt::Error> {
    let groups = broker.groups().list();
    let members = groups.iter().map(|group| {
        let labels = [("group", group.group.to_string()), ("state", group.state().to_owned())];
        (labels, group.members().len() as i64)
    });
    gauges(encoder, ("group_members", "Members of a consumer group"), members)?;
    let commits = groups.iter().map(|group| {
        let fetched = broker.groups().fetch_offsets(&group.group, None, false);
        let offsets = fetched.into_iter().filter_map(|(partition, stored)| {
            Some((partition, Offset(stored.ok().flatten()?.offset)))
        });
        Commits { group: group.group.clone(), offsets: offsets.collect() }
    });
    Ok(commits.collect())
}

fn labels(of: &TopicPartition) -> [(&'static str, String); 2] {
    [("topic", of.topic.to_string()), ("partition", of.partition.to_string())]
}

/// Since the broker was started.
fn traffic(topics: &[Arc<Topic>], encoder: &mut DescriptorEncoder) -> fmt::Result {
    type Count = fn(&Partition) -> u64;
    let counters: [(&str, &str, Count); 4] = [
        ("topic_records_in", "Records appended", |one| one.traffic().appended.counts().records),
        ("topic_bytes_in", "Bytes appended", |one| one.traffic().appended.counts().bytes),
        ("topic_records_out", "Records read, markers among them included", |one| {
            one.traffic().read.counts().records
        }),
        ("topic_bytes_out", "Bytes read", |one| one.traffic().read.counts().bytes),
    ];
    for (name, help, count) in counters {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for topic in topics {
            let sum: u64 = topic.partitions().iter().map(|partition| count(partition)).sum();
            let labels = [("topic", topic.name.to_string())];
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&sum, None)?;
        }
    }
    Ok(())
}

fn partitions(topics: &[Arc<Topic>], encoder: &mut DescriptorEncoder) -> fmt::Result {
    let all = || topics.iter().flat_map(|topic| topic.partitions());
    let sizes = all().map(|partition| (labels(partition.id()), partition.size() as i64));
    gauges(encoder, ("partition_log_bytes", "Bytes of a partition's log on disk"), sizes)?;
    let starts = all().map(|one| (labels(one.id()), one.visible().log_start.0));
    gauges(encoder, ("partition_start_offset", "The first offset that is kept"), starts)?;
    let ends = all().map(|one| (labels(one.id()), one.visible().high_watermark.0));
    gauges(encoder, ("partition_end_offset", "One past the last record that is visible"), ends)?;
    let uncleanable = all().filter(|one| one.is_uncleanable()).count() as i64;
    let help = "Partitions whose compaction has failed, and is not tried before a restart";
    let name = "uncleanable_partitions";
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&uncleanable)
}

fn lag(topics: &[Arc<Topic>], commits: &[Commits], encoder: &mut DescriptorEncoder) -> fmt::Result {
    let by_name: HashMap<&str, &Arc<Topic>> =
        topics.iter().map(|topic| (&*topic.name, topic)).collect();
    let end = |of: &TopicPartition| {
        let topic = by_name.get(&*of.topic)?;
        Some(topic.partition(of.partition)?.visible().high_watermark)
    };
    let lags = commits.iter().flat_map(|Commits { group, offsets }| {
        offsets.iter().filter_map(move |(partition, committed)| {
            let [topic, number] = labels(partition);
            let labels = [("group", group.to_string()), topic, number];
            Some((labels, end(partition)?.since(*committed).max(0)))
        })
    });
    gauges(encoder, ("group_lag", "Records that a group has not committed yet"), lags)
}

/// As Linux says; nothing elsewhere.
fn process(encoder: &mut DescriptorEncoder) -> fmt::Result {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(()) };
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    let Some(kib) = kib.and_then(|kib| kib.parse::<i64>().ok()) else { return Ok(()) };
    let (name, help) = ("resident_memory_bytes", "Memory that this process holds");
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&(kib * 1024))
}
