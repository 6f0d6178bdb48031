//! One librdkafka instance: its settings, its callbacks and its log.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka_sys::bindings::*;

use super::error::{Code, NativeError, code, ffi};
use super::partitions::PartitionList;
use super::{REASON_LEN_MAX, c_string, socket, text};
use crate::client::remote::tunnel::{Refusal, Tunnels};

/// Settings of an instance to be made.
pub struct Conf {
    conf: NonNull<rd_kafka_conf_t>,
    /// By which its connections go, if not by sockets of librdkafka's own.
    tunnels: Option<Arc<Tunnels>>,
}

impl Conf {
    pub fn new() -> Conf {
        // SAFETY: librdkafka aborts rather than return null.
        let conf = unsafe { rd_kafka_conf_new() };
        let conf = NonNull::new(conf).expect("librdkafka aborts when memory is exhausted");
        Conf { conf, tunnels: None }
    }

    /// Lets all connections go through tunnels.
    pub fn lead_through(&mut self, tunnels: Arc<Tunnels>) {
        self.tunnels = Some(tunnels);
    }

    pub(super) fn as_ptr(&self) -> *mut rd_kafka_conf_t {
        self.conf.as_ptr()
    }

    pub fn set(&mut self, name: &str, value: &str) -> Result<(), NativeError> {
        let name = c_string(name)?;
        // Not by `c_string`, whose error would show the value, which may be a secret.
        let value = std::ffi::CString::new(value).map_err(|_| {
            let reason = format!("the value of '{}' has a zero byte", name.to_string_lossy());
            NativeError::new(code::INVALID_ARG, reason)
        })?;
        let mut reason = [0; REASON_LEN_MAX];
        // SAFETY: all pointers are valid for the call.
        let outcome = unsafe {
            rd_kafka_conf_set(
                self.as_ptr(),
                name.as_ptr(),
                value.as_ptr(),
                reason.as_mut_ptr(),
                reason.len(),
            )
        };
        if outcome == rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            return Ok(());
        }
        // SAFETY: librdkafka ends what it writes with a zero byte.
        Err(NativeError::new(code::INVALID_ARG, unsafe { text(reason.as_ptr()) }))
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: the settings are ours until an instance takes them over, which forgets them.
        unsafe { rd_kafka_conf_destroy(self.as_ptr()) }
    }
}

/// What an instance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Produces, or only asks and orders.
    Producer,
    Consumer,
}

/// A live instance; destroyed in the background when the last owner lets go of it.
pub struct Handle {
    /// Present until dropped.
    instance: Option<Instance>,
}

impl Handle {
    pub fn new(kind: Kind, mut conf: Conf, closing: &Arc<Closing>) -> Result<Handle, NativeError> {
        let tunnels = conf.tunnels.take();
        if tunnels.is_some() {
            socket::lead_through_tunnels(&conf);
        }
        let callbacks = Box::new(Callbacks { tunnels, ..Callbacks::default() });
        // SAFETY: the callbacks outlive the instance, and their signatures are the ones asked for.
        unsafe {
            let opaque = (&raw const *callbacks).cast_mut().cast::<c_void>();
            rd_kafka_conf_set_opaque(conf.as_ptr(), opaque);
            rd_kafka_conf_set_log_cb(conf.as_ptr(), Some(on_log));
            match kind {
                // As events, not by a callback: only then flush waits without looking every 10 ms.
                Kind::Producer => rd_kafka_conf_set_events(conf.as_ptr(), RD_KAFKA_EVENT_DR),
                Kind::Consumer => rd_kafka_conf_set_rebalance_cb(conf.as_ptr(), Some(on_rebalance)),
            }
        }
        let native_kind = match kind {
            Kind::Producer => rd_kafka_type_t::RD_KAFKA_PRODUCER,
            Kind::Consumer => rd_kafka_type_t::RD_KAFKA_CONSUMER,
        };
        let mut reason = [0; REASON_LEN_MAX];
        // SAFETY: the settings pass to the instance if there is one, else they stay ours.
        let rk =
            unsafe { rd_kafka_new(native_kind, conf.as_ptr(), reason.as_mut_ptr(), reason.len()) };
        let Some(rk) = NonNull::new(rk) else {
            return Err(NativeError::new(code::INVALID_ARG, unsafe { text(reason.as_ptr()) }));
        };
        std::mem::forget(conf);
        closing.enter();
        let instance = Instance { rk, kind, callbacks, closing: Arc::clone(closing) };
        Ok(Handle { instance: Some(instance) })
    }

