//! Being one of a group of workers.
//!
//! ```text
//! enter ─► given ─► stop what is somebody else's ─► if there was any, enter again
//!   ▲                └─ start what is new
//!   │                        │ connectors change: follow; if other tasks come of it, the leader
//!   └── rebalance ◄──────────┘ enters again, and so do all
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use broker::client::ClientError;
use broker::client::member::{Given as GivenBytes, GroupMember, MemberOptions, Rebalance, Said};
use broker::ids::Offset;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::configs::Restart;
use super::gate::Gate;
use super::statuses::Entry;
use super::tasks::{Given, Says, TaskId, encoded, shared_out};
use super::{Group, locked};
use crate::herder::connector::{Desired, Handle, Order, Setup};
use crate::herder::{Target, View};

/// What workers call their kind of group: as Kafka Connect's, so that tools show it so.
const PROTOCOL_TYPE: &str = "connect";
/// How they understand each other. Kafka Connect's own workers do not, and cannot be among them.
const PROTOCOL: &str = "millstream-1";
/// Before what has failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// A connector of which this worker was given tasks.
#[derive(Clone)]
pub(super) enum Here {
    Runs(Handle),
    /// What its properties refer to is not here, or is not the same.
    Cannot(watch::Sender<View>),
}

impl Here {
    pub fn view(&self) -> watch::Receiver<View> {
        match self {
            Here::Runs(handle) => handle.view.clone(),
            Here::Cannot(told) => told.subscribe(),
        }
    }
}

/// What is to become of a connector here.
enum Wanted {
    Nothing,
    Run(Box<Desired>),
    Refuse(View),
}

/// Why a worker stops tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Told,
    /// The worker itself ends, and does not wait for a broker that may not be there any more.
    Leaving,
    /// The group has given them to others by now.
    Forgotten,
}

