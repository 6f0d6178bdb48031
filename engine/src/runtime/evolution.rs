//! What becomes of kept state when a query has changed: looked at before anything starts.
//!
//! Only the end of each changelog is read for that: the meta record is the last one of every
//! commit. Where state would be lost, all of it is read, to say how much.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use broker::client::{Client, ClientError, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};

use super::RunError;
use super::planned::{Planned, plan};
use super::restore::{Note, ReadError, Wanted, bounds, read_changelog};
use crate::pipeline::Pipeline;
use crate::state::StateError;
use crate::state::changelog::{META_KEY, Meta, ToldBy};
use crate::state::layouts::Evolution;

/// How far from its end a changelog is read first; more than a commit marker takes.
const FIRST_LOOK: i64 = 4;

/// A query goes on with its state, and computes something else from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    pub pipeline: Arc<str>,
    pub query: Arc<str>,
    pub what: Changed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made for another query, of which nothing is kept any more.
    Anew,
    /// What the query computes.
    Computed(Evolution),
    /// This function of users has another module than the one that the state was made with.
    Function(String),
    /// The answers are told by another key than those before.
    ToldBy { before: ToldBy, now: ToldBy },
}

impl fmt::Display for StateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StateChange { query, what, .. } = self;
        write!(f, "query '{query}'")?;
        let Evolution { added, removed } = match what {
            Changed::Anew => {
                return f.write_str(
                    " is another one than before, which has nothing left: it begins with the rows \
                     from now on",
                );
            }
            Changed::Computed(evolution) => evolution,
            Changed::Function(name) => {
                return write!(
                    f,
                    ": function '{name}' has another module than the one that its state was made \
                     with; all is kept"
                );
            }
            Changed::ToldBy { before, now } => {
                let key = |of: &ToldBy| match before.key_format == now.key_format {
                    true => format!("({})", of.key.join(", ")),
                    false => format!("({}) in {}", of.key.join(", "), of.key_format),
                };
                return write!(
                    f,
                    ": the key of its rows is {} and was {}: those that were written before stay \
                     in '{}' as they are, and are not replaced",
                    key(now),
                    key(before),
                    now.topic
                );
            }
        };
        if !added.is_empty() {
            let begin = if added.len() == 1 { "begins" } else { "begin" };
            write!(f, ": {} {begin} with the rows from now on", added.join(", "))?;
        }
        if !removed.is_empty() {
            let is = if removed.len() == 1 { "is" } else { "are" };
            let and = if added.is_empty() { ":" } else { ";" };
            write!(f, "{and} {} {is} dropped", removed.join(", "))?;
        }
        f.write_str("; all else is kept")
    }
}

