//! Running a worker.

use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use broker::server::ServerConfig;
use connectors::herder::Target;
use connectors::{ConnectorKind, Herder, HerderOptions, WorkerOptions};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::files::{self, Checked};
use super::rest;
use super::worker::{REST_LISTEN, WorkerSettings};
use crate::cli::broker::Listen;
use crate::cli::connection::{self, Connection, How};
use crate::cli::{BrokerChoice, Failure};
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
    let settings = WorkerSettings::new(&files.worker)?;
    let worker = files.worker.clone();
    let checked = files.check()?;
    if let Some(warning) = &settings.warning {
        tracing::warn!("{warning}");
    }
    let (choice, server) = broker(&asked, &settings).await;
    let named = asked.rest_listen.as_deref().or(settings.rest_listen.as_deref());
    let http = HttpServer::bind(named.unwrap_or(REST_LISTEN), "--rest-listen").await;
    let http = http.map_err(Failure::running)?;
    let connection = connection::serve(&choice, server).await?;
    let done = run(checked, worker, settings.graceful, &asked, &connection, http, stop).await;
    connection.close().await;
    done?;
    eprintln!("stopped in order");
    Ok(())
}

/// The broker that is named, or one in this process where it would be if it were there.
async fn broker(asked: &Asked, settings: &WorkerSettings) -> (BrokerChoice, ServerConfig) {
    let mut choice = asked.broker.clone();
    let mut server = asked.listen.server();
    if choice.bootstrap_server.is_none()
        && let Some(address) = &settings.bootstrap_server
    {
        match local(address) {
            Some(listen) if !is_served(&listen).await => {
                server =
                    ServerConfig { advertised: server.advertised, ..ServerConfig::new(&listen) };
            }
            _ => choice.bootstrap_server = Some(address.clone()),
        }
    }
    (choice, server)
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

async fn run(
    checked: Vec<Checked>,
    worker: std::collections::BTreeMap<String, String>,
    graceful: Duration,
    asked: &Asked,
    connection: &Connection,
    http: HttpServer,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let metrics = asked.listen.serve_metrics(connection, QueryStatus::default()).await?;
    let options = HerderOptions {
        worker,
        base_dir: PathBuf::from("."),
        worker_id: http.address.to_string(),
        options: WorkerOptions::default(),
        graceful,
    };
    let herder = Arc::new(Herder::new(connection.client.clone(), options));
    announce(connection, &asked.broker, &http, metrics.as_deref());
    for Checked { config, properties, base_dir } in checked {
        let how = in_words(&config);
        let created = herder.create_checked(config, properties, Target::Running, base_dir).await;
        created.map_err(Failure::running)?;
        status::checked("connector", &how);
    }
    status::pointer("look", "millstream connect status   (Ctrl-C stops)");
    let serving = CancellationToken::new();
    let router = rest::router(herder.clone(), &connection.cluster_id());
    let served = tokio::spawn(http.run(router, serving.clone()));
    stop.cancelled().await;
    serving.cancel();
    let _ = served.await;
    herder.shutdown().await;
    Ok(())
}

fn announce(
    connection: &Connection,
    choice: &BrokerChoice,
    http: &HttpServer,
    metrics: Option<&str>,
) {
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
    status::checked("rest", &format!("http://{}", http.address));
}

/// `lines: file-source`
fn in_words(config: &connectors::ConnectorConfig) -> String {
    let plugin = config.plugin();
    match plugin.kind() {
        ConnectorKind::Source => format!("{}: {}", config.name(), plugin.name),
        ConnectorKind::Sink => {
            format!("{}: {} of {}", config.name(), plugin.name, config.list("topics").join(", "))
        }
    }
}