/// Until it is told to stop.
pub(super) async fn run(group: Arc<Group>, stop: CancellationToken) {
    // What was ordered before is of the past.
    let mut ordered = group.configs.now().position();
    while !stop.is_cancelled() {
        let error = match group.member().await {
            Ok(mut member) => {
                let ended = group.take_part(&mut member, &mut ordered, &stop).await;
                let why = match stop.is_cancelled() {
                    true => Why::Leaving,
                    false if ended.is_ok() => Why::Told,
                    false => Why::Forgotten,
                };
                group.settle(&BTreeSet::new(), why).await;
                // If the coordinator is not to be reached, the others will notice by themselves.
                let _ = member.leave().await;
                ended.err()
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            warn!("{error}; the worker joins its group again in {PAUSE:?}");
            let _ = stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        }
    }
}

impl Group {
    async fn member(&self) -> Result<GroupMember, ClientError> {
        let options = MemberOptions {
            group: self.settings.group.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocol: PROTOCOL.to_owned(),
            session_timeout: self.settings.session_timeout,
            rebalance_timeout: self.settings.rebalance_timeout,
        };
        Ok(GroupMember::new(self.client.coordinator().await?, options))
    }

    async fn take_part(
        &self,
        member: &mut GroupMember,
        ordered: &mut Offset,
        stop: &CancellationToken,
    ) -> Result<(), ClientError> {
        let mut configs = self.configs.watch();
        loop {
            let says = self.says();
            let given = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                given = member.enter(encoded(&says), |said| self.share_out(said)) => given?,
            };
            let Some(given) = given else {
                self.forgotten().await;
                continue;
            };
            // One that is not understood is of another version, which shares with its like.
            let given: Given = serde_json::from_slice(&given).unwrap_or_default();
            self.publisher.set_generation(member.generation());
            let reached = self.configs.reach(Offset(given.configs));
            if stop.run_until_cancelled(reached).await.is_none() {
                return Ok(());
            }
            info!(
                "group '{}', generation {}: {} tasks are this worker's, '{}' leads",
                self.settings.group,
                member.generation(),
                given.runs.len(),
                given.leader
            );
            if given.has_namesake {
                warn!(
                    "group '{}': another worker calls itself {} too, so nobody can tell whose \
                     tasks are whose; give each an address of its own by \
                     rest.advertised.host.name and rest.advertised.port",
                    self.settings.group, self.options.worker_id
                );
            }
            configs.borrow_and_update();
            if self.settle(&given.runs, Why::Told).await {
                // Others may have now what was stopped.
                continue;
            }
            let rebalance = loop {
                self.count().await;
                self.carry_out(ordered, &given.runs).await;
                if given.leads && self.tasks().0 != *locked(&self.shared_out) {
                    break Rebalance::Others;
                }
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(()),
                    rebalance = member.rebalance() => break rebalance,
                    _ = configs.changed() => self.settle(&given.runs, Why::Told).await,
                };
            };
            if rebalance == Rebalance::Forgotten {
                self.forgotten().await;
            }
        }
    }

    /// Others may have by now what runs here.
    async fn forgotten(&self) {
        warn!("group '{}' has taken this worker for dead", self.settings.group);
        self.settle(&BTreeSet::new(), Why::Forgotten).await;
    }

    fn share_out(&self, said: Said) -> GivenBytes {
        let (tasks, configs) = self.tasks();
        let given = shared_out(&tasks, &self.says(), configs.0, said);
        *locked(&self.shared_out) = tasks;
        given
    }

    fn says(&self) -> Says {
        let (worker, instance) = (self.options.worker_id.clone(), self.instance.clone());
        Says { worker, instance, runs: self.runs() }
    }

    /// Writes down how many tasks there are where nobody has.
    async fn count(&self) {
        let is_missing = !self.uncounted(&self.configs.now().state).is_empty();
        if is_missing
            && let Err(error) = self.configs.change(|configs| Ok(self.uncounted(configs))).await
        {
            warn!("group '{}': tasks could not be counted: {error}", self.settings.group);
        }
    }

    /// The tasks that this worker has, whether it can run them or not.
    fn runs(&self) -> BTreeSet<TaskId> {
        let here = locked(&self.here);
        let all = here.iter().flat_map(|(connector, here)| {
            let task = |number| TaskId { connector: connector.clone(), number };
            has(here).into_iter().map(task)
        });
        all.collect()
    }

    /// Runs what is given, as the topic of connectors says. Whether a task was stopped that may
    /// run elsewhere.
    async fn settle(&self, given: &BTreeSet<TaskId>, why: Why) -> bool {
        let mut shares: BTreeMap<Arc<str>, BTreeSet<usize>> = BTreeMap::new();
        for connector in locked(&self.here).keys() {
            shares.entry(connector.clone()).or_default();
        }
        for TaskId { connector, number } in given {
            shares.entry(connector.clone()).or_default().insert(*number);
        }
        let all = shares.into_iter().map(|(name, share)| self.settle_one(name, share, why));
        futures::future::join_all(all).await.contains(&true)
    }

    async fn settle_one(&self, name: Arc<str>, share: BTreeSet<usize>, why: Why) -> bool {
        let known = locked(&self.here).get(&name).cloned();
        let had = known.as_ref().map(has).unwrap_or_default();
        let (wanted, is_deleted) = self.wanted(&name, &share);
        match (known, wanted) {
            (Some(Here::Runs(handle)), Wanted::Run(desired)) => {
                if handle.order(Order::Become(desired.clone())).await.is_err() {
                    // It has ended, which it does not by itself.
                    self.begin(&name, *desired).await;
                }
            }
            (Some(Here::Cannot(told)), Wanted::Refuse(view)) => drop(told.send_replace(view)),
            (known, wanted) => {
                if let Some(here) = known {
                    self.publisher.unwatch(&name).await;
                    if let Here::Runs(handle) = here {
                        handle.end().await;
                    }
                    locked(&self.here).remove(&name);
                }
                match wanted {
                    Wanted::Nothing => {}
                    Wanted::Run(desired) => self.begin(&name, *desired).await,
                    Wanted::Refuse(view) => self.refuse(&name, view).await,
                }
            }
        }
        let has = locked(&self.here).get(&name).map(has).unwrap_or_default();
        let gone: Vec<usize> = had.difference(&has).copied().collect();
        let task = |number: &usize| TaskId { connector: name.clone(), number: *number };
        let tasks: Vec<TaskId> = gone.iter().map(task).collect();
        match (why, is_deleted) {
            (_, true) => {
                let forgotten = tasks.iter().map(|task| Entry::task(task, None));
                self.publisher.write(forgotten.collect()).await;
            }
            (Why::Told, false) if !tasks.is_empty() => self.publisher.let_go(&tasks).await,
            (Why::Leaving, false) if !tasks.is_empty() => {
                let told = self.publisher.let_go(&tasks);
                if tokio::time::timeout(self.options.graceful, told).await.is_err() {
                    warn!("connector '{name}': that its tasks have stopped here could not be told");
                }
            }
            _ => {}
        }
        gone.iter().any(|number| !share.contains(number))
    }

    async fn begin(&self, name: &Arc<str>, desired: Desired) {
        let setup = Setup {
            client: self.client.clone(),
            options: self.options.options.clone(),
            worker_id: self.options.worker_id.as_str().into(),
            graceful: self.options.graceful,
        };
        let handle = Handle::start(setup, desired);
        self.publisher.watch(name, handle.view.clone()).await;
        locked(&self.here).insert(name.clone(), Here::Runs(handle));
    }

    async fn refuse(&self, name: &Arc<str>, view: View) {
        let of_it = view.tasks.first().and_then(|task| task.trace.as_deref());
        warn!(
            "connector '{name}': the tasks that this worker was given cannot be run here: {}",
            of_it.unwrap_or_default()
        );
        let (told, seen) = watch::channel(view);
        self.publisher.watch(name, seen).await;
        locked(&self.here).insert(name.clone(), Here::Cannot(told));
    }

    /// What a connector is to be here; and whether there is none of that name.
    fn wanted(&self, name: &str, share: &BTreeSet<usize>) -> (Wanted, bool) {
        let now = self.configs.now();
        let Some(declared) = now.state.get(name) else { return (Wanted::Nothing, true) };
        let target = now.state.target(name);
        let count = now.state.tasks(name).unwrap_or(0);
        let share: BTreeSet<usize> = share.iter().copied().filter(|at| *at < count).collect();
        if target == Target::Stopped || share.is_empty() {
            return (Wanted::Nothing, false);
        }
        let config = match self.runnable(name, declared, count) {
            Ok(config) => config,
            Err(trace) => {
                let properties = declared.properties.clone();
                let worker_id = self.options.worker_id.as_str();
                let view = View::failed(properties, target, count, share, &trace, worker_id);
                return (Wanted::Refuse(view), false);
            }
        };
        let gate = Gate {
            configs: self.configs.clone(),
            client: self.client.clone(),
            options: self.options.options.clone(),
            config: config.clone(),
            at: declared.at,
        };
        let properties = declared.properties.clone();
        let (share, gate) = (Some(share), Some(gate));
        let desired = Desired { config, properties, target, share, gate };
        (Wanted::Run(Box::new(desired)), false)
    }

    /// Starts anew what was ordered to since.
    async fn carry_out(&self, ordered: &mut Offset, given: &BTreeSet<TaskId>) {
        let orders = self.configs.now().state.restarts_from(*ordered);
        for (at, restart) in orders {
            *ordered = at.next();
            let (connector, order) = match restart {
                Restart::Tasks { connector, only_failed } => {
                    (connector, Order::RestartTasks { only_failed })
                }
                Restart::Task { connector, number } => (connector, Order::RestartTask(number)),
            };
            let here = locked(&self.here).get(connector.as_str()).cloned();
            match here {
                // One that has ended has nothing to restart.
                Some(Here::Runs(handle)) => _ = handle.order(order).await,
                // What was missing may be there by now.
                Some(Here::Cannot(_)) => {
                    locked(&self.checked).remove(&connector);
                    self.settle(given, Why::Told).await;
                }
                None => {}
            }
        }
    }
}

/// The numbers of a connector's tasks that are here.
fn has(here: &Here) -> BTreeSet<usize> {
    let seen = here.view();
    let view = seen.borrow();
    (0..view.tasks.len()).filter(|number| view.has(*number)).collect()
}
