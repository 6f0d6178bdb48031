//! A producer, with or without transactions.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys::bindings::*;

use super::admin::{Admin, timeout_ms};
use super::error::{NativeError, code, ffi};
use super::handle::{Closing, Conf, FailedDelivery, Handle, Kind};
use super::partitions::PartitionList;
use super::queue::Queue;
use super::{REASON_LEN_MAX, c_string, text};
use crate::record::{Compression, Record};

/// A producer. Clones are the same one.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// What to do while too much is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Fail with `QUEUE_FULL`.
    Fail,
    /// Block the thread until there is room.
    Block,
}

/// A topic as a producer knows it.
pub struct Topic {
    topic: NonNull<rd_kafka_topic_t>,
    _handle: Arc<Handle>,
}

// SAFETY: librdkafka's topics may be used from any thread.
unsafe impl Send for Topic {}
unsafe impl Sync for Topic {}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { rd_kafka_topic_destroy(self.topic.as_ptr()) }
    }
}

impl Producer {
    pub fn new(conf: Conf, closing: &Arc<Closing>) -> Result<Producer, NativeError> {
        Ok(Producer { handle: Arc::new(Handle::new(Kind::Producer, conf, closing)?) })
    }

    /// The queue of failed deliveries and whatever else librdkafka has to say, with the work of
    /// serving it for as long as the producer lives. The work does not keep the producer alive.
    pub fn watch(&self) -> (Queue, impl Future<Output = ()> + Send + use<>) {
        let queue = Queue::main(&self.handle);
        let (ready, handle) = (queue.waker(), Arc::downgrade(&self.handle));
        let serve = async move {
            while let Some(handle) = handle.upgrade() {
                handle.serve();
                drop(handle);
                ready.notified().await;
            }
        };
        (queue, serve)
    }

    /// Connects, so that the first record need not wait for that. Blocks.
    ///
    /// An idempotent producer asks for its id when a broker has told of the cluster, but not the
    /// one that it asked first, which it then drops for the same one by its proper name. Left to
    /// itself it tries again only after half a second.
    pub fn connect(&self, timeout: Duration) -> Result<(), NativeError> {
        let admin = Admin::new(Arc::clone(&self.handle), timeout);
        admin.ping()?;
        admin.ping()
    }

    /// What this produces with.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Gives up all records under way, so that nobody waits for them any more.
    pub fn give_up(&self) {
        let what = RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT;
        let what = what | RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the instance lives. Of producers it is refused for no reason.
        unsafe { rd_kafka_purge(self.handle.rk(), what) };
    }

    /// The first message since the last call that could not be delivered.
    pub fn take_failed_delivery(&self) -> Option<FailedDelivery> {
        self.handle.callbacks().take_failed_delivery()
    }

    /// Why the producer can do no more, if that is so.
    pub fn fatal(&self) -> Option<NativeError> {
        self.handle.fatal()
    }

