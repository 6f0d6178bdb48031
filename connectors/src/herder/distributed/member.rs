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
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::configs::Restart;
use super::gate::Gate;
use super::statuses::Entry;
use super::tasks::{Given, Says, TaskId, encoded, shared_out};
use super::{Group, locked};
use crate::herder::Target;
use crate::herder::connector::{Desired, Handle, Order, Setup};
use crate::worker::task_count;

/// What workers call their kind of group: as Kafka Connect's, so that tools show it so.
const PROTOCOL_TYPE: &str = "connect";
/// How they understand each other. Kafka Connect's own workers do not, and cannot be among them.
const PROTOCOL: &str = "millstream-1";
/// Before what has failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a worker stops tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Told,
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
                let why = if ended.is_ok() { Why::Told } else { Why::Forgotten };
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
            let says = Says { worker: self.options.worker_id.clone(), runs: self.runs() };
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
            configs.borrow_and_update();
            if self.settle(&given.runs, Why::Told).await {
                // Others may have now what was stopped.
                continue;
            }
            let leads = given.leader == self.options.worker_id;
            let rebalance = loop {
                self.carry_out(ordered).await;
                if leads && self.tasks().0 != *locked(&self.shared_out) {
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
        let given = shared_out(&tasks, &self.options.worker_id, configs.0, said);
        *locked(&self.shared_out) = tasks;
        given
    }

    /// The tasks that run here.
    fn runs(&self) -> BTreeSet<TaskId> {
        let here = locked(&self.here);
        let all = here.iter().flat_map(|(connector, handle)| {
            let task = |number| TaskId { connector: connector.clone(), number };
            running(handle).into_iter().map(task)
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
        let had = known.as_ref().map(running).unwrap_or_default();
        let (desired, is_deleted) = self.desired(&name, &share);
        match (known, desired) {
            (None, None) => {}
            (None, Some(desired)) => self.begin(&name, desired).await,
            (Some(handle), Some(desired)) => {
                if handle.order(Order::Become(Box::new(desired.clone()))).await.is_err() {
                    // It has ended, which it does not by itself.
                    self.begin(&name, desired).await;
                }
            }
            (Some(handle), None) => {
                self.publisher.unwatch(&name).await;
                handle.end().await;
                locked(&self.here).remove(&name);
            }
        }
        let has = locked(&self.here).get(&name).map(running).unwrap_or_default();
        let gone: Vec<usize> = had.difference(&has).copied().collect();
        let task = |number: &usize| TaskId { connector: name.clone(), number: *number };
        let tasks: Vec<TaskId> = gone.iter().map(task).collect();
        match (why, is_deleted) {
            (_, true) => {
                let forgotten = tasks.iter().map(|task| Entry::task(task, None));
                self.publisher.write(forgotten.collect()).await;
            }
            (Why::Told, false) if !tasks.is_empty() => self.publisher.let_go(&tasks).await,
            _ => {}
        }
        gone.iter().any(|number| !share.contains(number))
    }

    async fn begin(&self, name: &Arc<str>, desired: Desired) {
        let setup = Setup {
            client: self.client.clone(),
            options: self.options.options.clone(),
            graceful: self.options.graceful,
        };
        let handle = Handle::start(setup, desired);
        self.publisher.watch(name, handle.view.clone()).await;
        locked(&self.here).insert(name.clone(), handle);
    }

    /// What a connector is to be here, if anything; and whether there is none of that name.
    fn desired(&self, name: &str, share: &BTreeSet<usize>) -> (Option<Desired>, bool) {
        let now = self.configs.now();
        let Some(declared) = now.state.get(name) else { return (None, true) };
        let target = now.state.target(name);
        let Ok(config) = self.checked(name, declared) else { return (None, false) };
        let count = task_count(&config);
        let share: BTreeSet<usize> = share.iter().copied().filter(|at| *at < count).collect();
        if target == Target::Stopped || share.is_empty() {
            return (None, false);
        }
        let gate = Gate {
            configs: self.configs.clone(),
            client: self.client.clone(),
            options: self.options.options.clone(),
            config: config.clone(),
            at: declared.at,
        };
        let properties = declared.properties.clone();
        (Some(Desired { config, properties, target, share: Some(share), gate: Some(gate) }), false)
    }

    /// Starts anew what was ordered to since.
    async fn carry_out(&self, ordered: &mut Offset) {
        let orders = self.configs.now().state.restarts_from(*ordered);
        for (at, restart) in orders {
            *ordered = at.next();
            let (connector, order) = match restart {
                Restart::Tasks { connector, only_failed } => {
                    (connector, Order::RestartTasks { only_failed })
                }
                Restart::Task { connector, number } => (connector, Order::RestartTask(number)),
            };
            let handle = locked(&self.here).get(connector.as_str()).cloned();
            if let Some(handle) = handle {
                // One that has ended has nothing to restart.
                let _ = handle.order(order).await;
            }
        }
    }
}

/// The numbers of a connector's tasks that run here.
fn running(handle: &Handle) -> BTreeSet<usize> {
    let view = handle.view.borrow();
    (0..view.tasks.len()).filter(|number| view.has(*number)).collect()
}
