//! What has to be in the log before answers go out.

use std::sync::{Arc, MutexGuard};

use futures::future::{BoxFuture, join_all};

use super::super::consumer::changes::Change;
use super::super::consumer::heartbeat::Refusal;
use super::super::messages::{GroupError, JoinRefused, Output};
use super::super::records;
use super::{Cell, GroupService, Slot, locked};
use crate::coordinator::state_log::{OFFSETS_TOPIC, StateLogError, partition_for};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::EncodeError;
use crate::record::{BatchBuilder, ProducerStamp};

/// A batch is closed once it is as large: `max.message.bytes` is 1 MiB, and a record of a group can
/// be as large as a request. Longer lists of changes go in several.
const BATCH_BYTES: usize = 256 << 10;

pub(super) type Kept = BoxFuture<'static, Result<Offset, StateLogError>>;

impl GroupService {
    /// Does what the machine asks. An answer that rests on a record waits until that is durable.
    pub(super) fn carry_out(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        mut cell: MutexGuard<'_, Cell>,
        out: Vec<Output>,
    ) {
        let mut kept: Vec<Kept> = Vec::new();
        let mut changes: Vec<Change> = Vec::new();
        // Where there is no answer yet, somebody waits for others: that is a rebalance, and has a
        // deadline.
        let is_of_beats = |output: &Output| matches!(output, Output::Beat(..));
        let only_beats = !out.is_empty() && out.iter().all(is_of_beats);
        for output in out {
            let told = match output {
                Output::Persist(snapshot) => vec![Change::Classic(Some(snapshot))],
                Output::Keep(told) => told,
                output if cell.keeping > 0 && output.is_success() => {
                    cell.held.push(output);
                    continue;
                }
                output => {
                    cell.answer(output);
                    continue;
                }
            };
            cell.keeping += usize::from(changes.is_empty());
            kept.extend(self.keep(slot, &told));
            changes.extend(told);
        }
        self.run_timer(slot, &mut cell);
        // Nothing that members wait for has come of beats, and deadlines have only become later.
        if !only_beats {
            slot.changed.notify_one();
            slot.rebalances.send_modify(|count| *count += 1);
        }
        drop(cell);
        if changes.is_empty() {
            return;
        }
        let (service, slot) = (self.clone(), slot.clone());
        tokio::spawn(async move {
            let all = join_all(kept).await.into_iter().collect::<Result<Vec<Offset>, _>>();
            service.kept(&slot, &changes, all.map(|_| ()));
        });
    }

    /// It is known what has become of an append.
    fn kept(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        changes: &[Change],
        kept: Result<(), StateLogError>,
    ) {
        let mut cell = locked(&slot.cell);
        cell.keeping -= 1;
        if let Err(error) = kept {
            tracing::warn!(group = %slot.name, %error, "cannot keep a group's state");
            for output in std::mem::take(&mut cell.held) {
                cell.answer(output.failed(error.clone().into()));
            }
            let mut out = Vec::new();
            cell.group.not_kept(changes, self.now(), &mut out);
            self.carry_out(slot, cell, out);
        } else if cell.keeping == 0 {
            for output in std::mem::take(&mut cell.held) {
                cell.answer(output);
            }
        }
    }

    fn keep(&self, slot: &Slot, changes: &[Change]) -> Vec<Kept> {
        let encoded: Result<Vec<_>, EncodeError> =
            changes.iter().map(|change| records::encode_change(&slot.name, change)).collect();
        let appended = encoded
            .map_err(|error| self.unencodable(&slot.name, &error))
            .and_then(|records| self.append_records(&slot.name, &records));
        appended.unwrap_or_else(|error| vec![Box::pin(std::future::ready(Err(error)))])
    }

    /// Keys with values, or with none to take them away.
    pub(super) fn append_records(
        &self,
        group: &str,
        records: &[(bytes::Bytes, Option<bytes::Bytes>)],
    ) -> Result<Vec<Kept>, StateLogError> {
        let now_ms = self.now().wall_ms;
        let (mut appended, mut batch) = (Vec::new(), BatchBuilder::default());
        for (key, value) in records {
            let size = key.len() + value.as_ref().map_or(0, |value| value.len());
            if !batch.is_empty() && batch.size() + size > BATCH_BYTES {
                let full = std::mem::take(&mut batch);
                appended.push(self.append(group, full, ProducerStamp::NONE)?);
            }
            batch.append(now_ms, Some(key), value.as_deref());
        }
        if !batch.is_empty() {
            appended.push(self.append(group, batch, ProducerStamp::NONE)?);
        }
        Ok(appended)
    }

    pub(super) fn append(
        &self,
        group: &str,
        batch: BatchBuilder,
        stamp: ProducerStamp,
    ) -> Result<Kept, StateLogError> {
        let to = self.partition_of(group)?;
        Ok(self.log.append(&to, batch.build(stamp)))
    }

    fn partition_of(&self, group: &str) -> Result<TopicPartition, StateLogError> {
        let count = self.log.partitions(OFFSETS_TOPIC);
        let partition = partition_for(group, count.unwrap_or(1));
        let partition = TopicPartition::new(OFFSETS_TOPIC, partition);
        match count {
            Some(_) => Ok(partition),
            None => {
                let reason = "the topic does not exist".to_owned();
                Err(StateLogError::Unavailable { partition, reason })
            }
        }
    }

    pub(super) fn unencodable(&self, group: &str, error: &EncodeError) -> StateLogError {
        let partition = TopicPartition::new(OFFSETS_TOPIC, partition_for(group, 1));
        StateLogError::Unavailable { partition, reason: error.to_string() }
    }
}

impl Output {
    fn is_success(&self) -> bool {
        matches!(self, Output::Join(_, Ok(_)) | Output::Sync(_, Ok(_)) | Output::Beat(_, Ok(_)))
    }

    fn failed(self, error: GroupError) -> Output {
        match self {
            Output::Join(waiter, Ok(joined)) => {
                Output::Join(waiter, Err(JoinRefused { error, member_id: joined.member_id }))
            }
            Output::Sync(waiter, Ok(_)) => Output::Sync(waiter, Err(error)),
            Output::Beat(waiter, Ok(_)) => Output::Beat(waiter, Err(Refusal::from(error))),
            other => other,
        }
    }
}
