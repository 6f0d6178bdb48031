//! librdkafka behind safe types: all `unsafe` of the remote client is in this folder.
//!
//! - [`error`]: its error codes and what they mean for going on;
//! - [`handle`]: one instance with its settings, its callbacks and its log; [`queue`]: the queues
//!   that it answers on; [`partitions`]: lists of partitions with offsets;
//! - [`socket`]: its connections, where they go through tunnels;
//! - [`admin`]: questions and orders to the cluster; [`consumer`] and [`producer`]: records.
//!
//! Invariants: an instance is destroyed after everything that was taken from it, because what was
//! taken keeps it alive. Nothing here blocks except what says so, and nothing polls: librdkafka
//! wakes a [`tokio::sync::Notify`] when a queue stops being empty. Error codes are numbers, since
//! brokers newer than this library send codes that its enum lacks. No panic crosses into C.

pub mod admin;
pub mod consumer;
pub mod error;
pub mod handle;
pub mod partitions;
pub mod producer;
pub mod queue;
mod socket;

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char};

use error::{NativeError, code};

/// Room for the messages that librdkafka writes into buffers of ours.
const REASON_LEN_MAX: usize = 512;

/// Text for C; names with a zero byte are refused here, since C would cut them off.
fn c_string(text: &str) -> Result<CString, NativeError> {
    CString::new(text).map_err(|_| {
        NativeError::new(code::INVALID_ARG, format!("'{}' has a zero byte", text.escape_debug()))
    })
}

/// Copies text out of C; empty for a null pointer.
///
/// # Safety
/// `text` is null or a string that ends with a zero byte.
unsafe fn text(text: *const c_char) -> String {
    unsafe { text_borrowed(text) }.into_owned()
}

/// # Safety
/// As for [`text`], and the string outlives `'a`.
unsafe fn text_borrowed<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}
