//! How a command finds its broker.
//!
//! ```text
//! --bootstrap-server given ──────────────────────────► that one, by librdkafka
//! data directory locked by a broker that listens ────► joined, in the same way
//! otherwise ─────────────────────────────────────────► opened here: no socket between
//! ```
//!
//! Commands that look after a cluster speak the protocol themselves ([`Admin`]), to any of the
//! three: a broker opened here listens nowhere, and lets them in from within the process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::broker::{Broker, BrokerConfig, OpenError};
use broker::client::Client;
use broker::client::admin::{Admin, AdminError};
use broker::client::embedded::EmbeddedClient;
use broker::data_dir::DataDirError;
use broker::security::{Principal, SecurityProtocol};
use broker::server::{AuthorizerConfig, HostPort, ListenerConfig, Server, ServerConfig};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::broker::Setup;
use super::metrics::{Metrics, MetricsSettings};
use super::{BrokerChoice, Failure};
use crate::http::{self, HttpServer, QueryStatus};

/// How long the advertised address may take to answer.
const ADVERTISED_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a cluster may take to tell its id.
const CLUSTER_ID_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker to talk to.
pub struct Connection {
    pub client: Arc<dyn Client>,
    pub how: How,
    embedded: Option<Embedded>,
}

/// A cluster to look after.
pub struct AdminConnection {
    pub admin: Admin,
    embedded: Option<Embedded>,
}

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// In this process, listening here.
    Serving(SocketAddr),
    /// In this process, for this command alone.
    Offline,
    /// In the process that serves the data directory.
    Joined(String),
    /// Named by the user.
    Remote(String),
}

