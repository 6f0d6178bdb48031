//! A module that runs: its memory, its time, and what it may reach.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tracing::Level;
use wasmtime::component::{self, ComponentType, Lift, ResourceTable};
use wasmtime::{Store, Trap, WasmBacktrace};
use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::{
    Deterministic, FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder,
    WasiCtxView, WasiView,
};

use crate::guest_log::{Asked, GuestLog};
use crate::host::{Host, TICK};
use crate::http::Reach;
use crate::limits::{Grants, Limits, Meter, OutOfMemory};

/// What an instance's imports work with.
pub(crate) struct State {
    pub meter: Meter,
    pub log: GuestLog,
    pub config: Arc<BTreeMap<String, String>>,
    pub http: Reach,
    has_random: bool,
    wasi: WasiCtx,
    table: ResourceTable,
    pub wasi_p1: WasiP1Ctx,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// How a module's instances are made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// For messages and the log.
    pub name: String,
    pub limits: Limits,
    pub grants: Grants,
    /// The types of a core module that becomes a component and does not carry them, as WIT.
    pub wit: Option<String>,
    /// What the guest reads by `config`.
    pub config: Arc<BTreeMap<String, String>>,
    /// Set when it is loaded: its language asks for the time by itself, whatever functions do.
    pub is_go: bool,
}

/// A store in which an instance can be made.
///
/// # Errors
///
/// Where a granted directory cannot be opened.
pub(crate) fn store(host: &Host, options: &Options) -> Result<Store<State>, String> {
    let log = GuestLog::new(&options.name, &host.rate(&options.name));
    let state = State {
        meter: Meter::new(&options.limits),
        config: options.config.clone(),
        http: Reach::new(&options.grants.http, host.fetch(), options.limits.memory_bytes),
        wasi: wasi(options, &log)?.build(),
        wasi_p1: wasi(options, &log)?.build_p1(),
        has_random: options.grants.random,
        table: ResourceTable::new(),
        log,
    };
    let mut store = Store::new(host.engine(), state);
    store.limiter(|state| &mut state.meter);
    store.epoch_deadline_trap();
    store.set_hostcall_fuel(options.limits.values_bytes());
    Ok(store)
}

fn wasi(options: &Options, log: &GuestLog) -> Result<WasiCtxBuilder, String> {
    let Options { grants, is_go, .. } = options;
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(log.stream(Level::INFO)).stderr(log.stream(Level::ERROR));
    wasi.allow_tcp(false).allow_udp(false);
    if !grants.clock {
        let clock = |tells| StandingStill { log: log.clone(), tells };
        wasi.wall_clock(clock(true)).monotonic_clock(clock(!is_go));
    }
    if !grants.random {
        let zeros = || Deterministic::new(vec![0]);
        wasi.secure_random(zeros()).insecure_random(zeros()).insecure_random_seed(0);
    }
    for (name, value) in &grants.environment {
        wasi.env(name, value);
    }
    for (name, directory) in &grants.directories {
        let perms = if directory.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        let path = &directory.path;
        let opened = wasi.preopened_dir(path, name, perms);
        opened.map_err(|error| format!("cannot open directory {}: {error}", path.display()))?;
    }
    Ok(wasi)
}

/// The clock of those who may not know the time. Runtimes such as Go's take 0 for a clock that is
/// broken.
struct StandingStill {
    log: GuestLog,
    /// Says that it was asked.
    tells: bool,
}

const STANDS_AT_NS: u64 = 1;

impl HostWallClock for StandingStill {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.tell();
        Duration::from_nanos(STANDS_AT_NS)
    }
}

impl HostMonotonicClock for StandingStill {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.tell();
        STANDS_AT_NS
    }
}

impl StandingStill {
    fn tell(&self) {
        if self.tells {
            self.log.asks_for(Asked::Clock);
        }
    }
}

impl State {
    /// Fills it with random numbers, or with zeros for those to whom none are granted.
    pub fn fill_randomly(&self, bytes: &mut [u8]) -> wasmtime::Result<()> {
        match self.has_random {
            true => {
                let filled = SystemRandom::new().fill(bytes);
                filled.map_err(|_| wasmtime::format_err!("this machine has no random numbers"))
            }
            false => {
                self.log.asks_for(Asked::Random);
                bytes.fill(0);
                Ok(())
            }
        }
    }
}

