//! What librdkafka reports when something went wrong.

use std::fmt;

use rdkafka_sys::bindings::{rd_kafka_error_destroy, rd_kafka_error_t, rd_kafka_t};

use super::{REASON_LEN_MAX, text};
use crate::client::remote::tunnel::Refusal;

/// An error number: negative ones are librdkafka's own, positive ones the broker's.
pub type Code = i32;

/// The numbers that are told apart here.
pub mod code {
    use super::Code;

    pub const BAD_MSG: Code = -199;
    pub const TRANSPORT: Code = -195;
    pub const RESOLVE: Code = -193;
    pub const MSG_TIMED_OUT: Code = -192;
    pub const PARTITION_EOF: Code = -191;
    pub const UNKNOWN_PARTITION_LOCAL: Code = -190;
    pub const UNKNOWN_TOPIC_LOCAL: Code = -188;
    pub const ALL_BROKERS_DOWN: Code = -187;
    pub const INVALID_ARG: Code = -186;
    pub const TIMED_OUT: Code = -185;
    pub const QUEUE_FULL: Code = -184;
    pub const WAIT_COORDINATOR: Code = -180;
    pub const ASSIGN_PARTITIONS: Code = -175;
    pub const AUTHENTICATION: Code = -169;
    pub const TIMED_OUT_QUEUE: Code = -166;
    pub const PURGE_QUEUE: Code = -152;
    pub const PURGE_INFLIGHT: Code = -151;
    pub const FATAL: Code = -150;
    pub const MAX_POLL_EXCEEDED: Code = -147;
    pub const FENCED: Code = -144;
    pub const AUTO_OFFSET_RESET: Code = -140;

    pub const NONE: Code = 0;
    pub const OFFSET_OUT_OF_RANGE: Code = 1;
    pub const UNKNOWN_TOPIC_OR_PART: Code = 3;
    pub const LEADER_NOT_AVAILABLE: Code = 5;
    pub const NOT_LEADER: Code = 6;
    pub const REQUEST_TIMED_OUT: Code = 7;
    pub const BROKER_NOT_AVAILABLE: Code = 8;
    pub const REPLICA_NOT_AVAILABLE: Code = 9;
    pub const MSG_SIZE_TOO_LARGE: Code = 10;
    pub const NETWORK_EXCEPTION: Code = 13;
    pub const COORDINATOR_LOAD_IN_PROGRESS: Code = 14;
    pub const COORDINATOR_NOT_AVAILABLE: Code = 15;
    pub const NOT_COORDINATOR: Code = 16;
    pub const INVALID_TOPIC: Code = 17;
    pub const RECORD_LIST_TOO_LARGE: Code = 18;
    pub const ILLEGAL_GENERATION: Code = 22;
    pub const UNKNOWN_MEMBER_ID: Code = 25;
    pub const REBALANCE_IN_PROGRESS: Code = 27;
    pub const TOPIC_ALREADY_EXISTS: Code = 36;
    pub const INVALID_PRODUCER_EPOCH: Code = 47;
    pub const STORAGE_ERROR: Code = 56;
    pub const FENCED_LEADER_EPOCH: Code = 74;
    pub const UNKNOWN_LEADER_EPOCH: Code = 75;
    pub const OFFSET_NOT_AVAILABLE: Code = 78;
    pub const FENCED_INSTANCE_ID: Code = 82;
    pub const UNSTABLE_OFFSET_COMMIT: Code = 88;
    pub const PRODUCER_FENCED: Code = 90;
    pub const UNKNOWN_TOPIC_ID: Code = 100;
}

// The bindings declare these with an enum of the codes known to this librdkafka, and a broker may
// send others; so they are declared here again, as numbers.
#[allow(clashing_extern_declarations)]
pub(super) mod ffi {
    use std::ffi::{c_char, c_int, c_void};

    use rdkafka_sys::bindings::*;

    unsafe extern "C" {
        pub fn rd_kafka_ConfigResource_error(resource: *const rd_kafka_ConfigResource_t) -> c_int;
        pub fn rd_kafka_assign(
            rk: *mut rd_kafka_t,
            partitions: *const rd_kafka_topic_partition_list_t,
        ) -> c_int;
        pub fn rd_kafka_commit_queue(
            rk: *mut rd_kafka_t,
            offsets: *const rd_kafka_topic_partition_list_t,
            queue: *mut rd_kafka_queue_t,
            callback: *const c_void,
            opaque: *mut c_void,
        ) -> c_int;
        pub fn rd_kafka_err2str(code: c_int) -> *const c_char;
        pub fn rd_kafka_error_code(error: *const rd_kafka_error_t) -> c_int;
        pub fn rd_kafka_error_is_fatal(error: *const rd_kafka_error_t) -> c_int;
        pub fn rd_kafka_error_is_retriable(error: *const rd_kafka_error_t) -> c_int;
        pub fn rd_kafka_error_string(error: *const rd_kafka_error_t) -> *const c_char;
        pub fn rd_kafka_error_txn_requires_abort(error: *const rd_kafka_error_t) -> c_int;
        pub fn rd_kafka_event_error(event: *mut rd_kafka_event_t) -> c_int;
        pub fn rd_kafka_fatal_error(
            rk: *mut rd_kafka_t,
            reason: *mut c_char,
            reason_len: usize,
        ) -> c_int;
        pub fn rd_kafka_flush(rk: *mut rd_kafka_t, timeout_ms: c_int) -> c_int;
        pub fn rd_kafka_metadata(
            rk: *mut rd_kafka_t,
            all_topics: c_int,
            only: *mut rd_kafka_topic_t,
            metadata: *mut *const rd_kafka_metadata,
            timeout_ms: c_int,
        ) -> c_int;
        pub fn rd_kafka_subscribe(
            rk: *mut rd_kafka_t,
            topics: *const rd_kafka_topic_partition_list_t,
        ) -> c_int;
        pub fn rd_kafka_topic_result_error(result: *const rd_kafka_topic_result_t) -> c_int;
    }
}

