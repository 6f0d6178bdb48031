//! A consumer: messages off one queue, partitions given by hand or by a group.

use std::borrow::Cow;
use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use rdkafka_sys::bindings::*;

use super::error::{Code, NativeError, ffi};
use super::handle::{Closing, Conf, Handle, Kind, Rebalance};
use super::partitions::PartitionList;
use super::queue::Queue;
use super::text_borrowed;

/// A consumer, with the message that was taken off its queue last. Fields drop in this order.
pub struct Consumer {
    front: Option<Message>,
    queue: Queue,
    handle: Arc<Handle>,
}

impl Consumer {
    pub fn new(conf: Conf, closing: &Arc<Closing>) -> Result<Consumer, NativeError> {
        let handle = Arc::new(Handle::new(Kind::Consumer, conf, closing)?);
        let queue = Queue::consumer(&handle)?;
        Ok(Consumer { front: None, queue, handle })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The message at the front, if there is one by now. Serves callbacks on the way.
    ///
    /// One at a time: librdkafka's call for many takes the end of a partition for a message, and
    /// then skips a record when a rebalance makes it go back to where the application is.
    pub fn front(&mut self) -> Option<&Message> {
        if self.front.is_none() {
            // SAFETY: the queue lives; a timeout of 0 does not block. The message is ours.
            let message = unsafe { rd_kafka_consume_queue(self.queue.as_ptr(), 0) };
            self.front = NonNull::new(message).map(Message);
        }
        self.front.as_ref()
    }

    /// The message at the front, if it was taken off the queue before.
    pub fn held(&self) -> Option<&Message> {
        self.front.as_ref()
    }

    /// Lets go of the message at the front.
    pub fn pop(&mut self) {
        self.front = None;
    }

    /// Waits until something came after [`Consumer::front`] found nothing, or a broker does not let
    /// us in.
    pub async fn ready(&mut self) {
        let (queue, handle) = (&self.queue, &self.handle);
        tokio::select! {
            () = queue.ready() => {}
            _ = handle.callbacks().refused() => {}
        }
    }

    /// Joins the group of the settings.
    pub fn subscribe(&self, topics: &[String]) -> Result<(), NativeError> {
        let mut list = PartitionList::with_capacity(topics.len());
        for topic in topics {
            list.add(topic, -1, None)?;
        }
        // SAFETY: the list is copied.
        unsafe { NativeError::check(ffi::rd_kafka_subscribe(self.handle.rk(), list.as_ptr())) }
    }

    /// Starts reading these partitions from their offsets.
    pub fn start(&self, partitions: &PartitionList) -> Result<(), NativeError> {
        // SAFETY: the list is copied.
        unsafe {
            NativeError::take(rd_kafka_incremental_assign(self.handle.rk(), partitions.as_ptr()))
        }
    }

    /// Stops reading these partitions; nothing of them will be taken off the queue.
    pub fn stop(&self, partitions: &PartitionList) -> Result<(), NativeError> {
        // SAFETY: the list is copied.
        unsafe {
            NativeError::take(rd_kafka_incremental_unassign(self.handle.rk(), partitions.as_ptr()))
        }
    }

    /// Takes or lets go the partitions of a rebalance.
    pub fn answer(&self, rebalance: &Rebalance) {
        // SAFETY: the instance lives, and rebalances come from it alone.
        unsafe { rebalance.answer(self.handle.rk()) }
    }

    /// One past the last record of a partition, as of the last fetch; `None` before the first.
    pub fn high_watermark(&self, topic: &CStr, partition: i32) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: all pointers are valid for the call, which looks nothing up elsewhere.
        unsafe {
            rd_kafka_get_watermark_offsets(
                self.handle.rk(),
                topic.as_ptr(),
                partition,
                &mut low,
                &mut high,
            );
        }
        (high >= 0).then_some(high)
    }

