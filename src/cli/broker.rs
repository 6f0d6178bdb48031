//! `millstream broker`: the broker alone.

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::connection;
use crate::render::status;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream broker
  millstream broker --listen 127.0.0.1:0 --data-dir /var/lib/millstream

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
}

pub async fn broker(args: BrokerArgs, stop: CancellationToken) -> Result<(), Failure> {
    let dir = args.data_dir.display();
    let (connection, address) =
        connection::serve_alone(&args.data_dir, &args.listen.listen).await?;
    eprintln!("millstream {}", env!("CARGO_PKG_VERSION"));
    status::checked("broker", &format!("{address}, data in {dir}"));
    status::pointer("look", &format!("kcat -b {address} -L   (Ctrl-C stops)"));
    stop.cancelled().await;
    connection.close().await;
    eprintln!("stopped in order");
    Ok(())
}
