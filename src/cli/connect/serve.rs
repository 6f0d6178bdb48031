//! Running a worker.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use broker::client::Client;
use connectors::herder::Target;
use connectors::herder::distributed::settings::GroupSettings;
use connectors::rest::About;
use connectors::{Distributed, Herder, HerderOptions, Standalone, WorkerOptions};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::files::{self, Checked};
use super::rest_servers::Http;
use super::worker::WorkerSettings;
use crate::cli::broker::{Listen, Setup};
use crate::cli::connection::{self, Connection, How};
use crate::cli::metrics::Metrics;
use crate::cli::run::connector_in_words;
use crate::cli::{BrokerChoice, Failure, logs};
use crate::http::{HttpServer, QueryStatus};
use crate::render::status;

/// What the command line says beside files.
pub struct Asked {
    pub broker: BrokerChoice,
    pub listen: Listen,
    pub rest_listen: Option<String>,
}

/// How long an address of this machine may take to answer.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(1);

pub async fn serve(
    paths: &[PathBuf],
    asked: Asked,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let files = files::read(paths)?;
    let properties = files.worker.clone();
    let (mut settings, connectors) = files.check()?;
    if let Some(listen) = &asked.rest_listen {
        let failed = |reason| Failure::usage(format!("--rest-listen: {reason}"));
        settings.rest.listen_at(listen).map_err(failed)?;
    }
    if let Some(warning) = &settings.warning {
        tracing::warn!("{warning}");
    }
    let (choice, setup) = broker(&asked, &settings).await?;
    let metrics = setup.metrics.clone();
    let http = Http::bind(&settings.rest).await.map_err(Failure::running)?;
    let connection = connection::serve(&choice, setup).await?;
    let worker = Worker { settings, properties, connectors };
    let done = run(worker, &asked, &metrics, &connection, http, stop).await;
    connection.close().await;
    done?;
    eprintln!("stopped in order");
    Ok(())
}

/// The broker that is named, or one in this process where it would be if it were there.
async fn broker(
    asked: &Asked,
    settings: &WorkerSettings,
) -> Result<(BrokerChoice, Setup), Failure> {
    let mut choice = asked.broker.clone();
    let mut setup = asked.listen.setup(&choice.data_dir)?;
    if settings.is_secured && choice.command_config.is_none() {
        // What it says of reaching the broker stands as in the files of Kafka's own clients.
        choice.command_config.clone_from(&settings.path);
    }
    if choice.bootstrap_server.is_none()
        && let Some(address) = &settings.bootstrap_server
    {
        match local(address) {
            Some(listen) if !settings.is_secured && !is_served(&listen).await => {
                // With what else was said of the one listener, such as what clients are told.
                setup.server.listeners[0].listen = listen;
            }
            _ => choice.bootstrap_server = Some(address.clone()),
        }
    }
    Ok((choice, setup))
}

/// The address if it is one of this machine alone.
fn local(address: &str) -> Option<String> {
    let mut found = address.to_socket_addrs().ok()?;
    let address = found.find(|address| address.ip().is_loopback() && address.is_ipv4());
    address.map(|address| address.to_string())
}

async fn is_served(address: &str) -> bool {
    let connected = tokio::time::timeout(LOCAL_TIMEOUT, TcpStream::connect(address)).await;
    !matches!(connected, Ok(Err(_)))
}

/// What is to be run, by whom.
struct Worker {
    settings: WorkerSettings,
    properties: BTreeMap<String, String>,
    connectors: Vec<Checked>,
}

async fn run(
    worker: Worker,
    asked: &Asked,
    metrics: &Metrics,
    connection: &Connection,
    http: Http,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let metrics = connection.serve_metrics(metrics, QueryStatus::default()).await?;
    let Worker { settings, properties, connectors } = worker;
    let options = HerderOptions {
        worker: properties,
        base_dir: PathBuf::from("."),
        worker_id: worker_id(&settings, http.advertised(settings.rest.advertises_tls)),
        options: WorkerOptions::default(),
        graceful: settings.graceful,
    };
    announce(connection, &asked.broker, &http, metrics.as_deref());
    http.warn(&settings.rest);
    let client = connection.client.clone();
    let about =
        About { cluster_id: connection.cluster_id(&asked.broker).await, loggers: logs::loggers() };
    let herder: Arc<dyn Herder> = match settings.group.clone() {
        None => Arc::new(alone(client, options, connectors).await?),
        Some(group) => Arc::new(together(client, options, group, connectors).await?),
    };
    status::pointer("look", "millstream connect status   (Ctrl-C stops)");
    let serving = CancellationToken::new();
    let names: Vec<String> = settings.advertised_host.iter().cloned().collect();
    let served = http.run(&settings.rest, &names, &herder, about, &serving);
    stop.cancelled().await;
    serving.cancel();
    served.join_all().await;
    herder.shutdown().await;
    Ok(())
}

/// A worker that has the connectors of its files.
async fn alone(
    client: Arc<dyn Client>,
    options: HerderOptions,
    connectors: Vec<Checked>,
) -> Result<Standalone, Failure> {
    let herder = Standalone::new(client, options);
    for Checked { config, properties, base_dir } in connectors {
        let how = connector_in_words(&config);
        let created = herder.create_checked(config, properties, Target::Running, base_dir).await;
        created.map_err(Failure::running)?;
        status::checked("connector", &how);
    }
    Ok(herder)
}

/// One of several workers; what its files say, all of them do.
async fn together(
    client: Arc<dyn Client>,
    options: HerderOptions,
    group: GroupSettings,
    connectors: Vec<Checked>,
) -> Result<Distributed, Failure> {
    let how = format!("{}, as {}", group.group, options.worker_id);
    let herder = Distributed::start(client, options, group).await.map_err(Failure::running)?;
    status::checked("group", &how);
    for Checked { config, mut properties, .. } in connectors {
        properties.entry("name".to_owned()).or_insert_with(|| config.name().to_owned());
        let how = connector_in_words(&config);
        herder.put(config.name(), properties).await.map_err(Failure::running)?;
        status::checked("connector", &how);
    }
    Ok(herder)
}

/// How the worker is called, by which people may reach it.
fn worker_id(settings: &WorkerSettings, listens: SocketAddr) -> String {
    let host = settings.advertised_host.clone().unwrap_or_else(|| match listens.ip() {
        ip if ip.is_unspecified() => host_name().unwrap_or_else(|| ip.to_string()),
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    });
    format!("{host}:{}", settings.advertised_port.unwrap_or(listens.port()))
}

/// Only Linux says it in a file; elsewhere, `rest.advertised.host.name` can.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn announce(connection: &Connection, choice: &BrokerChoice, http: &Http, metrics: Option<&str>) {
    eprintln!("millstream {} · connect", env!("CARGO_PKG_VERSION"));
    let dir = choice.data_dir.display();
    let how = match &connection.how {
        How::Serving(address) => format!("{address}, data in {dir}"),
        How::Joined(address) => format!("{address}, which serves {dir} already"),
        How::Remote(address) => address.clone(),
        How::Offline => format!("data in {dir}"),
    };
    status::checked("broker", &how);
    if let Some(metrics) = metrics {
        status::checked("metrics", metrics);
    }
    let urls =
        |servers: &[HttpServer]| servers.iter().map(HttpServer::url).collect::<Vec<_>>().join(", ");
    status::checked("rest", &urls(&http.servers));
    if !http.admin.is_empty() {
        status::checked("rest admin", &urls(&http.admin));
    }
}