    /// A topic, whose messages will be packed by this codec.
    pub fn topic(&self, name: &str, compression: Compression) -> Result<Topic, NativeError> {
        let (name, codec) = (c_string(name)?, c_string(&compression.to_string())?);
        let setting = c_string("compression.codec")?;
        let mut reason = [0; REASON_LEN_MAX];
        // SAFETY: the settings are ours until the topic takes them over.
        let topic = unsafe {
            let conf = rd_kafka_default_topic_conf_dup(self.handle.rk());
            let outcome = rd_kafka_topic_conf_set(
                conf,
                setting.as_ptr(),
                codec.as_ptr(),
                reason.as_mut_ptr(),
                reason.len(),
            );
            if outcome != rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                rd_kafka_topic_conf_destroy(conf);
                return Err(NativeError::new(code::INVALID_ARG, text(reason.as_ptr())));
            }
            rd_kafka_topic_new(self.handle.rk(), name.as_ptr(), conf)
        };
        let topic = NonNull::new(topic).ok_or_else(|| NativeError::of(code::INVALID_ARG))?;
        Ok(Topic { topic, _handle: Arc::clone(&self.handle) })
    }

    /// Puts a copy of a record on the queue.
    pub fn produce(
        &self,
        topic: &Topic,
        partition: i32,
        record: &Record<'_>,
        when_full: WhenFull,
    ) -> Result<(), NativeError> {
        let headers = headers_of(record);
        let flags = match when_full {
            WhenFull::Fail => RD_KAFKA_MSG_F_COPY,
            WhenFull::Block => RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_BLOCK,
        };
        // librdkafka takes 0 for "now"; a millisecond beside the truth is nearer to it.
        let timestamp_ms = if record.timestamp_ms == 0 { 1 } else { record.timestamp_ms };
        use rd_kafka_vtype_t::*;
        let fields = [
            field(RD_KAFKA_VTYPE_RKT, |field| field.rkt = topic.topic.as_ptr()),
            field(RD_KAFKA_VTYPE_PARTITION, |field| field.i32_ = partition),
            field(RD_KAFKA_VTYPE_MSGFLAGS, |field| field.i = flags),
            field(RD_KAFKA_VTYPE_KEY, |field| field.mem = memory(record.key)),
            field(RD_KAFKA_VTYPE_VALUE, |field| field.mem = memory(record.value)),
            field(RD_KAFKA_VTYPE_TIMESTAMP, |field| field.i64_ = timestamp_ms),
            field(RD_KAFKA_VTYPE_HEADERS, |field| field.headers = headers),
        ];
        // Without headers the last field is left out.
        let count = if headers.is_null() { fields.len() - 1 } else { fields.len() };
        // SAFETY: the fields are of the kinds that they say; key and value are copied. The
        // headers pass to the message if it is taken, else they stay ours.
        unsafe {
            let error = rd_kafka_produceva(self.handle.rk(), fields.as_ptr(), count);
            if !error.is_null() && !headers.is_null() {
                rd_kafka_headers_destroy(headers);
            }
            NativeError::take(error)
        }
    }

    /// Blocks until all that is on the queue is delivered or has failed.
    pub fn flush(&self, timeout: Duration) -> Result<(), NativeError> {
        // SAFETY: the instance lives.
        unsafe { NativeError::check(ffi::rd_kafka_flush(self.handle.rk(), timeout_ms(timeout))) }
    }

    /// Fences earlier producers of the same transactional id. Blocks.
    pub fn init_transactions(&self, timeout: Duration) -> Result<(), NativeError> {
        // SAFETY: the instance lives.
        unsafe {
            NativeError::take(rd_kafka_init_transactions(self.handle.rk(), timeout_ms(timeout)))
        }
    }

    pub fn begin_transaction(&self) -> Result<(), NativeError> {
        // SAFETY: the instance lives.
        unsafe { NativeError::take(rd_kafka_begin_transaction(self.handle.rk())) }
    }

    /// Adds a group's offsets to the transaction. Blocks. `member` are the id and the generation
    /// of the member that read them.
    pub fn send_offsets(
        &self,
        group: &str,
        member: Option<(&str, i32)>,
        offsets: &PartitionList,
        timeout: Duration,
    ) -> Result<(), NativeError> {
        let group = c_string(group)?;
        let member = member
            .map(|(member_id, generation)| Ok((c_string(member_id)?, generation)))
            .transpose()?;
        // SAFETY: names and list are copied; the metadata is ours until destroyed here.
        unsafe {
            let metadata = match &member {
                None => rd_kafka_consumer_group_metadata_new(group.as_ptr()),
                Some((member_id, generation)) => rd_kafka_consumer_group_metadata_new_with_genid(
                    group.as_ptr(),
                    *generation,
                    member_id.as_ptr(),
                    ptr::null(),
                ),
            };
            let outcome = NativeError::take(rd_kafka_send_offsets_to_transaction(
                self.handle.rk(),
                offsets.as_ptr(),
                metadata,
                timeout_ms(timeout),
            ));
            rd_kafka_consumer_group_metadata_destroy(metadata);
            outcome
        }
    }

    /// Flushes and commits. Blocks.
    pub fn commit_transaction(&self, timeout: Duration) -> Result<(), NativeError> {
        // SAFETY: the instance lives.
        unsafe {
            NativeError::take(rd_kafka_commit_transaction(self.handle.rk(), timeout_ms(timeout)))
        }
    }

    /// Drops what is on the queue and aborts. Blocks.
    pub fn abort_transaction(&self, timeout: Duration) -> Result<(), NativeError> {
        // SAFETY: the instance lives.
        unsafe {
            NativeError::take(rd_kafka_abort_transaction(self.handle.rk(), timeout_ms(timeout)))
        }
    }
}

type FieldValue = rd_kafka_vu_s__bindgen_ty_1;

fn field(kind: rd_kafka_vtype_t, fill: impl FnOnce(&mut FieldValue)) -> rd_kafka_vu_t {
    // SAFETY: all zeroes are a value of each of the union's kinds.
    let mut value: FieldValue = unsafe { MaybeUninit::zeroed().assume_init() };
    fill(&mut value);
    rd_kafka_vu_t { vtype: kind, u: value }
}

/// A null pointer stands for none; empty bytes have another.
fn memory(part: Option<&[u8]>) -> rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    let (start, size) = part.map_or((ptr::null(), 0), |part| (part.as_ptr(), part.len()));
    rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: start.cast_mut().cast::<c_void>(), size }
}

/// The headers of a record, for a message to take over; null for none.
fn headers_of(record: &Record<'_>) -> *mut rd_kafka_headers_t {
    let mut all: *mut rd_kafka_headers_t = ptr::null_mut();
    for header in record.headers() {
        let (value, size) = header
            .value
            .map_or((ptr::null(), 0), |value| (value.as_ptr().cast::<c_void>(), value.len()));
        // SAFETY: name and value are copied; a null value has a null pointer.
        unsafe {
            if all.is_null() {
                all = rd_kafka_headers_new(HEADERS_GUESS);
            }
            rd_kafka_header_add(
                all,
                header.key.as_ptr().cast(),
                header.key.len().cast_signed(),
                value,
                size.cast_signed(),
            );
        }
    }
    all
}

/// Room made at first for the headers of one record.
const HEADERS_GUESS: usize = 4;