/// Why a call failed, and what can still be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeError {
    pub code: Code,
    pub reason: String,
    /// The instance can do no more.
    pub fatal: bool,
    /// The same call may be made again.
    pub retriable: bool,
    /// The transaction can only be aborted.
    pub abortable: bool,
    /// The broker that does not let us in.
    pub refused_by: Option<String>,
}

impl NativeError {
    pub fn new(code: Code, reason: String) -> NativeError {
        let (fatal, retriable, abortable) = (false, false, false);
        NativeError { code, reason, fatal, retriable, abortable, refused_by: None }
    }

    /// The error of this number, in librdkafka's own words.
    pub fn of(code: Code) -> NativeError {
        // SAFETY: any number is allowed; the answer is static, or thread-local for unknown ones.
        NativeError::new(code, unsafe { text(ffi::rd_kafka_err2str(code)) })
    }

    /// That a broker does not let us in.
    pub fn not_let_in(refusal: Refusal) -> NativeError {
        let Refusal { address, reason } = refusal;
        NativeError { refused_by: Some(address), ..NativeError::new(code::AUTHENTICATION, reason) }
    }

    /// `Ok` for 0, else the error of this number.
    pub fn check(code: Code) -> Result<(), NativeError> {
        if code == code::NONE { Ok(()) } else { Err(NativeError::of(code)) }
    }

    /// Takes over an error object; `Ok` if there is none.
    ///
    /// # Safety
    /// `error` is null or an error object that the caller owns.
    pub(super) unsafe fn take(error: *mut rd_kafka_error_t) -> Result<(), NativeError> {
        let Some(failed) = (unsafe { NativeError::look(error) }) else { return Ok(()) };
        unsafe { rd_kafka_error_destroy(error) };
        Err(failed)
    }

    /// Reads an error object; `None` for none, or for one that says all went well.
    ///
    /// # Safety
    /// `error` is null or an error object.
    pub(super) unsafe fn look(error: *const rd_kafka_error_t) -> Option<NativeError> {
        if error.is_null() {
            return None;
        }
        // SAFETY: `error` is an error object, as the caller vouches.
        let failed = unsafe {
            NativeError {
                code: ffi::rd_kafka_error_code(error),
                reason: text(ffi::rd_kafka_error_string(error)),
                fatal: ffi::rd_kafka_error_is_fatal(error) != 0,
                retriable: ffi::rd_kafka_error_is_retriable(error) != 0,
                abortable: ffi::rd_kafka_error_txn_requires_abort(error) != 0,
                refused_by: None,
            }
        };
        (failed.code != code::NONE).then_some(failed)
    }

    /// Why an instance can do no more, if that is so.
    ///
    /// # Safety
    /// `rk` is a live instance.
    pub(super) unsafe fn fatal(rk: *mut rd_kafka_t) -> Option<NativeError> {
        let mut reason = [0; REASON_LEN_MAX];
        let code = unsafe { ffi::rd_kafka_fatal_error(rk, reason.as_mut_ptr(), reason.len()) };
        if code == code::NONE {
            return None;
        }
        let reason = unsafe { text(reason.as_ptr()) };
        Some(NativeError { fatal: true, ..NativeError::new(code, reason) })
    }

    /// The topic is not there, whoever noticed it.
    pub fn is_unknown_topic(&self) -> bool {
        matches!(
            self.code,
            code::UNKNOWN_TOPIC_OR_PART
                | code::UNKNOWN_TOPIC_LOCAL
                | code::UNKNOWN_TOPIC_ID
                | code::INVALID_TOPIC
        )
    }

    /// Another producer of the same transactional id has taken over.
    pub fn is_fenced(&self) -> bool {
        self.fatal
            && matches!(
                self.code,
                code::FENCED | code::PRODUCER_FENCED | code::INVALID_PRODUCER_EPOCH
            )
    }

    /// The message was dropped because something else had failed.
    pub fn is_purged(&self) -> bool {
        matches!(self.code, code::PURGE_QUEUE | code::PURGE_INFLIGHT)
    }

    /// No broker could be asked, or none answered in time.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self.code,
            code::TRANSPORT
                | code::RESOLVE
                | code::ALL_BROKERS_DOWN
                | code::TIMED_OUT
                | code::TIMED_OUT_QUEUE
                | code::MSG_TIMED_OUT
                | code::WAIT_COORDINATOR
                | code::REQUEST_TIMED_OUT
                | code::NETWORK_EXCEPTION
                | code::BROKER_NOT_AVAILABLE
        )
    }

    /// librdkafka goes on by itself: it asks again, elsewhere or later.
    pub fn heals_itself(&self) -> bool {
        !self.fatal
            && (self.is_unreachable()
                || matches!(
                    self.code,
                    code::LEADER_NOT_AVAILABLE
                        | code::NOT_LEADER
                        | code::REPLICA_NOT_AVAILABLE
                        | code::COORDINATOR_LOAD_IN_PROGRESS
                        | code::COORDINATOR_NOT_AVAILABLE
                        | code::NOT_COORDINATOR
                        | code::ILLEGAL_GENERATION
                        | code::UNKNOWN_MEMBER_ID
                        | code::REBALANCE_IN_PROGRESS
                        | code::FENCED_LEADER_EPOCH
                        | code::UNKNOWN_LEADER_EPOCH
                        | code::OFFSET_NOT_AVAILABLE
                        | code::UNSTABLE_OFFSET_COMMIT
                        | code::MAX_POLL_EXCEEDED
                ))
    }
}

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