/// What would become of the state of a pipeline's queries if they ran now, and why those of which
/// some would be lost cannot. The client is only read from.
pub async fn state_changes(
    client: &dyn Client,
    pipeline: &Pipeline,
) -> Result<(Vec<StateChange>, Vec<RunError>), RunError> {
    let planned = plan(std::slice::from_ref(pipeline))?;
    for task in planned.iter().filter(|task| task.is_stateful && task.task == 0) {
        // Which says what else is wrong.
        if !has_place(client, task).await? && has_told(client, task).await? {
            let (pipeline, query) = (task.pipeline.clone(), task.query.clone());
            return Err(RunError::Forgotten { pipeline, query });
        }
    }
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    for of_query in planned.chunk_by(|one, other| one.query == other.query) {
        match changes(client, of_query).await {
            Ok(changes) => kept.extend(changes),
            Err(error @ RunError::State { .. }) => lost.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok((kept, lost))
}

/// Of all tasks. An error if some of it is of no use any more.
pub(super) async fn changes(
    client: &dyn Client,
    planned: &[Planned],
) -> Result<Vec<StateChange>, RunError> {
    let mut changes: Vec<StateChange> = Vec::new();
    // What keeps nothing now may have done so before.
    for task in planned.iter().filter(|task| task.shown.is_none()) {
        for what in changes_of(client, task).await? {
            let (pipeline, query) = (task.pipeline.clone(), task.query.clone());
            let change = StateChange { pipeline, query, what };
            // Every task of a query says the same.
            if !changes.contains(&change) {
                changes.push(change);
            }
        }
    }
    Ok(changes)
}

/// Whether a part of a query that keeps nothing but its place has told the next one of rows, and
/// none of its tasks has a place any more: brokers forget those of groups without members.
pub(super) async fn is_forgotten(client: &dyn Client, task: &Planned) -> Result<bool, RunError> {
    Ok(has_told(client, task).await? && !has_place(client, task).await?)
}

/// Whether it is known up to where a part of a query has read its sources, if it has; an error if
/// it was shared by another number of tasks then.
async fn has_place(client: &dyn Client, task: &Planned) -> Result<bool, RunError> {
    let failed = |error| task.client_error("its place in its inputs cannot be found", error);
    let mut read = BTreeSet::new();
    let sources = task.topology.inputs.iter().map(|input| input.source.topic.as_str());
    // Where tasks without a partition leave their mark.
    let marks = task.topology.writes.iter().map(|writes| writes.exchange.topic.as_str());
    for topic in sources.chain(marks) {
        let topic: Arc<str> = topic.into();
        if let Some(info) = client.topic(&topic).await.map_err(failed)? {
            let all = 0..info.partitions;
            read.extend(all.map(|partition| TopicPartition::new(topic.clone(), partition)));
        }
    }
    let read: Vec<TopicPartition> = read.into_iter().collect();
    let committed = client.committed_offsets(&task.group(), &read).await.map_err(failed)?;
    let notes = committed.into_iter().flatten().map(|at| Note::parse(&at.metadata));
    let notes: Vec<Note> = notes.collect();
    match notes.iter().map(|note| note.tasks).find(|tasks| *tasks != task.tasks) {
        None => Ok(!notes.is_empty()),
        Some(found) => Err(RunError::OtherTasks {
            pipeline: task.pipeline.clone(),
            query: task.query.clone(),
            found,
            tasks: task.tasks,
        }),
    }
}

async fn has_told(client: &dyn Client, task: &Planned) -> Result<bool, RunError> {
    let failed = |error| task.client_error("what it has told others cannot be found", error);
    let writes = task.topology.writes.as_ref().filter(|_| task.topology.nodes.is_empty());
    let Some(writes) = writes.filter(|writes| writes.exchange.writers == 1) else {
        return Ok(false);
    };
    let topic: Arc<str> = writes.exchange.topic.as_str().into();
    let Some(info) = client.topic(&topic).await.map_err(failed)? else { return Ok(false) };
    for partition in (0..info.partitions).map(|at| TopicPartition::new(topic.clone(), at)) {
        if has_records(client, &partition).await.map_err(failed)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether there are or were committed records. What was aborted, by a process that was killed
/// before its first commit, leaves offsets behind and nothing in them.
async fn has_records(client: &dyn Client, partition: &TopicPartition) -> Result<bool, ClientError> {
    let (start, end) = bounds(client, partition).await?;
    if start > Offset::ZERO || start >= end {
        return Ok(start > Offset::ZERO);
    }
    let options = ReaderOptions::partitions(vec![(partition.clone(), start)]);
    let mut reader = client.reader(options).await?;
    loop {
        let fetched = match reader.next().await {
            Ok(ReaderEvent::Batches(fetched)) => fetched,
            Ok(_) => continue,
            // Whoever has read them has deleted them meanwhile.
            Err(ClientError::OffsetOutOfRange { start: left, .. }) if left > start => {
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if !fetched.batches.is_empty() || fetched.next_offset >= end {
            return Ok(!fetched.batches.is_empty());
        }
    }
}

async fn changes_of(client: &dyn Client, task: &Planned) -> Result<Vec<Changed>, RunError> {
    let changelog = task.changelog();
    let unread = |error: ReadError| match error {
        ReadError::Client(error) => task.client_error("its changelog cannot be read", error),
        ReadError::Batch(error) => task.state_error(StateError::Damaged(error.to_string())),
    };
    let topic = client.topic(&changelog.topic).await;
    let topic = topic.map_err(|error| unread(ReadError::Client(error)))?;
    if topic.is_none_or(|topic| topic.partitions <= changelog.partition) {
        // It has never run, or never kept anything.
        return Ok(Vec::new());
    }
    let operators = task.topology.kept_for();
    let whole = async || {
        let restored = read_changelog(client, &changelog, Wanted::Keys).await.map_err(unread)?;
        restored.meta(&operators).map_err(|error| task.state_error(error))
    };
    let Some(meta) = latest_meta(client, &changelog).await.map_err(unread)? else {
        // It is empty, or another version wrote it: all of it tells.
        whole().await?;
        return Ok(Vec::new());
    };
    let meta = Meta::parse(&meta).map_err(|error| task.state_error(error))?;
    let evolved = meta.evolved(&operators);
    let begins_anew = evolved.values().any(Option::is_none);
    if begins_anew {
        whole().await?;
    }
    let anew = begins_anew.then_some(Changed::Anew);
    let evolutions = evolved.into_values().flatten().map(|(_, evolution)| evolution);
    let evolutions = evolutions.filter(|evolution| !evolution.is_none()).map(Changed::Computed);
    let functions = task.topology.functions.content_hashes().into_iter();
    let others = functions
        .filter(|(name, hash)| meta.functions.get(name).is_some_and(|made_with| made_with != hash));
    let told_by = meta.told_by.zip(task.topology.told_by());
    let told_by = told_by.filter(|(before, now)| before.topic == now.topic && before != now);
    Ok(anew
        .into_iter()
        .chain(evolutions)
        .chain(others.map(|(name, _)| Changed::Function(name)))
        .chain(told_by.map(|(before, now)| Changed::ToldBy { before, now }))
        .collect())
}

/// The meta record of the last commit, if there is state.
async fn latest_meta(
    client: &dyn Client,
    changelog: &TopicPartition,
) -> Result<Option<Vec<u8>>, ReadError> {
    let (start, end) = bounds(client, changelog).await.map_err(ReadError::Client)?;
    let mut look = FIRST_LOOK;
    loop {
        let from = Offset(end.0.saturating_sub(look)).max(start);
        if let Some(found) = last_meta_from(client, changelog, from, end).await? {
            return Ok(found);
        }
        if from == start {
            return Ok(None);
        }
        look = look.saturating_mul(8);
    }
}

/// The value of the last meta record in a part of a changelog; `Some(None)` if it was deleted.
async fn last_meta_from(
    client: &dyn Client,
    changelog: &TopicPartition,
    from: Offset,
    end: Offset,
) -> Result<Option<Option<Vec<u8>>>, ReadError> {
    let mut found = None;
    if from >= end {
        return Ok(found);
    }
    let options = ReaderOptions::partitions(vec![(changelog.clone(), from)]);
    let mut reader = client.reader(options).await.map_err(ReadError::Client)?;
    loop {
        let event = reader.next().await.map_err(ReadError::Client)?;
        let ReaderEvent::Batches(fetched) = event else { continue };
        for batch in &fetched.batches {
            for record in batch.records().map_err(ReadError::Batch)?.iter() {
                let record = record.map_err(ReadError::Batch)?;
                if record.key == Some(&META_KEY) {
                    found = Some(record.value.map(<[u8]>::to_vec));
                }
            }
        }
        if fetched.next_offset >= end {
            return Ok(found);
        }
    }
}
