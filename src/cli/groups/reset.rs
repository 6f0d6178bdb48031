//! Where a group shall go on: working it out first, so that it can be shown before it is done.

use std::collections::{BTreeMap, BTreeSet};

use broker::client::Isolation;
use broker::client::admin::offsets::OffsetAt;
use broker::client::admin::{Admin, AdminError};
use broker::ids::{Offset, TopicPartition};

use crate::cli::Failure;

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResetTo {
    Earliest,
    Latest,
    /// What is committed now; the end where nothing is.
    Current,
    Offset(i64),
    /// From what is committed now, forward or back.
    Shift(i64),
    /// The first record of this time, in ms since 1970, or later.
    Time(i64),
    /// An offset of its own for each partition.
    Each(BTreeMap<TopicPartition, i64>),
}

/// Partitions of which topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All that the group has committed.
    Committed,
    /// Of these topics these partitions, or all.
    Topics(Vec<(String, Option<BTreeSet<i32>>)>),
}

/// What a reset would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order of topics and partitions.
    pub offsets: Vec<(TopicPartition, Offset)>,
    /// Offsets that had to be brought within the log.
    pub moved: Vec<String>,
    /// Partitions without a record of that time or later: they go to their ends.
    pub without_time: Vec<TopicPartition>,
}

/// `orders` or `orders:0,3`.
pub fn topic_scope(text: &str) -> Result<(String, Option<BTreeSet<i32>>), String> {
    let Some((topic, partitions)) = text.split_once(':') else {
        return Ok((text.to_owned(), None));
    };
    let number = |text: &str| match text.trim().parse::<i32>() {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(format!("'{text}' is no partition; expected TOPIC:0,1,2")),
    };
    let partitions = partitions.split(',').map(number).collect::<Result<_, _>>()?;
    Ok((topic.to_owned(), Some(partitions)))
}

/// The partitions in scope, in order.
pub async fn partitions(
    admin: &Admin,
    group: &str,
    scope: &Scope,
) -> Result<Vec<TopicPartition>, Failure> {
    let topics = match scope {
        Scope::Committed => return Ok(admin.group_offsets(group).await?.into_keys().collect()),
        Scope::Topics(topics) => topics,
    };
    let mut found = BTreeSet::new();
    for (topic, wanted) in topics {
        let described = admin.describe_topic(topic).await?;
        let there: BTreeSet<i32> =
            described.partitions.iter().map(|partition| partition.number).collect();
        let wanted = wanted.clone().unwrap_or_else(|| there.clone());
        if let Some(missing) = wanted.difference(&there).next() {
            let count = there.len();
            return Err(Failure::running(format!(
                "topic '{topic}' has no partition {missing}; it has {count}, from 0 on"
            )));
        }
        let of = |number| TopicPartition::new(topic.as_str(), number);
        found.extend(wanted.into_iter().map(of));
    }
    Ok(found.into_iter().collect())
}

/// Works out where each of these partitions would go on.
pub async fn plan(
    admin: &Admin,
    group: &str,
    partitions: &[TopicPartition],
    to: &ResetTo,
) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let look = async |at| -> Result<Vec<Option<Offset>>, Failure> {
        let found = admin.list_offsets(partitions, at, Isolation::ReadUncommitted).await?;
        Ok(found.into_iter().collect::<Result<_, AdminError>>()?)
    };
    let latest = look(OffsetAt::Latest).await?;
    let latest: Vec<Offset> = latest.into_iter().map(Option::unwrap_or_default).collect();
    let wanted: Vec<i64> = match to {
        ResetTo::Latest => latest.iter().map(|offset| offset.0).collect(),
        ResetTo::Earliest => {
            let found = look(OffsetAt::Earliest).await?.into_iter();
            found.map(|offset| offset.unwrap_or_default().0).collect()
        }
        ResetTo::Offset(offset) => vec![*offset; partitions.len()],
        ResetTo::Each(offsets) => {
            let own = |of: &TopicPartition| offsets.get(of).copied().unwrap_or_default();
            partitions.iter().map(own).collect()
        }
        ResetTo::Time(ms) => {
            let found = look(OffsetAt::Time(*ms)).await?.into_iter();
            let mut wanted = Vec::with_capacity(partitions.len());
            for ((found, of), end) in found.zip(partitions).zip(&latest) {
                if found.is_none() {
                    plan.without_time.push(of.clone());
                }
                wanted.push(found.unwrap_or(*end).0);
            }
            wanted
        }
        ResetTo::Current | ResetTo::Shift(_) => {
            current(admin, group, partitions, to, &latest).await?
        }
    };
    let earliest = look(OffsetAt::Earliest).await?;
    for (index, of) in partitions.iter().enumerate() {
        let (first, end) = (earliest[index].unwrap_or_default(), latest[index]);
        let within = wanted[index].clamp(first.0, end.0.max(first.0));
        if within != wanted[index] {
            plan.moved.push(format!(
                "partition {of} has no offset {}: {within} is taken instead",
                wanted[index]
            ));
        }
        plan.offsets.push((of.clone(), Offset(within)));
    }
    Ok(plan)
}

