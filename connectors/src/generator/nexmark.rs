//! The events of the benchmark Nexmark, by the crate of that name: people, their auctions, bids.

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::Event;
use serde_json::json;

/// Events from a number on.
#[derive(Clone, Debug)]
pub struct Events(EventGenerator);

/// Which topic an event goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Person,
    Auction,
    Bid,
}

impl Stream {
    pub const ALL: [Stream; 3] = [Stream::Person, Stream::Auction, Stream::Bid];

    pub fn name(self) -> &'static str {
        match self {
            Stream::Person => "person",
            Stream::Auction => "auction",
            Stream::Bid => "bid",
        }
    }
}

impl Events {
    /// `rate` is how many events there are in a second of their own time.
    pub fn new(number: u64, rate: u64) -> Events {
        let rate = rate as usize;
        let config = NexmarkConfig {
            base_time: 0,
            first_rate: rate,
            next_rate: rate,
            ..NexmarkConfig::default()
        };
        Events(EventGenerator::new(config).with_offset(number))
    }

    /// The next event: where it goes, its key, and its value at that time. The crate's own times
    /// have the precision of 32-bit floats, which is not enough after some hours.
    pub fn next(&mut self, time_ms: i64) -> (Stream, u64, String) {
        let event = self.0.next().expect("there is no end to them");
        match event {
            Event::Person(one) => {
                let value = json!({
                    "id": one.id, "name": one.name, "email_address": one.email_address,
                    "credit_card": one.credit_card, "city": one.city,
                    "state": one.state.to_uppercase(), "date_time": time_ms, "extra": one.extra,
                });
                (Stream::Person, one.id as u64, value.to_string())
            }
            Event::Auction(one) => {
                let lasts = one.expires.saturating_sub(one.date_time) as i64;
                let value = json!({
                    "id": one.id, "item_name": one.item_name, "description": one.description,
                    "initial_bid": one.initial_bid, "reserve": one.reserve, "date_time": time_ms,
                    "expires": time_ms + lasts, "seller": one.seller, "category": one.category,
                    "extra": one.extra,
                });
                (Stream::Auction, one.id as u64, value.to_string())
            }
            Event::Bid(one) => {
                let value = json!({
                    "auction": one.auction, "bidder": one.bidder, "price": one.price,
                    "channel": one.channel, "url": one.url, "date_time": time_ms,
                    "extra": one.extra,
                });
                (Stream::Bid, one.auction as u64, value.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_go_on_where_they_were() {
        let take = |from: u64, count: usize| {
            let mut events = Events::new(from, 10_000);
            (from..).take(count).map(|n| events.next(n as i64)).collect::<Vec<_>>()
        };
        let all = take(0, 300);
        assert_eq!(all[217..], take(217, 83));
        let count = |stream| all.iter().filter(|(of, ..)| *of == stream).count();
        assert_eq!(Stream::ALL.map(count), [6, 18, 276]);
        // Far on, where the crate's own times have lost their milliseconds.
        let far = take(5_000_000_001, 3);
        assert!(far[0].2.contains("\"date_time\":5000000001"), "{}", far[0].2);
    }
}