/// Time that a call may take, from now.
pub(crate) fn set_deadline(store: &mut Store<State>, time: Duration) {
    store.data_mut().http.within(time);
    let ticks = time.as_millis().div_ceil(TICK.as_millis());
    // The epoch that has begun is not a whole one.
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX / 2).saturating_add(1));
}

/// Why a guest was stopped, for a person: its own words if it had some.
pub(crate) fn reason(error: &wasmtime::Error, state: &State, limits: &Limits) -> String {
    let mut reason = if let Some(error) = error.downcast_ref::<OutOfMemory>() {
        error.to_string()
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        match trap {
            Trap::Interrupt => format!("it takes longer than {:?} (its `time` limit)", limits.time),
            Trap::StackOverflow => "its calls are nested too deeply (stack overflow)".to_owned(),
            Trap::MemoryOutOfBounds => {
                "it reads or writes beyond its memory, as when its calls are nested too deeply"
                    .to_owned()
            }
            Trap::UnreachableCodeReached => "it gave up (unreachable)".to_owned(),
            trap => trap.to_string(),
        }
    } else if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        format!("it ended itself with exit code {}", exit.0)
    } else {
        error.root_cause().to_string()
    };
    let words = state.log.last_words();
    if !words.is_empty() {
        reason = format!("{reason}: {words}");
    }
    if let Some(place) = place(error) {
        reason = format!("{reason} (in {place})");
    }
    reason
}

/// The function in which it was stopped, where the module has names.
fn place(error: &wasmtime::Error) -> Option<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    let named = backtrace.frames().iter().find_map(|frame| frame.func_name());
    named.map(str::to_owned)
}

/// WASI as guests have it: the library's, but that no guest waits, and that it is told of who asks
/// for random numbers that are not granted. A wait would not count as time of the guest, and be
/// without end; so whoever waits goes on at once, as if the time had passed.
pub(crate) fn add_wasi(linker: &mut component::Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    for name in ["subscribe-duration", "subscribe-instant"] {
        clock.func_wrap(name, |mut store, (_time,): (u64,)| {
            let clocks = &mut store.data_mut().clocks();
            Ok((monotonic_clock::Host::subscribe_duration(clocks, 0)?,))
        })?;
    }
    let mut random = linker.instance("wasi:random/random@0.2.12")?;
    random.func_wrap("get-random-u64", |store, (): ()| {
        let mut bytes = [0; 8];
        store.data().fill_randomly(&mut bytes)?;
        Ok((u64::from_le_bytes(bytes),))
    })?;
    random.func_wrap("get-random-bytes", |store, (length,): (u64,)| {
        if length > RANDOM_BYTES_MAX {
            return Err(wasmtime::format_err!("it asks for {length} random bytes at once"));
        }
        let mut bytes = vec![0; length as usize];
        store.data().fill_randomly(&mut bytes)?;
        Ok((bytes,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The most random bytes that are given at once.
pub(crate) const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// Our `millstream:udf/host`.
pub(crate) fn add_host(linker: &mut component::Linker<State>) -> wasmtime::Result<()> {
    #[derive(ComponentType, Lift, Clone, Copy)]
    #[component(enum)]
    #[repr(u8)]
    #[allow(dead_code, reason = "only guests make them")]
    enum GuestLevel {
        #[component(name = "debug")]
        Debug,
        #[component(name = "info")]
        Info,
        #[component(name = "warn")]
        Warn,
        #[component(name = "error")]
        Error,
    }
    let mut host = linker.instance(crate::module::HOST_INTERFACE)?;
    host.func_wrap("log", |store, (level, message): (GuestLevel, String)| {
        let level = match level {
            GuestLevel::Debug => Level::DEBUG,
            GuestLevel::Info => Level::INFO,
            GuestLevel::Warn => Level::WARN,
            GuestLevel::Error => Level::ERROR,
        };
        message.lines().for_each(|line| store.data().log.say(level, line));
        Ok(())
    })?;
    host.func_wrap("config", |store, (name,): (String,)| {
        Ok((store.data().config.get(&name).cloned(),))
    })
}
