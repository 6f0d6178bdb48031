//! The queues that librdkafka answers on, awaited without polling.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use rdkafka_sys::bindings::*;
use tokio::sync::Notify;

use super::error::{NativeError, code, ffi};
use super::handle::Handle;
use super::text;

/// A queue of an instance. librdkafka calls back when it stops being empty, and only then: who
/// waits must have found it empty before.
pub struct Queue {
    queue: NonNull<rd_kafka_queue_t>,
    /// Boxed in its `Arc`: librdkafka holds a pointer to it.
    ready: Arc<Notify>,
    /// After the queue, so that it goes last.
    handle: Arc<Handle>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Queue {}
unsafe impl Sync for Queue {}

impl Queue {
    /// A queue of its own, for the answer to one question.
    pub fn new(handle: &Arc<Handle>) -> Queue {
        // SAFETY: the instance lives.
        Queue::watch(handle, unsafe { rd_kafka_queue_new(handle.rk()) })
    }

    /// The queue of a producer's errors, failed deliveries and the like.
    pub fn main(handle: &Arc<Handle>) -> Queue {
        // SAFETY: the instance lives.
        Queue::watch(handle, unsafe { rd_kafka_queue_get_main(handle.rk()) })
    }

    /// The queue of a consumer's messages and all else that it has to say.
    pub fn consumer(handle: &Arc<Handle>) -> Result<Queue, NativeError> {
        // SAFETY: the instance lives.
        unsafe {
            NativeError::check(rd_kafka_poll_set_consumer(handle.rk()) as i32)?;
            Ok(Queue::watch(handle, rd_kafka_queue_get_consumer(handle.rk())))
        }
    }

    fn watch(handle: &Arc<Handle>, queue: *mut rd_kafka_queue_t) -> Queue {
        let queue = NonNull::new(queue).expect("an instance of this kind has this queue");
        let ready = Arc::new(Notify::new());
        let opaque = Arc::as_ptr(&ready).cast_mut().cast::<c_void>();
        // SAFETY: `ready` lives until the callback is taken back, by drop.
        unsafe { rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_ready), opaque) };
        Queue { queue, ready, handle: Arc::clone(handle) }
    }

    pub fn as_ptr(&self) -> *mut rd_kafka_queue_t {
        self.queue.as_ptr()
    }

    /// What is notified when the queue stops being empty.
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.ready)
    }

    /// Waits until something came after the queue was last found empty.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Waits for the answer to the one question that this queue was made for, but no longer once a
    /// broker does not let us in.
    pub async fn answer(&self) -> Result<Event, NativeError> {
        tokio::select! {
            biased;
            answer = self.event() => answer,
            refusal = self.handle.callbacks().refused() => Err(NativeError::not_let_in(refusal)),
        }
    }

    async fn event(&self) -> Result<Event, NativeError> {
        loop {
            // SAFETY: the queue lives; a timeout of 0 does not block.
            let event = unsafe { rd_kafka_queue_poll(self.queue.as_ptr(), 0) };
            if let Some(event) = NonNull::new(event) {
                let event = Event { event, _handle: Arc::clone(&self.handle) };
                return event.checked();
            }
            self.ready().await;
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue's lock, held while it calls back, makes this the end of callbacks.
        unsafe {
            rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, std::ptr::null_mut());
            rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

unsafe extern "C" fn on_ready(_rk: *mut rd_kafka_t, ready: *mut c_void) {
    // SAFETY: the pointer that `Queue::watch` gave, alive until `Queue::drop`.
    if let Some(ready) = unsafe { ready.cast::<Notify>().as_ref() } {
        ready.notify_one();
    }
}

/// An answer.
pub struct Event {
    event: NonNull<rd_kafka_event_t>,
    _handle: Arc<Handle>,
}

// SAFETY: an event belongs to whoever took it off its queue.
unsafe impl Send for Event {}

impl Event {
    fn checked(self) -> Result<Event, NativeError> {
        // SAFETY: the event is ours.
        let (code, reason) = unsafe {
            let event = self.event.as_ptr();
            (ffi::rd_kafka_event_error(event), text(rd_kafka_event_error_string(event)))
        };
        if code == code::NONE { Ok(self) } else { Err(NativeError::new(code, reason)) }
    }

    pub fn as_ptr(&self) -> *mut rd_kafka_event_t {
        self.event.as_ptr()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours.
        unsafe { rd_kafka_event_destroy(self.event.as_ptr()) }
    }
}
