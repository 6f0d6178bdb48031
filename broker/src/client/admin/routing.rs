//! Which node a request goes to, and when it is sent again.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::AdminError;
use super::cluster::Node;
use super::connection::Connection;
use super::question::Question;
use crate::client::secured::Secured;
use crate::ids::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k03_metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use crate::protocol::messages::k10_find_coordinator::{
    FindCoordinatorRequest, FindCoordinatorResponse,
};
use crate::protocol::messages::k18_api_versions::ApiVersionsResponse;
use crate::server::{Door, HostPort};

/// First and longest pause before a request is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// What stands for an address where none is needed.
const NOWHERE: &str = "127.0.0.1:0";
/// How long a question or an order may take, retries included.
const DEADLINE: Duration = Duration::from_secs(30);

/// A cluster to look after. Cheap to clone; requests to one node go one after the other.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    bootstrap: Vec<HostPort>,
    client_id: String,
    secured: Secured,
    deadline: Duration,
    /// Where the nodes are, as the cluster last said.
    nodes: StdMutex<BTreeMap<i32, Node>>,
    connections: StdMutex<HashMap<String, Arc<Mutex<Option<Connection>>>>>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("bootstrap", &self.inner.bootstrap).finish_non_exhaustive()
    }
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To<'a> {
    Any,
    Controller,
    Node(i32),
    /// The coordinator of this group.
    Group(&'a str),
}

impl Admin {
    /// Connects by some of the cluster's brokers, `HOST:PORT` with commas between. Fails if none
    /// answers.
    pub async fn connect(bootstrap: &str) -> Result<Admin, AdminError> {
        Admin::connect_as(bootstrap, "millstream", DEADLINE).await
    }

    /// The same, with TLS or as somebody.
    pub async fn connect_secured(bootstrap: &str, secured: Secured) -> Result<Admin, AdminError> {
        Admin::connect_by(bootstrap, "millstream", DEADLINE, secured).await
    }

    /// To a broker in this process.
    pub async fn connect_inside(door: Door) -> Result<Admin, AdminError> {
        Admin::connect_by(NOWHERE, "millstream", DEADLINE, Secured::inside(door)).await
    }

    /// The same, with a name for the cluster's logs and a deadline for each question.
    pub async fn connect_as(
        bootstrap: &str,
        client_id: &str,
        deadline: Duration,
    ) -> Result<Admin, AdminError> {
        Admin::connect_by(bootstrap, client_id, deadline, Secured::default()).await
    }

    async fn connect_by(
        bootstrap: &str,
        client_id: &str,
        deadline: Duration,
        secured: Secured,
    ) -> Result<Admin, AdminError> {
        let address = |text: &str| {
            text.trim().parse().map_err(|_| AdminError::Address(text.trim().to_owned()))
        };
        let bootstrap: Vec<HostPort> =
            bootstrap.split(',').map(address).collect::<Result<_, _>>()?;
        let inner = Inner {
            bootstrap,
            client_id: client_id.to_owned(),
            secured,
            deadline,
            nodes: StdMutex::default(),
            connections: StdMutex::default(),
        };
        let admin = Admin { inner: Arc::new(inner) };
        admin.metadata(Some(&[])).await?;
        Ok(admin)
    }

    /// Where the first broker was said to be.
    pub fn address(&self) -> String {
        self.inner.bootstrap.first().map(ToString::to_string).unwrap_or_default()
    }

    /// Asks once. A connection that was idle may have been closed by the broker meanwhile, so one
    /// that breaks before it was used in this call is opened anew.
    pub(super) async fn ask<Q: Question>(
        &self,
        to: To<'_>,
        from_version: i16,
        request: Q,
    ) -> Result<Q::Answer, AdminError> {
        let node = match to {
            To::Any => return self.in_time(Q::NAME, self.ask_any(from_version, request)).await,
            To::Controller => self.controller().await?,
            To::Node(id) => self.node(id).await?,
            To::Group(group) => self.coordinator(group, 0).await?,
        };
        self.in_time(Q::NAME, self.ask_at(&node.address(), from_version, request)).await
    }