    pub fn rk(&self) -> *mut rd_kafka_t {
        self.instance().rk.as_ptr()
    }

    pub fn callbacks(&self) -> &Callbacks {
        &self.instance().callbacks
    }

    /// Takes note of failed deliveries, and lets librdkafka log whatever else it has to say.
    /// Until that is done flush waits.
    pub fn serve(&self) {
        // SAFETY: the instance lives; a timeout of 0 does not block; queue and events are ours.
        unsafe {
            let queue = rd_kafka_queue_get_main(self.rk());
            while let Some(event) = NonNull::new(rd_kafka_queue_poll(queue, 0)) {
                if rd_kafka_event_type(event.as_ptr()) == RD_KAFKA_EVENT_DR {
                    self.callbacks().note_deliveries(event.as_ptr());
                }
                rd_kafka_event_destroy(event.as_ptr());
            }
            rd_kafka_queue_destroy(queue);
        }
    }

    /// Why the instance can do no more, if that is so.
    pub fn fatal(&self) -> Option<NativeError> {
        // SAFETY: the instance lives.
        unsafe { NativeError::fatal(self.rk()) }
    }

    fn instance(&self) -> &Instance {
        self.instance.as_ref().expect("only drop takes it away")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let instance = self.instance.take();
        // Leaving a group waits for the broker, so it is not for this thread. Should there be no
        // thread to be had, then the closure, and with it the instance, is dropped here after all.
        let _ =
            thread::Builder::new().name("librdkafka-close".into()).spawn(move || drop(instance));
    }
}

struct Instance {
    rk: NonNull<rd_kafka_t>,
    kind: Kind,
    /// Boxed: librdkafka holds a pointer to it.
    callbacks: Box<Callbacks>,
    closing: Arc<Closing>,
}

// SAFETY: librdkafka may be called from any thread; its callbacks touch nothing but `Callbacks`.
unsafe impl Send for Instance {}
unsafe impl Sync for Instance {}

impl Drop for Instance {
    fn drop(&mut self) {
        let rk = self.rk.as_ptr();
        // SAFETY: this is the last use of the instance: all that was taken from it held it alive.
        unsafe {
            if self.kind == Kind::Consumer {
                for rebalance in self.callbacks.close() {
                    rebalance.answer(rk);
                }
                rd_kafka_consumer_close(rk);
            }
            rd_kafka_destroy(rk);
        }
        self.closing.leave();
    }
}

/// Counts the instances that live, so that whoever goes last can wait until they have left their
/// groups: a member that just vanishes keeps its partitions for the session timeout.
#[derive(Default)]
pub struct Closing {
    open: Mutex<usize>,
    changed: Condvar,
}

impl Closing {
    fn enter(&self) {
        *lock(&self.open) += 1;
    }

    fn leave(&self) {
        *lock(&self.open) -= 1;
        self.changed.notify_all();
    }

    /// Blocks until all instances are gone, but no longer than `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let open = lock(&self.open);
        let _ = self.changed.wait_timeout_while(open, timeout, |open| *open > 0);
    }
}

/// A message that could not be delivered.
#[derive(Clone, Debug)]
pub struct FailedDelivery {
    pub topic: String,
    pub partition: i32,
    pub size: usize,
    pub error: NativeError,
}

/// Partitions that a group gives or takes, to be answered for it to go on.
pub struct Rebalance {
    /// Given, or else taken.
    pub given: bool,
    pub partitions: PartitionList,
}

