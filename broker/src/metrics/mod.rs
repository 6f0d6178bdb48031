//! What a broker tells about itself, as Prometheus reads it (the OpenMetrics text format).
//!
//! ```text
//! server ─ counts as it goes ─┐
//!                             ├─► text, when somebody asks
//! topics, groups ─ looked at ─┘
//! ```
//!
//! - counters and histograms are touched where things happen, without a lock held across anything;
//! - [`inventory`]: what is there is looked at when it is asked for: sizes, offsets, lag.
//!
//! Units are in the names: seconds and bytes. A name, once published, keeps its meaning.

mod inventory;

use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::broker::Broker;
use crate::protocol::ApiKey;
use inventory::Inventory;

/// Of the text that [`Metrics::text`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = [(&'static str, String); 1];

/// A broker's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By key of the API.
    requests: Vec<(ApiKey, Histogram)>,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) connections_cut_off: Counter,
    pub(crate) authentications_failed: Counter,
    pub(crate) denied: Counter,
    pub(crate) throttled: Counter,
}

/// From 50 µs to 26 s, each twice the one before.
pub(crate) fn durations() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 20))
}

impl Metrics {
    pub(crate) fn new(broker: Weak<Broker>, fsyncs: Histogram) -> Metrics {
        let mut registry = Registry::with_prefix("millstream");
        let family = Family::<Labels, Histogram>::new_with_constructor(durations);
        let of_api = |api: &ApiKey| {
            let labels = [("api", format!("{api:?}"))];
            (*api, family.get_or_create(&labels).clone())
        };
        let requests = ApiKey::ALL.iter().map(of_api).collect();
        registry.register(
            "request_duration_seconds",
            "From a request's arrival to its answer, waiting for records included",
            family,
        );
        let connections = Gauge::default();
        registry.register("connections", "Clients that are connected", connections.clone());
        let connections_refused = Counter::default();
        registry.register(
            "connections_refused",
            "Connections closed at once because as many as may be were open",
            connections_refused.clone(),
        );
        let connections_cut_off = Counter::default();
        registry.register(
            "connections_cut_off",
            "Connections closed for what the client did: no request, stalled, or unread answers",
            connections_cut_off.clone(),
        );
        let authentications_failed = Counter::default();
        registry.register(
            "authentications_failed",
            "Connections closed because the client could not show who it is",
            authentications_failed.clone(),
        );
        let denied = Counter::default();
        registry.register(
            "requests_denied",
            "Operations that a client asked for and may not do",
            denied.clone(),
        );
        let throttled = Counter::default();
        registry.register(
            "throttled",
            "Requests, and connections, after which a client had to wait because of a quota",
            throttled.clone(),
        );
        registry.register("fsync_duration_seconds", "One fsync of a log segment", fsyncs);
        registry.register_collector(Box::new(Inventory::new(broker)));
        Metrics {
            registry,
            requests,
            connections,
            connections_refused,
            connections_cut_off,
            authentications_failed,
            denied,
            throttled,
        }
    }

    /// A request has been answered.
    pub(crate) fn answered(&self, api: ApiKey, took: Duration) {
        if let Some((_, histogram)) = self.requests.iter().find(|(known, _)| *known == api) {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// Everything as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

impl Broker {
    /// Everything that there is to tell, as text of [`CONTENT_TYPE`].
    pub async fn metrics_text(self: &Arc<Broker>) -> String {
        let broker = self.clone();
        // Thousands of partitions take a while.
        let text = tokio::task::spawn_blocking(move || broker.metrics().text()).await;
        text.expect("looking at partitions does not panic")
    }
}