/// Offsets relative to what is committed now.
async fn current(
    admin: &Admin,
    group: &str,
    partitions: &[TopicPartition],
    to: &ResetTo,
    latest: &[Offset],
) -> Result<Vec<i64>, Failure> {
    let committed = admin.group_offsets(group).await?;
    let mut wanted = Vec::with_capacity(partitions.len());
    for (of, end) in partitions.iter().zip(latest) {
        wanted.push(match (to, committed.get(of)) {
            (ResetTo::Shift(by), Some(now)) => now.offset.0.saturating_add(*by),
            (ResetTo::Shift(_), None) => {
                return Err(Failure::usage(format!(
                    "Cannot shift offset for partition {of} since there is no current committed \
                     offset"
                )));
            }
            (_, Some(now)) => now.offset.0,
            (_, None) => end.0,
        });
    }
    Ok(wanted)
}

/// Offsets by group from lines of `topic,partition,offset`, or with the group before them.
pub fn from_csv(
    text: &str,
    group: Option<&str>,
) -> Result<BTreeMap<String, BTreeMap<TopicPartition, i64>>, String> {
    let mut found: BTreeMap<String, BTreeMap<TopicPartition, i64>> = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || {
            let form = if group.is_some() { "" } else { "group," };
            format!("line {}: expected {form}topic,partition,offset: '{line}'", index + 1)
        };
        let fields: Vec<&str> =
            line.split(',').map(|field| field.trim().trim_matches('"')).collect();
        let (group, topic, partition, offset) = match (fields.as_slice(), group) {
            ([topic, partition, offset], Some(group)) => (group, *topic, *partition, *offset),
            ([group, topic, partition, offset], _) => (*group, *topic, *partition, *offset),
            _ => return Err(wrong()),
        };
        let partition: i32 = partition.parse().map_err(|_| wrong())?;
        let offset: i64 = offset.parse().map_err(|_| wrong())?;
        let of = TopicPartition::new(topic, partition);
        found.entry(group.to_owned()).or_default().insert(of, offset);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_name_all_or_some_of_their_partitions() {
        assert_eq!(topic_scope("orders"), Ok(("orders".to_owned(), None)));
        let some = Some(BTreeSet::from([0, 3]));
        assert_eq!(topic_scope("orders:3,0"), Ok(("orders".to_owned(), some)));
        assert!(topic_scope("orders:x").is_err() && topic_scope("orders:-1").is_err());
    }

    #[test]
    fn plans_come_from_csv() {
        let found = from_csv("t,0,5\nt,1,6\n", Some("g")).unwrap();
        let offsets = [(TopicPartition::new("t", 0), 5), (TopicPartition::new("t", 1), 6)];
        assert_eq!(found, BTreeMap::from([("g".to_owned(), BTreeMap::from(offsets))]));
        assert_eq!(from_csv("g2,t,0,5", None).unwrap().len(), 1);
        let error = from_csv("t,0,5\nt,x,6\n", Some("g")).unwrap_err();
        assert_eq!(error, "line 2: expected topic,partition,offset: 't,x,6'");
        assert!(from_csv("t,0,5", None).is_err());
    }
}