    /// Commits offsets for the group.
    pub async fn commit(&mut self, offsets: &PartitionList) -> Result<(), NativeError> {
        let queue = Queue::new(&self.handle);
        // SAFETY: the list is copied; without a callback the answer comes to the queue.
        unsafe {
            NativeError::check(ffi::rd_kafka_commit_queue(
                self.handle.rk(),
                offsets.as_ptr(),
                queue.as_ptr(),
                ptr::null(),
                ptr::null_mut(),
            ))?;
        }
        let answer = queue.answer().await?;
        // SAFETY: the event is of this kind, and lives while its list is copied.
        let committed =
            unsafe { PartitionList::copied(rd_kafka_event_topic_partition_list(answer.as_ptr())) };
        committed.first_error().map_or(Ok(()), Err)
    }

    /// Member id and generation, once the group has let this consumer in.
    pub fn membership(&self) -> Option<(String, i32)> {
        // SAFETY: the answer is ours to destroy, and read before that.
        unsafe {
            let metadata = rd_kafka_consumer_group_metadata(self.handle.rk());
            if metadata.is_null() {
                return None;
            }
            let generation = rd_kafka_consumer_group_metadata_generation_id(metadata);
            let member = rd_kafka_consumer_group_metadata_member_id(metadata);
            let member = text_borrowed(member).into_owned();
            rd_kafka_consumer_group_metadata_destroy(metadata);
            (generation >= 0).then_some((member, generation))
        }
    }
}

/// A message, or an error in its place.
pub struct Message(NonNull<rd_kafka_message_t>);

// SAFETY: a message belongs to whoever took it off its queue.
unsafe impl Send for Message {}

/// A header: a name and bytes, or none.
pub type Header<'a> = (Cow<'a, str>, Option<&'a [u8]>);

impl Message {
    fn native(&self) -> *const rd_kafka_message_t {
        self.0.as_ptr()
    }

    /// 0 for a message.
    pub fn code(&self) -> Code {
        // SAFETY: the message is ours. Read as a number, since it may be none of the enum's.
        unsafe { (&raw const (*self.native()).err).cast::<Code>().read() }
    }

    /// What the error says.
    pub fn error(&self) -> NativeError {
        // SAFETY: the message is ours, and the text lives as long.
        let reason = unsafe { text_borrowed(rd_kafka_message_errstr(self.native())) };
        NativeError::new(self.code(), reason.into_owned())
    }

    /// Whose message or error this is; `None` for errors of the whole consumer.
    pub fn topic(&self) -> Option<&CStr> {
        // SAFETY: the message is ours and keeps its topic alive.
        unsafe {
            let topic = (*self.native()).rkt;
            (!topic.is_null()).then(|| CStr::from_ptr(rd_kafka_topic_name(topic)))
        }
    }

    pub fn partition(&self) -> i32 {
        // SAFETY: the message is ours.
        unsafe { (*self.native()).partition }
    }

    pub fn offset(&self) -> i64 {
        // SAFETY: the message is ours.
        unsafe { (*self.native()).offset }
    }

    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: the message is ours; a null key has a null pointer.
        unsafe { bytes((*self.native()).key, (*self.native()).key_len) }
    }

    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: the message is ours; a null value has a null pointer.
        unsafe { bytes((*self.native()).payload, (*self.native()).len) }
    }

    /// In ms since 1970; −1 for none.
    pub fn timestamp_ms(&self) -> i64 {
        // SAFETY: the message is ours; the kind of timestamp need not be asked for.
        unsafe { rd_kafka_message_timestamp(self.native(), ptr::null_mut()) }
    }

    /// The headers, which are parsed when first asked for.
    pub fn headers(&self) -> Vec<Header<'_>> {
        let mut headers: *mut rd_kafka_headers_t = ptr::null_mut();
        let mut found = Vec::new();
        // SAFETY: the message is ours and keeps its headers alive.
        unsafe {
            let outcome = rd_kafka_message_headers(self.native(), &mut headers);
            if outcome != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
                return found;
            }
            for index in 0..rd_kafka_header_cnt(headers) {
                let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
                rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
                found.push((text_borrowed(name), bytes(value, size)));
            }
        }
        found
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is ours.
        unsafe { rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// # Safety
/// `start` is null, or `len` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    Some(unsafe { slice::from_raw_parts(start.cast(), len) })
}
