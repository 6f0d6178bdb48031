//! Questions and orders to the cluster, each answered on a queue of its own.

use std::ffi::{CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys::bindings::*;
use uuid::Uuid;

use super::error::{NativeError, code, ffi};
use super::handle::Handle;
use super::partitions::{self, PartitionList};
use super::queue::{Event, Queue};
use super::{REASON_LEN_MAX, c_string, text};
use crate::client::{Isolation, NewTopic, TopicInfo};
use crate::ids::Offset;

/// Asks with an instance of its own.
#[derive(Clone)]
pub struct Admin {
    handle: Arc<Handle>,
    /// After which a question without an answer fails.
    timeout: Duration,
}

impl Admin {
    pub fn new(handle: Arc<Handle>, timeout: Duration) -> Admin {
        Admin { handle, timeout }
    }

    /// What this asks with.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Blocks until a broker has answered.
    pub fn ping(&self) -> Result<(), NativeError> {
        self.metadata(Topics::Known).map(drop)
    }

    /// Names of all topics. Blocks until a broker has answered.
    pub fn topic_names(&self) -> Result<Vec<String>, NativeError> {
        self.metadata(Topics::All)
    }

    fn metadata(&self, topics: Topics) -> Result<Vec<String>, NativeError> {
        let mut metadata: *const rd_kafka_metadata = ptr::null();
        // SAFETY: all pointers are valid for the call; the answer is ours to destroy.
        unsafe {
            NativeError::check(ffi::rd_kafka_metadata(
                self.handle.rk(),
                topics as c_int,
                ptr::null_mut(),
                &mut metadata,
                timeout_ms(self.timeout),
            ))?;
            let count = usize::try_from((*metadata).topic_cnt).unwrap_or(0);
            let names = (0..count).map(|index| text((*(*metadata).topics.add(index)).topic));
            let names = names.collect();
            rd_kafka_metadata_destroy(metadata);
            Ok(names)
        }
    }

    /// The topics of these names, in the same order; `None` for those that do not exist.
    pub async fn describe(&self, names: &[&str]) -> Result<Vec<Option<TopicInfo>>, NativeError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self.ask_describe(names)?.answer().await?;
        let topics = read_descriptions(&answer)?;
        let find = |name: &&str| topics.iter().find(|topic| topic.name == **name).cloned();
        Ok(names.iter().map(find).collect())
    }

    fn ask_describe(&self, names: &[&str]) -> Result<Queue, NativeError> {
        let names = names.iter().map(|name| c_string(name)).collect::<Result<Vec<CString>, _>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        self.ask(rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, |rk, options, queue| {
            // SAFETY: the names are copied twice, into the collection and by the call.
            unsafe {
                let topics =
                    rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
                rd_kafka_DescribeTopics(rk, topics, options, queue);
                rd_kafka_TopicCollection_destroy(topics);
            }
            Ok(())
        })
    }

    pub async fn create_topic(&self, topic: &NewTopic) -> Result<(), NativeError> {
        let answer = self.ask_create(topic)?.answer().await?;
        // SAFETY: the event is of this kind, and lives while its results are read.
        unsafe {
            let mut count = 0;
            let result = rd_kafka_event_CreateTopics_result(answer.as_ptr());
            let topics = rd_kafka_CreateTopics_result_topics(result, &mut count);
            check_topic_results(topics, count)
        }
    }

    fn ask_create(&self, topic: &NewTopic) -> Result<Queue, NativeError> {
        let name = c_string(&topic.name)?;
        let configs = topic
            .configs
            .iter()
            .map(|(key, value)| Ok((c_string(key)?, c_string(value)?)))
            .collect::<Result<Vec<_>, NativeError>>()?;
        self.ask(rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS, |rk, options, queue| {
            let mut reason = [0; REASON_LEN_MAX];
            // SAFETY: the topic is ours until destroyed here, and copied by the call.
            unsafe {
                // -1: as many partitions and replicas as the broker's own default (KIP-464).
                let mut native = rd_kafka_NewTopic_new(
                    name.as_ptr(),
                    topic.partitions.unwrap_or(-1),
                    -1,
                    reason.as_mut_ptr(),
                    reason.len(),
                );
                if native.is_null() {
                    let reason = text(reason.as_ptr());
                    return Err(NativeError::new(code::INVALID_ARG, reason));
                }
                for (key, value) in &configs {
                    rd_kafka_NewTopic_set_config(native, key.as_ptr(), value.as_ptr());
                }
                rd_kafka_CreateTopics(rk, &mut native, 1, options, queue);
                rd_kafka_NewTopic_destroy(native);
            }
            Ok(())
        })
    }

    pub async fn delete_topic(&self, name: &str) -> Result<(), NativeError> {
        let answer = self.ask_delete(name)?.answer().await?;
        // SAFETY: the event is of this kind, and lives while its results are read.
        unsafe {
            let mut count = 0;
            let result = rd_kafka_event_DeleteTopics_result(answer.as_ptr());
            let topics = rd_kafka_DeleteTopics_result_topics(result, &mut count);
            check_topic_results(topics, count)
        }
    }

    fn ask_delete(&self, name: &str) -> Result<Queue, NativeError> {
        let name = c_string(name)?;
        self.ask(rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS, |rk, options, queue| {
            // SAFETY: the topic is ours until destroyed here, and copied by the call.
            unsafe {
                let mut native = rd_kafka_DeleteTopic_new(name.as_ptr());
                rd_kafka_DeleteTopics(rk, &mut native, 1, options, queue);
                rd_kafka_DeleteTopic_destroy(native);
            }
            Ok(())
        })
    }

    /// What the offsets in `wanted` ask for (−2 the first, −1 the end, else a timestamp), each
    /// partition at most once.
    pub async fn list_offsets(
        &self,
        wanted: &PartitionList,
        isolation: Isolation,
    ) -> Result<PartitionList, NativeError> {
        let level = match isolation {
            Isolation::ReadUncommitted => {
                rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
            }
            Isolation::ReadCommitted => {
                rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
            }
        };
        let op = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let queue = self.ask(op, |rk, options, queue| {
            // SAFETY: the list is copied by the call.
            unsafe {
                NativeError::take(rd_kafka_AdminOptions_set_isolation_level(options, level))?;
                rd_kafka_ListOffsets(rk, wanted.as_ptr(), options, queue);
            }
            Ok(())
        })?;
        let answer = queue.answer().await?;
        let mut found = PartitionList::with_capacity(wanted.len());
        // SAFETY: the event is of this kind, and lives while its results are read.
        unsafe {
            let mut count = 0;
            let result = rd_kafka_event_ListOffsets_result(answer.as_ptr());
            let infos = rd_kafka_ListOffsets_result_infos(result, &mut count);
            for index in 0..count {
                let line = rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
                let entry = partitions::entry(line);
                NativeError::check(entry.code)?;
                found.add(&entry.topic, entry.partition, Some(entry.offset))?;
            }
        }
        Ok(found)
    }

    /// Deletes what lies before the offsets in `before`, each partition at most once. Each line of
    /// the answer says what came of it.
    pub async fn delete_records(
        &self,
        before: &PartitionList,
    ) -> Result<PartitionList, NativeError> {
        let op = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETERECORDS;
        let queue = self.ask(op, |rk, options, queue| {
            // SAFETY: the order is ours until destroyed here, and copied by the call.
            unsafe {
                let mut native = rd_kafka_DeleteRecords_new(before.as_ptr());
                rd_kafka_DeleteRecords(rk, &mut native, 1, options, queue);
                rd_kafka_DeleteRecords_destroy(native);
            }
            Ok(())
        })?;
        let answer = queue.answer().await?;
        // SAFETY: the event is of this kind, and lives while its results are read.
        unsafe {
            let result = rd_kafka_event_DeleteRecords_result(answer.as_ptr());
            Ok(PartitionList::copied(rd_kafka_DeleteRecords_result_offsets(result)))
        }
    }

    /// What a group has committed, each partition at most once; fails with
    /// `UNSTABLE_OFFSET_COMMIT` while a transaction is about to change it.
    pub async fn committed(
        &self,
        group: &str,
        wanted: &PartitionList,
    ) -> Result<PartitionList, NativeError> {
        let group = c_string(group)?;
        let op = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
        let queue = self.ask(op, |rk, options, queue| {
            // SAFETY: the question is ours until destroyed here, and copied by the call.
            unsafe {
                NativeError::take(rd_kafka_AdminOptions_set_require_stable_offsets(options, 1))?;
                let mut native =
                    rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), wanted.as_ptr());
                rd_kafka_ListConsumerGroupOffsets(rk, &mut native, 1, options, queue);
                rd_kafka_ListConsumerGroupOffsets_destroy(native);
            }
            Ok(())
        })?;
        let answer = queue.answer().await?;
        // SAFETY: the event is of this kind, and lives while its results are read.
        unsafe {
            let mut count = 0;
            let result = rd_kafka_event_ListConsumerGroupOffsets_result(answer.as_ptr());
            let groups = rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
            if count == 0 {
                return Ok(PartitionList::with_capacity(0));
            }
            if let Some(error) = NativeError::look(rd_kafka_group_result_error(*groups)) {
                return Err(error);
            }
            let found = PartitionList::copied(rd_kafka_group_result_partitions(*groups));
            found.first_error().map_or(Ok(found), Err)
        }
    }

    /// One of a topic's settings, as the broker applies it.
    pub async fn topic_config(
        &self,
        topic: &str,
        name: &str,
    ) -> Result<Option<String>, NativeError> {
        let topic = c_string(topic)?;
        let op = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let queue = self.ask(op, |rk, options, queue| {
            let kind = rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            // SAFETY: the question is ours until destroyed here, and copied by the call.
            unsafe {
                let mut native = rd_kafka_ConfigResource_new(kind, topic.as_ptr());
                rd_kafka_DescribeConfigs(rk, &mut native, 1, options, queue);
                rd_kafka_ConfigResource_destroy(native);
            }
            Ok(())
        })?;
        let answer = queue.answer().await?;
        // SAFETY: the event is of this kind, and lives while its results are read.
        unsafe {
            let (mut resources_count, mut count) = (0, 0);
            let result = rd_kafka_event_DescribeConfigs_result(answer.as_ptr());
            let resources = rd_kafka_DescribeConfigs_result_resources(result, &mut resources_count);
            if resources_count == 0 {
                return Ok(None);
            }
            NativeError::check(ffi::rd_kafka_ConfigResource_error(*resources))?;
            let entries = rd_kafka_ConfigResource_configs(*resources, &mut count);
            Ok((0..count)
                .map(|index| *entries.add(index))
                .find(|entry| text(rd_kafka_ConfigEntry_name(*entry)) == name)
                .map(|entry| text(rd_kafka_ConfigEntry_value(entry))))
        }
    }

    /// Sends a question off; the queue will have its answer.
    fn ask(
        &self,
        op: rd_kafka_admin_op_t,
        send: impl FnOnce(
            *mut rd_kafka_t,
            *mut rd_kafka_AdminOptions_t,
            *mut rd_kafka_queue_t,
        ) -> Result<(), NativeError>,
    ) -> Result<Queue, NativeError> {
        let options = Options::new(&self.handle, op, self.timeout);
        let queue = Queue::new(&self.handle);
        send(self.handle.rk(), options.0.as_ptr(), queue.as_ptr())?;
        Ok(queue)
    }
}