impl Rebalance {
    /// Takes the partitions, or lets them go.
    ///
    /// # Safety
    /// `rk` is the live consumer that this rebalance came from.
    pub(super) unsafe fn answer(&self, rk: *mut rd_kafka_t) {
        let list = self.partitions.as_ptr();
        // SAFETY: as the caller vouches; the list is copied.
        let outcome = unsafe {
            let protocol = text(rd_kafka_rebalance_protocol(rk));
            match (protocol.as_str(), self.given) {
                ("COOPERATIVE", true) => NativeError::take(rd_kafka_incremental_assign(rk, list)),
                ("COOPERATIVE", false) => {
                    NativeError::take(rd_kafka_incremental_unassign(rk, list))
                }
                (_, true) => NativeError::check(ffi::rd_kafka_assign(rk, list)),
                (_, false) => NativeError::check(ffi::rd_kafka_assign(rk, ptr::null())),
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(target: "librdkafka", %error, given = self.given, "rebalance");
        }
    }
}

/// What the callbacks of an instance leave for its owner.
#[derive(Default)]
pub struct Callbacks {
    pub tunnels: Option<Arc<Tunnels>>,
    /// Set while connecting fails quietly, because the caller will say so.
    quiet: AtomicBool,
    last_failure: Mutex<Option<String>>,
    failed_delivery: Mutex<Option<FailedDelivery>>,
    rebalances: Mutex<Rebalances>,
}

#[derive(Default)]
struct Rebalances {
    waiting: VecDeque<Rebalance>,
    /// Nobody asks any more: each is answered as it comes.
    closing: bool,
}

impl Callbacks {
    pub fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Relaxed);
        if let Some(tunnels) = &self.tunnels {
            tunnels.set_quiet(quiet);
        }
    }

    /// What went wrong last with a connection.
    pub fn last_failure(&self) -> Option<String> {
        let trouble = self.tunnels.as_ref().and_then(|tunnels| tunnels.last_trouble());
        trouble.or_else(|| lock(&self.last_failure).clone())
    }

    /// Waits until a broker does not let us in; for ever where none is asked to.
    pub async fn refused(&self) -> Refusal {
        let Some(tunnels) = &self.tunnels else { return std::future::pending().await };
        let mut refusals = tunnels.refusals();
        loop {
            // Its sender is in the tunnels.
            if refusals.changed().await.is_err() {
                return std::future::pending().await;
            }
            if let Some(refusal) = refusals.borrow_and_update().clone() {
                return refusal;
            }
        }
    }

    /// The refusal by which this instance will do no more, if there was one.
    pub fn refusal(&self) -> Option<Refusal> {
        self.tunnels.as_ref().and_then(|tunnels| tunnels.refusals().borrow().clone())
    }

    /// The first message since the last call that could not be delivered.
    pub fn take_failed_delivery(&self) -> Option<FailedDelivery> {
        lock(&self.failed_delivery).take()
    }

    /// # Safety
    /// `event` reports deliveries, and lives for the call.
    unsafe fn note_deliveries(&self, event: *mut rd_kafka_event_t) {
        // SAFETY: as the caller vouches. The code is read as a number, since it may be none of the
        // enum's.
        unsafe {
            loop {
                let message = rd_kafka_event_message_next(event);
                if message.is_null() {
                    return;
                }
                let code = (&raw const (*message).err).cast::<Code>().read();
                if code == code::NONE {
                    continue;
                }
                lock(&self.failed_delivery).get_or_insert_with(|| FailedDelivery {
                    topic: text(rd_kafka_topic_name((*message).rkt)),
                    partition: (*message).partition,
                    size: (*message).key_len + (*message).len,
                    error: NativeError::of(code),
                });
            }
        }
    }

    /// The next rebalance to be told and answered.
    pub fn take_rebalance(&self) -> Option<Rebalance> {
        lock(&self.rebalances).waiting.pop_front()
    }

    /// Whether a rebalance is to be told.
    pub fn has_rebalance(&self) -> bool {
        !lock(&self.rebalances).waiting.is_empty()
    }

    /// Puts back a rebalance that was told but not answered yet.
    pub fn put_back(&self, rebalance: Rebalance) {
        lock(&self.rebalances).waiting.push_front(rebalance);
    }

    fn close(&self) -> VecDeque<Rebalance> {
        let mut rebalances = lock(&self.rebalances);
        rebalances.closing = true;
        std::mem::take(&mut rebalances.waiting)
    }
}

