//! `millstream broker`: the broker alone.

use std::path::{Path, PathBuf};

use broker::broker::BrokerConfig;
use broker::server::{HostPort, ServerConfig};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::classic::ServerProperties;
use super::connection;
use super::metrics::Metrics;
use super::{Failure, properties};
use crate::http::QueryStatus;
use crate::render::status;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream broker
  millstream broker --listen 127.0.0.1:0 --data-dir /var/lib/millstream
  millstream broker --broker-config server.properties

Every Kafka client can use it: kcat -b 127.0.0.1:9092 -L. Ctrl-C stops it in order.")]
pub struct BrokerArgs {
    #[command(flatten)]
    listen: Listen,
    /// Where topics and state are kept
    #[arg(long, value_name = "DIR", default_value = ".millstream", env = "MILLSTREAM_DATA_DIR")]
    data_dir: std::path::PathBuf,
}

/// Where the broker listens.
#[derive(Args, Clone, Debug)]
pub struct Listen {
    /// Where Kafka clients reach the broker; port 0 picks a free one and prints it
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub listen: String,
    /// What clients are told to connect to, if not the address by which they have come
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<HostPort>,
    /// The broker's settings, listeners and security among them, as a server.properties has them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "advertise"])]
    pub broker_config: Option<PathBuf>,
    #[command(flatten)]
    pub metrics: Metrics,
}

/// A broker that is to be served here, unless one is named or serves its directory.
#[derive(Debug)]
pub struct Setup {
    pub broker: BrokerConfig,
    pub server: ServerConfig,
    pub metrics: Metrics,
}

impl Listen {
    /// The broker of that directory, as the command line and its file say.
    pub fn setup(&self, data_dir: &Path) -> Result<Setup, Failure> {
        let Some(file) = &self.broker_config else {
            let mut server = ServerConfig::new(&self.listen);
            server.listeners[0].advertised = self.advertise.clone();
            let broker = BrokerConfig::new(data_dir);
            return Ok(Setup { broker, server, metrics: self.metrics.clone() });
        };
        let properties = properties::read(file)?;
        let read = ServerProperties::new(&properties, Some(data_dir.to_owned()));
        let mut read = read.map_err(|error| error.in_file(Some(file)))?;
        read.listen_by_default(&properties, &self.listen);
        read.tell(Some(file));
        let metrics = if self.metrics.listen.is_some() { &self.metrics } else { &read.metrics };
        Ok(Setup { broker: read.broker, metrics: metrics.clone(), server: read.server })
    }
}

pub async fn broker(args: BrokerArgs, stop: CancellationToken) -> Result<(), Failure> {
    serve(args.listen.setup(&args.data_dir)?, || {}, stop).await
}

/// Runs a broker until it is told to stop; `started` is called when clients may come.
pub async fn serve(
    setup: Setup,
    started: impl FnOnce(),
    stop: CancellationToken,
) -> Result<(), Failure> {
    let Setup { broker, server, metrics } = setup;
    let dir = broker.data_dir.clone();
    let (connection, address, listeners) = connection::serve_alone(broker, server).await?;
    let metrics = match connection.serve_metrics(&metrics, QueryStatus::default()).await {
        Ok(metrics) => metrics,
        Err(failure) => {
            connection.close().await;
            return Err(failure);
        }
    };
    eprintln!("millstream {}", env!("CARGO_PKG_VERSION"));
    status::checked("broker", &format!("{address}, data in {}", dir.display()));
    if listeners.len() > 1 {
        status::checked("listeners", &listeners.join(", "));
    }
    if let Some(metrics) = metrics {
        status::checked("metrics", &metrics);
    }
    status::pointer("look", &format!("kcat -b {address} -L   (Ctrl-C stops)"));
    started();
    stop.cancelled().await;
    connection.close().await;
    eprintln!("stopped in order");
    Ok(())
}
