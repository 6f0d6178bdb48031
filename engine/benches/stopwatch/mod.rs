//! Time by the clock and of the processor.

#![allow(dead_code)] // Not every bench takes a median.

use std::time::{Duration, Instant};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long something took, and how much of the processor's time.
#[derive(Clone, Copy)]
pub struct Took {
    pub wall: Duration,
    pub processor: Duration,
}

pub struct Stopwatch {
    wall: Instant,
    processor: Duration,
}

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch { wall: Instant::now(), processor: processor_time() }
    }

    pub fn read(&self) -> Took {
        Took { wall: self.wall.elapsed(), processor: processor_time() - self.processor }
    }
}

/// Of all threads of this process so far, in user and kernel mode.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux says it there");
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    // The 14th and the 15th field (proc_pid_stat(5)), in ticks of 10 ms; two came before ") ".
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum();
    Duration::from_millis(ticks * 10)
}

/// Of each by itself.
pub fn median(took: Vec<Took>) -> Took {
    let middle = |of: fn(&Took) -> Duration| {
        let mut times: Vec<Duration> = took.iter().map(of).collect();
        times.sort_unstable();
        times[times.len() / 2]
    };
    Took { wall: middle(|took| took.wall), processor: middle(|took| took.processor) }
}