/// Nothing here panics while it holds a lock, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Safety
/// `rk` is null or an instance made by [`Handle::new`], which set its opaque.
unsafe fn callbacks<'a>(rk: *const rd_kafka_t) -> Option<&'a Callbacks> {
    if rk.is_null() {
        return None;
    }
    unsafe { rd_kafka_opaque(rk).cast::<Callbacks>().as_ref() }
}

/// How librdkafka tells that a tunnel did not come about.
const TUNNEL_CLOSED: &str = "failed: Connection reset by peer";

/// librdkafka's levels are syslog's. What it takes for an error is mostly a connection that it
/// will try again, so nothing here is more than a warning.
unsafe extern "C" fn on_log(
    rk: *const rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: librdkafka hands over its instance and strings that live for the call.
    let (callbacks, facility, line) = unsafe { (callbacks(rk), text(facility), text(line)) };
    let mut quiet = false;
    if let Some(callbacks) = callbacks {
        quiet = callbacks.quiet.load(Ordering::Relaxed);
        // The tunnel has told why.
        if callbacks.tunnels.is_some() && line.contains(TUNNEL_CLOSED) {
            return tracing::debug!(target: "librdkafka", "{facility} {line}");
        }
        // Not "ERROR", which sums up that all brokers are down but not why.
        if facility == "FAIL" {
            *lock(&callbacks.last_failure) = Some(bare(&line).to_owned());
        }
    }
    match level {
        _ if quiet => tracing::debug!(target: "librdkafka", "{facility} {line}"),
        0..=4 => tracing::warn!(target: "librdkafka", "{facility} {line}"),
        5 => tracing::info!(target: "librdkafka", "{facility} {line}"),
        _ => tracing::debug!(target: "librdkafka", "{facility} {line}"),
    }
}

/// The line without the names of threads and brokers that librdkafka puts before it.
fn bare(line: &str) -> &str {
    let line = line
        .strip_prefix("[thrd:")
        .and_then(|rest| rest.split_once("]: "))
        .map_or(line, |(_, rest)| rest);
    line.rsplit_once("/bootstrap: ").map_or(line, |(_, rest)| rest)
}

unsafe extern "C" fn on_rebalance(
    rk: *mut rd_kafka_t,
    code: rd_kafka_resp_err_t,
    partitions: *mut rd_kafka_topic_partition_list_t,
    _opaque: *mut c_void,
) {
    // SAFETY: librdkafka hands over its instance and a list that lives for the call.
    unsafe {
        let Some(callbacks) = callbacks(rk) else { return };
        let given = code as Code == code::ASSIGN_PARTITIONS;
        let rebalance = Rebalance { given, partitions: PartitionList::copied(partitions) };
        let mut rebalances = lock(&callbacks.rebalances);
        if rebalances.closing {
            drop(rebalances);
            rebalance.answer(rk);
        } else {
            rebalances.waiting.push_back(rebalance);
        }
    }
}

/// Which librdkafka this was built with.
pub fn version() -> String {
    // SAFETY: a static string.
    unsafe { CStr::from_ptr(rd_kafka_version_str()) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_without_threads_and_brokers() {
        let line = "[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect to \
                    ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        assert_eq!(
            bare(line),
            "Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)"
        );
        assert_eq!(bare("plain"), "plain");
    }

    #[test]
    fn a_setting_that_is_unknown_is_named() {
        let mut conf = Conf::new();
        let error = conf.set("no.such.thing", "secret").unwrap_err().to_string();
        assert!(error.contains("no.such.thing") && !error.contains("secret"), "{error}");
        assert!(!conf.set("sasl.password", "a\0b").unwrap_err().to_string().contains("a\0b"));
    }

    #[test]
    fn whoever_goes_last_waits_for_the_others() {
        let closing = Arc::new(Closing::default());
        let handle = Handle::new(Kind::Producer, Conf::new(), &closing).unwrap();
        assert_eq!(handle.fatal(), None);
        drop(handle);
        closing.wait(Duration::from_secs(60));
        assert_eq!(*lock(&closing.open), 0);
    }
}
