//! The coordinators of this broker, and how they hear of each other.

use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use super::group_configs::GroupHost;
use super::state_log::TopicStateLog;
use super::{Broker, OpenError, now_ms};
use crate::coordinator::groups::{GroupService, LeavingMember};
use crate::coordinator::shares::service::ShareService;
use crate::coordinator::state_log::StateLogError;
use crate::coordinator::transactions::{EndedTransaction, TransactionService};

/// Where group members in the broker's own process say they are; over sockets it is an address.
pub(crate) const EMBEDDED_HOST: &str = "embedded";

#[derive(Debug)]
pub(super) struct Coordinators {
    pub groups: Arc<GroupService>,
    pub shares: Arc<ShareService>,
    pub transactions: Arc<TransactionService>,
    /// Counts transactions that have ended and whose offsets are decided.
    pub ended: Arc<watch::Sender<u64>>,
}

impl Coordinators {
    pub fn new(broker: &Arc<Broker>) -> Coordinators {
        let log = Arc::new(TopicStateLog::new(broker));
        let host = Arc::new(GroupHost::new(broker));
        let groups = GroupService::new(log.clone(), host, broker.config().groups.clone());
        let shares = ShareService::new(log.clone(), broker.config().shares);
        let ended = Arc::new(watch::Sender::new(0));
        let on_ended = {
            let (groups, ended) = (groups.clone(), ended.clone());
            Box::new(move |transaction: EndedTransaction| {
                let EndedTransaction { producer_id, decision, offsets_partitions } = transaction;
                groups.transaction_ended(producer_id, decision, &offsets_partitions);
                ended.send_modify(|count| *count += 1);
            })
        };
        let config = broker.config().transactions.clone();
        let transactions = TransactionService::new(log, config, Arc::new(now_ms), on_ended);
        Coordinators { groups, shares, transactions, ended }
    }

    /// Groups first: transactions that were decided before a crash end now, and groups hear of it.
    pub async fn recover(&self, broker: &Broker) -> Result<(), OpenError> {
        let (groups, shares) = (self.groups.clone(), self.shares.clone());
        let replay = tokio::task::spawn_blocking({
            // Groups start timers, which need the runtime.
            let runtime = tokio::runtime::Handle::current();
            move || {
                let _in_runtime = runtime.enter();
                groups.recover()?;
                shares.recover()
            }
        });
        let failed = |error: StateLogError| OpenError::Coordinator(error.to_string());
        replay.await.expect("replay does not panic").map_err(failed)?;
        let exists = |group: &str, (topic_id, _): (Uuid, i32)| {
            self.groups.is_share_group(group) && broker.topic_by_id(topic_id).is_some()
        };
        self.shares.retain(exists).await.map_err(failed)?;
        self.part_with_embedded_members();
        let recovered = self.transactions.recover().await;
        recovered.map_err(|error| OpenError::Coordinator(error.to_string()))
    }

    /// Members of the last process ended with it: nobody need wait for their sessions to.
    fn part_with_embedded_members(&self) {
        for group in self.groups.list() {
            let members = group.members().into_iter();
            let leaving: Vec<LeavingMember> = members
                .filter(|(_, host)| *host == EMBEDDED_HOST)
                .map(|(id, _)| LeavingMember { member_id: id.clone(), instance_id: None })
                .collect();
            if !leaving.is_empty() {
                _ = self.groups.leave(&group.group, &leaving);
            }
        }
    }
}
