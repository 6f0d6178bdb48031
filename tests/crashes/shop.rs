//! Orders and payments, what is asked about them, and what must be answered.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Of each file or topic, in a piece.
const PIECE: u64 = 60;
const WINDOW_MS: u64 = 10_000;
/// 2026-01-01T00:00:00Z.
const EPOCH_MS: u64 = 1_767_225_600_000;
const OPENED_MS: u64 = EPOCH_MS + 3_600_000;

/// What is read and asked, without settings and connectors.
pub const QUERY: &str = r#"
[sources.orders]
topic = "orders"
format = "json"
columns = { id = "int", item = "text", at = "timestamp" }
event_time = "at"
watermark = { delay = "3 s", idle_timeout = "1 h" }

[sources.payments]
topic = "payments"
format = "json"
columns = { order_id = "int", amount = "int", at = "timestamp" }
event_time = "at"
watermark = { delay = "3 s", idle_timeout = "1 h" }

[[queries]]
name = "revenue"
sink = { topic = "revenue", format = "json" }
sql = """
SELECT o.window_start, o.window_end, o.item, count(*) AS paid, sum(p.amount) AS amount
FROM TUMBLE(TABLE orders, DESCRIPTOR(at), INTERVAL '10' SECOND) AS o
JOIN TUMBLE(TABLE payments, DESCRIPTOR(at), INTERVAL '10' SECOND) AS p
  ON o.window_start = p.window_start AND o.window_end = p.window_end AND o.id = p.order_id
GROUP BY o.window_start, o.window_end, o.item
"""
"#;

/// SplitMix64: the same numbers for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What has been written, and what must be answered for it.
#[derive(Default)]
pub struct Shop {
    pub orders: u64,
    /// Of each order, when it was made and what of.
    made: BTreeMap<u64, (u64, String)>,
    /// By window and item: payments, and their sum.
    pub expected: BTreeMap<(u64, String), (u64, u64)>,
}

impl Shop {
    /// The next lines of orders and of payments. Rows are out of order by less than what is waited for.
    pub fn trade(&mut self, random: &mut Random) -> (String, String) {
        let (mut orders, mut payments) = (String::new(), String::new());
        for _ in 0..PIECE {
            let id = self.orders;
            self.orders += 1;
            let now_ms = OPENED_MS + id * 100;
            let at_ms = now_ms - random.below(1_000);
            let item = format!("item {}", random.below(5));
            let order = json!({"id": id, "item": item, "at": time(at_ms)});
            orders += &format!("{order}\n");
            self.made.insert(id, (at_ms, item));
            // Mostly of a recent order, perhaps of one that was paid already.
            let order = id.saturating_sub(random.below(40));
            let (amount, at_ms) = (1 + random.below(99), now_ms - random.below(2_000));
            let payment = json!({"order_id": order, "amount": amount, "at": time(at_ms)});
            payments += &format!("{payment}\n");
            let (made_ms, item) = &self.made[&order];
            if made_ms / WINDOW_MS == at_ms / WINDOW_MS {
                let key = (at_ms / WINDOW_MS * WINDOW_MS, item.clone());
                let (count, sum) = self.expected.entry(key).or_default();
                (*count, *sum) = (*count + 1, *sum + amount);
            }
        }
        (orders, payments)
    }

    /// How many rows can be known once all is read: those of windows that are long over.
    pub fn answered_by_now(&self) -> usize {
        let over_ms = OPENED_MS + self.orders * 100 - 2 * WINDOW_MS;
        self.expected.keys().filter(|(start_ms, _)| start_ms + WINDOW_MS < over_ms).count()
    }
}

fn time(at_ms: u64) -> String {
    let (seconds, ms) = (at_ms / 1000 % 86_400, at_ms % 1000);
    let day = 1 + (at_ms - EPOCH_MS) / 86_400_000;
    format!(
        "2026-01-{day:02}T{:02}:{:02}:{:02}.{ms:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Rows by window and item. None may come twice.
pub fn answered(lines: &str) -> BTreeMap<(u64, String), (u64, u64)> {
    let mut found = BTreeMap::new();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let start = row["window_start"].as_str().unwrap();
        let part = |at: usize, len: usize| start[at..at + len].parse::<u64>().unwrap();
        let seconds = part(11, 2) * 3600 + part(14, 2) * 60 + part(17, 2);
        let start_ms = EPOCH_MS + (part(8, 2) - 1) * 86_400_000 + seconds * 1000;
        let key = (start_ms, row["item"].as_str().unwrap().to_owned());
        let value = (row["paid"].as_u64().unwrap(), row["amount"].as_u64().unwrap());
        assert!(found.insert(key.clone(), value).is_none(), "{key:?} came twice");
    }
    found
}