/// Of which topics to ask: librdkafka's `all_topics`.
#[derive(Clone, Copy)]
enum Topics {
    /// Those that this instance has dealt with: none.
    Known = 0,
    All = 1,
}

struct Options(NonNull<rd_kafka_AdminOptions_t>);

impl Options {
    fn new(handle: &Handle, op: rd_kafka_admin_op_t, timeout: Duration) -> Options {
        let mut reason = [0; REASON_LEN_MAX];
        // SAFETY: the instance lives; librdkafka aborts rather than return null.
        unsafe {
            let options = rd_kafka_AdminOptions_new(handle.rk(), op);
            // Refused only beyond an hour, where the default serves as well.
            rd_kafka_AdminOptions_set_request_timeout(
                options,
                timeout_ms(timeout),
                reason.as_mut_ptr(),
                reason.len(),
            );
            Options(NonNull::new(options).expect("librdkafka knows this operation"))
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the options are ours; a question copies them.
        unsafe { rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

pub(super) fn timeout_ms(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX)
}

/// # Safety
/// `results` are `count` results that live for the call.
unsafe fn check_topic_results(
    results: *mut *const rd_kafka_topic_result_t,
    count: usize,
) -> Result<(), NativeError> {
    for index in 0..count {
        // SAFETY: as the caller vouches.
        let (code, reason) = unsafe {
            let result = *results.add(index);
            (
                ffi::rd_kafka_topic_result_error(result),
                text(rd_kafka_topic_result_error_string(result)),
            )
        };
        if code != code::NONE {
            return Err(NativeError::new(code, reason));
        }
    }
    Ok(())
}

/// The topics that exist; those that do not are left out.
fn read_descriptions(answer: &Event) -> Result<Vec<TopicInfo>, NativeError> {
    let mut found = Vec::new();
    // SAFETY: the event is of this kind, and lives while its results are read.
    unsafe {
        let mut count = 0;
        let result = rd_kafka_event_DescribeTopics_result(answer.as_ptr());
        let topics = rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let topics = if count == 0 { &[] } else { slice::from_raw_parts(topics, count) };
        for &topic in topics {
            match NativeError::look(rd_kafka_TopicDescription_error(topic)) {
                Some(error) if error.is_unknown_topic() => continue,
                Some(error) => return Err(error),
                None => {}
            }
            let mut partitions = 0;
            rd_kafka_TopicDescription_partitions(topic, &mut partitions);
            found.push(TopicInfo {
                name: text(rd_kafka_TopicDescription_name(topic)),
                id: read_uuid(rd_kafka_TopicDescription_topic_id(topic)),
                partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
                internal: rd_kafka_TopicDescription_is_internal(topic) != 0,
            });
        }
    }
    Ok(found)
}

/// # Safety
/// `id` is null or lives for the call.
unsafe fn read_uuid(id: *const rd_kafka_Uuid_t) -> Option<Uuid> {
    if id.is_null() {
        return None;
    }
    // SAFETY: as the caller vouches.
    let (high, low) = unsafe {
        (rd_kafka_Uuid_most_significant_bits(id), rd_kafka_Uuid_least_significant_bits(id))
    };
    let id = Uuid::from_u64_pair(high as u64, low as u64);
    // Clusters that know no ids send all zeroes.
    (!id.is_nil()).then_some(id)
}

/// The offset that asks for the first record.
pub const EARLIEST: Offset = Offset(-2);
/// The offset that asks for the end.
pub const LATEST: Offset = Offset(-1);
