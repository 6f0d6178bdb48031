//! The broker under load, in a process of its own: throughput in and out, latency at fixed rates,
//! memory, processor time, many partitions, connections and groups, and how soon it is back after
//! kill -9.
//!
//!   cargo bench --workspace --bench broker [-- SECONDS]
//!
//! With `MILLSTREAM_BESIDE_KAFKA=1` Apache Kafka takes turns at each of them, with the same
//! clients on the same machine; it needs Java and Maven. Machines are noisy: compare figures of one
//! run with each other.
//!
//! - [`served`]: a broker's process; [`load`]: records in and out; [`many`]: of partitions,
//!   connections and groups; [`figures`]: the table.

mod figures;
#[path = "../../tests/fixture/mod.rs"]
mod fixture;
mod load;
mod many;
mod served;

use std::time::Duration;

use figures::Figures;
use load::{Acks, Load, Shape};
use served::Served;

/// How long each throughput is measured, unless the command line says otherwise.
const SECONDS: u64 = 4;
const RECOVERY_BYTES: u64 = 5 << 30;

fn main() {
    let seconds = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(SECONDS);
    let load = Load { time: Duration::from_secs(seconds) };
    let mut figures = Figures::default();
    let mut brokers = vec![Served::millstream()];
    if std::env::var_os("MILLSTREAM_BESIDE_KAFKA").is_some() {
        brokers.push(Served::kafka());
    }
    figures.head(&brokers);
    figures.of_each(&mut brokers, |broker, row| {
        row.less("start to ready, empty", broker.started_in.as_secs_f64() * 1e3, "ms");
        row.less("memory, idle", broker.memory_mib(), "MiB");
    });
    for shape in Shape::all() {
        figures.of_each(&mut brokers, |broker, row| load.throughput(broker, &shape, row));
    }
    if brokers.len() > 1 {
        for acks in [Acks::Leader, Acks::AllSynced] {
            figures.of_each(&mut brokers, |broker, row| load.by_kafkas_tools(broker, acks, row));
        }
    }
    for rate in [2_000, 20_000] {
        for acks in [Acks::Leader, Acks::AllSynced] {
            figures.of_each(&mut brokers, |broker, row| load.latency(broker, rate, acks, row));
        }
    }
    figures.of_each(&mut brokers, |broker, row| {
        row.less("memory, after that", broker.memory_mib(), "MiB");
    });
    figures.of_each(&mut brokers, many::partitions);
    figures.of_each(&mut brokers, many::connections);
    figures.of_each(&mut brokers, many::groups);
    figures.of_each(&mut brokers, |broker, row| {
        load.fill(broker, "recovery", RECOVERY_BYTES);
        let gib = RECOVERY_BYTES >> 30;
        let crashed = broker.restart_after_kill().as_secs_f64();
        row.less(&format!("ready after kill -9, {gib} GiB of log"), crashed, "s");
        let closed = broker.restart_in_order().as_secs_f64();
        row.less(&format!("ready after a shutdown, {gib} GiB of log"), closed, "s");
    });
}