struct Embedded {
    broker: Arc<Broker>,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

/// For a command that reads or changes something and ends. It creates no data directory.
pub async fn open(choice: &BrokerChoice) -> Result<Connection, Failure> {
    if let Some(address) = &choice.bootstrap_server {
        return remote(address, How::Remote(address.clone()), choice).await;
    }
    check_data(choice)?;
    match open_broker(BrokerConfig::new(&choice.data_dir)).await? {
        Opened::Locked(address) => remote(&address, How::Joined(address.clone()), choice).await,
        Opened::Here(broker) => Ok(Connection {
            client: Arc::new(EmbeddedClient::new(broker.clone())),
            how: How::Offline,
            embedded: Some(Embedded { broker, stop: CancellationToken::new(), serving: None }),
        }),
    }
}

/// For a command that looks after the cluster and ends. It creates no data directory.
pub async fn open_admin(choice: &BrokerChoice) -> Result<AdminConnection, Failure> {
    if choice.bootstrap_server.is_none() {
        check_data(choice)?;
    }
    open_office(choice).await
}

/// The same for who may do what, which is settled before a broker first listens: it creates the
/// data directory.
pub async fn open_office(choice: &BrokerChoice) -> Result<AdminConnection, Failure> {
    let secured = choice.secured()?;
    let connect = async |address: &str| {
        let admin = Admin::connect_secured(address, secured).await?;
        Ok(AdminConnection { admin, embedded: None })
    };
    if let Some(address) = &choice.bootstrap_server {
        return connect(address).await;
    }
    match open_broker(BrokerConfig::new(&choice.data_dir)).await? {
        Opened::Locked(address) => connect(&address).await,
        Opened::Here(broker) => serve_admin(broker).await,
    }
}

async fn serve_admin(broker: Arc<Broker>) -> Result<AdminConnection, Failure> {
    // Whoever has the data directory has all that is in it, rules included.
    let super_users = vec![Principal::anonymous()];
    let authorizer = AuthorizerConfig { super_users, ..AuthorizerConfig::default() };
    let config = ServerConfig { authorizer: Some(authorizer), ..ServerConfig::nowhere() };
    let (server, door) = match Server::inside(broker.clone(), config) {
        Ok(inside) => inside,
        Err(error) => {
            close(&broker).await;
            return Err(Failure::running(error));
        }
    };
    let stop = CancellationToken::new();
    let serving = Some(tokio::spawn(server.run(stop.clone())));
    let embedded = Embedded { broker, stop, serving };
    match Admin::connect_inside(door).await {
        Ok(admin) => Ok(AdminConnection { admin, embedded: Some(embedded) }),
        Err(error) => {
            embedded.close().await;
            Err(error.into())
        }
    }
}

/// For a command that keeps a broker running, unless one is named or serves the directory.
pub async fn serve(choice: &BrokerChoice, setup: Setup) -> Result<Connection, Failure> {
    if let Some(address) = &choice.bootstrap_server {
        return remote(address, How::Remote(address.clone()), choice).await;
    }
    match open_broker(setup.broker).await? {
        Opened::Locked(address) => remote(&address, How::Joined(address.clone()), choice).await,
        Opened::Here(broker) => Ok(serve_broker(broker, setup.server).await?.0),
    }
}

/// For a command that is the broker; where it is best joined, and all that it listens by.
pub async fn serve_alone(
    broker: BrokerConfig,
    server: ServerConfig,
) -> Result<(Connection, SocketAddr, Vec<String>), Failure> {
    let broker = Broker::open(broker).await.map_err(|error| {
        let locked = matches!(error, OpenError::DataDir(DataDirError::Locked { .. }));
        let failure = Failure::running(error);
        if locked { failure.with_help("use that one, or another --data-dir") } else { failure }
    })?;
    serve_broker(broker, server).await
}

async fn serve_broker(
    broker: Arc<Broker>,
    config: ServerConfig,
) -> Result<(Connection, SocketAddr, Vec<String>), Failure> {
    let advertised: Vec<HostPort> =
        config.listeners.iter().filter_map(|listener| listener.advertised.clone()).collect();
    match bind(&broker, config).await {
        Ok((server, address)) => {
            let listeners = server.local_addrs().into_iter().map(|(listener, address)| {
                let ListenerConfig { name, protocol, .. } = listener;
                format!("{name} {address} ({protocol})")
            });
            let listeners = listeners.collect();
            let stop = CancellationToken::new();
            let serving = tokio::spawn(server.run(stop.clone()));
            for advertised in advertised {
                tokio::spawn(try_advertised(advertised));
            }
            let connection = Connection {
                client: Arc::new(EmbeddedClient::new(broker.clone())),
                how: How::Serving(address),
                embedded: Some(Embedded { broker, stop, serving: Some(serving) }),
            };
            Ok((connection, address, listeners))
        }
        Err(failure) => {
            close(&broker).await;
            Err(failure)
        }
    }
}

/// Clients come by the address that they are told, whatever they asked first: the mistake that
/// costs most people most time. Behind a router the broker itself may not reach it, so it is said,
/// and nothing else.
async fn try_advertised(advertised: HostPort) {
    let connect = TcpStream::connect((advertised.host.as_str(), advertised.port));
    let reason = match timeout(ADVERTISED_TIMEOUT, connect).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {ADVERTISED_TIMEOUT:?}"),
    };
    tracing::warn!(
        "clients are told to connect to {advertised}, which cannot be reached from here: {reason}; \
         change it by --advertise HOST:PORT or advertised.listeners, unless they reach it"
    );
}

async fn bind(broker: &Arc<Broker>, config: ServerConfig) -> Result<(Server, SocketAddr), Failure> {
    let server = Server::bind(broker.clone(), config).await;
    let server = server.map_err(Failure::running)?;
    let listeners = server.local_addrs();
    // Commands on this machine join by it, most easily where nothing is asked of them.
    let plain = listeners.iter().find(|(one, _)| one.protocol == SecurityProtocol::Plaintext);
    let address = plain.map_or_else(|| server.local_addr(), |(_, address)| *address);
    broker.announce(&address.to_string()).map_err(Failure::running)?;
    Ok((server, address))
}

/// Whether a broker has ever been in the data directory.
pub fn has_data(dir: &Path) -> bool {
    dir.join("meta.properties").exists()
}

fn check_data(choice: &BrokerChoice) -> Result<(), Failure> {
    if has_data(&choice.data_dir) {
        return Ok(());
    }
    let dir = choice.data_dir.display();
    Err(Failure::usage(format!("there is no broker's data in {dir}")).with_help(
        "start one with `millstream broker`, or name one with --bootstrap-server HOST:PORT \
         or --data-dir DIR",
    ))
}

enum Opened {
    Here(Arc<Broker>),
    /// By a broker at this address.
    Locked(String),
}

