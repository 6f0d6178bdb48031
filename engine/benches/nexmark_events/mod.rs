//! The events and the queries of the benchmark Nexmark.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::pipeline::{Pipeline, load};
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::Event;
use serde_json::json;

/// Records of each topic, in order.
pub type Topics = BTreeMap<&'static str, Vec<String>>;

pub fn events(count: usize) -> Topics {
    // A second of real time holds few events, so that windows have some to close.
    let config = NexmarkConfig { base_time: 1_700_000_000_000, ..NexmarkConfig::default() };
    let mut topics = Topics::new();
    for event in EventGenerator::new(config).take(count) {
        let (topic, value) = match event {
            Event::Person(one) => (
                "nexmark-person",
                json!({
                    "id": one.id, "name": one.name, "email_address": one.email_address,
                    "credit_card": one.credit_card, "city": one.city, "state": one.state.to_uppercase(),
                    "date_time": one.date_time, "extra": one.extra,
                }),
            ),
            Event::Auction(one) => (
                "nexmark-auction",
                json!({
                    "id": one.id, "item_name": one.item_name, "description": one.description,
                    "initial_bid": one.initial_bid, "reserve": one.reserve,
                    "date_time": one.date_time, "expires": one.expires, "seller": one.seller,
                    "category": one.category, "extra": one.extra,
                }),
            ),
            Event::Bid(one) => (
                "nexmark-bid",
                json!({
                    "auction": one.auction, "bidder": one.bidder, "price": one.price,
                    "channel": one.channel, "url": one.url, "date_time": one.date_time,
                    "extra": one.extra,
                }),
            ),
        };
        topics.entry(topic).or_default().push(value.to_string());
    }
    let side = |key: usize| json!({"key": key, "value": format!("side {key}")}).to_string();
    topics.insert("nexmark-side", (0..1000).map(side).collect());
    topics
}

/// Those of pipelines/nexmark, in the order of their names.
pub fn pipelines() -> Vec<Pipeline> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("pipelines/nexmark");
    let mut files: Vec<PathBuf> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    assert!(files.len() > 10, "{files:?}");
    let one = |file: PathBuf| {
        let (mut found, _) = load(&[file]).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        found.remove(0)
    };
    files.into_iter().map(one).collect()
}