    async fn in_time<T>(
        &self,
        api: &'static str,
        asked: impl Future<Output = Result<T, AdminError>>,
    ) -> Result<T, AdminError> {
        let deadline = self.inner.deadline;
        timeout(deadline, asked).await.unwrap_or_else(|_| {
            let reason = format!("no response within {} s", deadline.as_secs());
            Err(AdminError::Broken { address: self.address(), api, reason })
        })
    }

    /// Asks by the first of the known brokers that can be reached.
    async fn ask_any<Q: Question>(
        &self,
        from_version: i16,
        request: Q,
    ) -> Result<Q::Answer, AdminError> {
        let mut last = None;
        for address in &self.inner.bootstrap {
            match self.ask_at(address, from_version, request.clone()).await {
                Err(error @ AdminError::Unreachable { .. }) => _ = last.get_or_insert(error),
                done => return done,
            }
        }
        Err(last.expect("there is at least one address, or connecting has failed"))
    }

    async fn ask_at<Q: Question>(
        &self,
        address: &HostPort,
        from_version: i16,
        request: Q,
    ) -> Result<Q::Answer, AdminError> {
        let slot = self.slot(address);
        let mut slot = slot.lock().await;
        let reused = slot.is_some();
        // Taken out: a request that is given up half-way leaves no response to the next one.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => Connection::open(address, &self.inner.client_id, &self.inner.secured).await?,
        };
        let mut done = connection.ask(from_version, request.clone()).await;
        if reused && matches!(done, Err(AdminError::Broken { .. })) {
            connection =
                Connection::open(address, &self.inner.client_id, &self.inner.secured).await?;
            done = connection.ask(from_version, request).await;
        }
        if !matches!(done, Err(AdminError::Broken { .. } | AdminError::Malformed { .. })) {
            *slot = Some(connection);
        }
        done
    }

    fn slot(&self, address: &HostPort) -> Arc<Mutex<Option<Connection>>> {
        let mut slots = self.inner.connections.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(address.to_string()).or_default().clone()
    }

    /// What a broker serves: the node of this id, or the first that can be reached.
    pub(super) async fn versions(
        &self,
        node: Option<i32>,
    ) -> Result<ApiVersionsResponse, AdminError> {
        let address = match node {
            Some(node) => self.node(node).await?.address(),
            None => self.any_node().await?.address(),
        };
        Ok(Connection::open(&address, &self.inner.client_id, &self.inner.secured).await?.versions)
    }

    /// Whether a broker serves an API at all.
    pub(super) async fn serves<Q: Question>(&self) -> Result<bool, AdminError> {
        let address = self.any_node().await?.address();
        let slot = self.slot(&address);
        let mut slot = slot.lock().await;
        let connection = match slot.take() {
            Some(connection) => connection,
            None => Connection::open(&address, &self.inner.client_id, &self.inner.secured).await?,
        };
        Ok(slot.insert(connection).serves(Q::KEY))
    }

    async fn any_node(&self) -> Result<Node, AdminError> {
        if self.nodes().is_empty() {
            self.metadata(Some(&[])).await?;
        }
        let nodes = self.nodes();
        nodes.into_values().next().ok_or_else(|| no_node("the cluster names no brokers".to_owned()))
    }

    async fn node(&self, id: i32) -> Result<Node, AdminError> {
        if let Some(node) = self.nodes().remove(&id) {
            return Ok(node);
        }
        self.metadata(Some(&[])).await?;
        self.nodes().remove(&id).ok_or_else(|| no_node(format!("there is no broker with id {id}")))
    }

    async fn controller(&self) -> Result<Node, AdminError> {
        let id = self.metadata(Some(&[])).await?.controller_id;
        let none = || AdminError::refused("controller", ErrorCode::LEADER_NOT_AVAILABLE, None);
        self.nodes().remove(&id).ok_or_else(none)
    }

    pub(super) async fn coordinator(&self, key: &str, kind: i8) -> Result<Node, AdminError> {
        let request = FindCoordinatorRequest {
            key_type: kind,
            coordinator_keys: vec![key.to_owned()],
            ..Default::default()
        };
        let what = match kind {
            0 => format!("coordinator of group '{key}'"),
            _ => format!("coordinator of transactional id '{key}'"),
        };
        // The coordinators' topic is created by the first who asks, which takes a moment.
        self.again(&what, async || {
            let response: FindCoordinatorResponse = self
                .in_time(FindCoordinatorRequest::NAME, self.ask_any(4, request.clone()))
                .await?;
            let found = response.coordinators.into_iter().next();
            let found = found.ok_or_else(|| no_node(what.clone()))?;
            super::check(found.error_code, found.error_message, &what)?;
            Ok(Node { id: found.node_id, host: found.host, port: found.port, rack: None })
        })
        .await
    }

    fn nodes(&self) -> BTreeMap<i32, Node> {
        self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brokers and these topics, or all of them; creates none.
    pub(super) async fn metadata(
        &self,
        topics: Option<&[&str]>,
    ) -> Result<MetadataResponse, AdminError> {
        let topic = |name: &&str| MetadataRequestTopic {
            name: Some((*name).to_owned()),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        // From v4 on a question can say that it wants nothing created.
        let asked = self.ask_any(4, request);
        let response: MetadataResponse = self.in_time(MetadataRequest::NAME, asked).await?;
        super::check(response.error_code, None, "metadata")?;
        let nodes = response.brokers.iter().map(|broker| {
            let (host, rack) = (broker.host.clone(), broker.rack.clone());
            (broker.node_id, Node { id: broker.node_id, host, port: broker.port, rack })
        });
        *self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner) = nodes.collect();
        Ok(response)
    }

    /// The leader of each of these partitions, in the same order.
    pub(super) async fn leaders(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Result<i32, AdminError>>, AdminError> {
        let mut names: Vec<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
        names.sort_unstable();
        names.dedup();
        let metadata = self.metadata(Some(&names)).await?;
        let leader = |of: &TopicPartition| {
            let refused = |code| AdminError::refused(format!("partition {of}"), code, None);
            let named = metadata.topics.iter();
            let topic = named.clone().find(|topic| topic.name.as_deref() == Some(&*of.topic));
            let topic = topic.ok_or_else(|| refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))?;
            if topic.error_code.is_error() {
                return Err(refused(topic.error_code));
            }
            let found = topic.partitions.iter().find(|found| found.partition_index == of.partition);
            match found {
                None => Err(refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
                Some(found) if found.leader_id < 0 => Err(refused(ErrorCode::LEADER_NOT_AVAILABLE)),
                Some(found) => Ok(found.leader_id),
            }
        };
        Ok(partitions.iter().map(leader).collect())
    }

    /// Does something again while it fails with what may pass, up to the deadline.
    pub(super) async fn again<T>(
        &self,
        what: &str,
        attempt: impl AsyncFn() -> Result<T, AdminError>,
    ) -> Result<T, AdminError> {
        let deadline = Instant::now() + self.inner.deadline;
        let mut pause = PAUSE_MIN;
        loop {
            match attempt().await {
                Err(error) if error.is_retriable() => {
                    if Instant::now() + pause > deadline {
                        let (what, after) = (what.to_owned(), self.inner.deadline);
                        return Err(AdminError::TimedOut { what, after, last: Box::new(error) });
                    }
                    // No broker tells when it is ready: the one thing to do is ask again.
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                done => return done,
            }
        }
    }
}

fn no_node(what: String) -> AdminError {
    AdminError::refused(what, ErrorCode::BROKER_NOT_AVAILABLE, None)
}