async fn open_broker(config: BrokerConfig) -> Result<Opened, Failure> {
    match Broker::open(config).await {
        Ok(broker) => Ok(Opened::Here(broker)),
        Err(OpenError::DataDir(DataDirError::Locked { address: Some(address), .. })) => {
            Ok(Opened::Locked(address))
        }
        Err(error @ OpenError::DataDir(DataDirError::Locked { .. })) => {
            Err(Failure::running(error).with_help("wait until it ends, or use another --data-dir"))
        }
        Err(error) => Err(Failure::running(error)),
    }
}

#[cfg(feature = "kafka")]
async fn remote(address: &str, how: How, choice: &BrokerChoice) -> Result<Connection, Failure> {
    use broker::client::{RemoteClient, RemoteOptions};
    let secured = choice.secured()?;
    let options = RemoteOptions { secured: secured.clone(), ..RemoteOptions::default() };
    // At once if nobody is there; librdkafka would go on trying, and tell it in its own words.
    Admin::connect_secured(address, secured).await?;
    let client = RemoteClient::connect(address, options).await?;
    Ok(Connection { client: Arc::new(client), how, embedded: None })
}

#[cfg(not(feature = "kafka"))]
async fn remote(address: &str, _: How, _: &BrokerChoice) -> Result<Connection, Failure> {
    Err(Failure::usage(format!("{address}: this binary cannot talk to another broker"))
        .with_help("build it with the cargo feature `kafka`, which is on by default"))
}

impl Connection {
    /// Serves the metrics of the broker in this process, and of queries, over HTTP, if that is
    /// asked for; where.
    pub async fn serve_metrics(
        &self,
        metrics: &Metrics,
        queries: QueryStatus,
    ) -> Result<Option<String>, Failure> {
        let Some(listen) = &metrics.listen else { return Ok(None) };
        let Some(embedded) = &self.embedded else {
            let reason = "--metrics-listen: the broker is another process, which has the metrics";
            return Err(Failure::usage(reason.to_owned())
                .with_help("give the flag to the process that is the broker"));
        };
        let MetricsSettings { guard, tls } = metrics.settings()?;
        let server = HttpServer::bind(listen, "--metrics-listen", tls.as_ref()).await;
        let server = server.map_err(Failure::running)?;
        let url = format!("{}/metrics", server.url());
        let guard = guard.guard("metrics", server.address, server.has_tls(), &[]);
        let help = "ask by localhost, or let it ask for credentials by --metrics-config";
        let router = http::watched(embedded.broker.clone(), queries);
        tokio::spawn(server.run(router, guard.with_host_help(help), embedded.stop.clone()));
        Ok(Some(url))
    }

    /// The id of the cluster; nothing where it does not tell.
    pub async fn cluster_id(&self, choice: &BrokerChoice) -> String {
        if let Some(embedded) = &self.embedded {
            return embedded.broker.cluster_id().to_owned();
        }
        let (How::Remote(address) | How::Joined(address)) = &self.how else {
            return String::new();
        };
        // What is wrong with it was said when the connection was made.
        let Ok(secured) = choice.secured() else { return String::new() };
        let asked = async {
            let admin = Admin::connect_secured(address, secured).await?;
            Ok::<_, AdminError>(admin.cluster().await?.id)
        };
        let reason = match timeout(CLUSTER_ID_TIMEOUT, asked).await {
            Ok(Ok(id)) => return id,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {CLUSTER_ID_TIMEOUT:?}"),
        };
        tracing::warn!("{address} does not tell the id of its cluster: {reason}");
        String::new()
    }

    /// Stops serving and makes everything durable. Nothing else may use the client any more.
    pub async fn close(self) {
        drop(self.client);
        if let Some(embedded) = self.embedded {
            embedded.close().await;
        }
    }
}

impl AdminConnection {
    /// Whether the broker is in this process, for this command alone.
    pub fn is_inside(&self) -> bool {
        self.embedded.is_some()
    }

    /// As [`Connection::close`].
    pub async fn close(self) {
        drop(self.admin);
        if let Some(embedded) = self.embedded {
            embedded.close().await;
        }
    }
}

impl Embedded {
    async fn close(self) {
        self.stop.cancel();
        if let Some(serving) = self.serving
            && let Err(error) = serving.await
        {
            tracing::error!(%error, "the server has panicked");
        }
        close(&self.broker).await;
    }
}

async fn close(broker: &Arc<Broker>) {
    if let Err(error) = broker.shutdown().await {
        tracing::error!(%error, "the broker was not closed in order and will recover");
    }
}
