//! The servers of a worker's REST API.

use std::net::SocketAddr;
use std::sync::Arc;

use broker::security::tls::TlsConfig;
use connectors::Herder;
use connectors::rest::{About, Served, loggers};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::rest;
use super::rest_settings::{RestListener, RestSettings};
use super::worker::REST_LISTEN;
use crate::http::HttpServer;

/// Sockets that listen and do not accept yet.
pub struct Http {
    pub servers: Vec<HttpServer>,
    /// Those that serve `/admin` alone.
    pub admin: Vec<HttpServer>,
}

impl Http {
    /// Fails with a message for people.
    pub async fn bind(rest: &RestSettings) -> Result<Http, String> {
        let default = [RestListener { address: REST_LISTEN.to_owned(), has_tls: false }];
        let listeners = if rest.listeners.is_empty() { &default[..] } else { &rest.listeners };
        let flag = "--rest-listen, or listeners in the worker's file";
        let admin = rest.admin.as_deref().unwrap_or_default();
        Ok(Http {
            servers: bind(listeners, rest.tls.as_ref(), flag).await?,
            admin: bind(admin, rest.admin_tls.as_ref(), "admin.listeners").await?,
        })
    }

    /// The address that the worker is called by: as Kafka Connect has it, one without TLS if
    /// there is one, unless `rest.advertised.listener` says otherwise.
    pub fn advertised(&self, has_tls: Option<bool>) -> SocketAddr {
        let wanted = has_tls.unwrap_or(false);
        let found = self.servers.iter().find(|one| one.has_tls() == wanted);
        found.unwrap_or(&self.servers[0]).address
    }

    /// Says what is open to more than this machine.
    pub fn warn(&self, rest: &RestSettings) {
        let all = self.servers.iter().chain(&self.admin);
        let open = |one: &&HttpServer| !one.address.ip().is_loopback();
        if !rest.guard.asks_who()
            && let Some(server) = all
                .clone()
                .find(|one| open(one) && !(one.has_tls() && rest.asks_for_certificates()))
        {
            tracing::warn!(
                "{}: whoever reaches it can run connectors here, and programs by them; \
                 rest.basic.auth.file or rest.bearer.auth.file ask who it is",
                server.url()
            );
        }
        if rest.guard.asks_who()
            && let Some(server) = all.clone().find(|one| open(one) && !one.has_tls())
        {
            tracing::warn!(
                "{}: passwords and tokens can be read on their way; https hides them",
                server.url()
            );
        }
    }

    /// Serves until `stop`.
    pub fn run(
        self,
        settings: &RestSettings,
        names: &[String],
        herder: &Arc<dyn Herder>,
        about: About,
        stop: &CancellationToken,
    ) -> JoinSet<()> {
        let about = Arc::new(about);
        let (main, admin) = match settings.admin {
            None => (Served::ALL, Served::ALL),
            Some(_) => (
                Served { connectors: true, admin: false },
                Served { connectors: false, admin: true },
            ),
        };
        let mut running = JoinSet::new();
        let follow = {
            let (herder, about, stop) = (herder.clone(), about.clone(), stop.clone());
            async move {
                stop.run_until_cancelled(loggers::follow(&*herder, &about.loggers)).await;
            }
        };
        running.spawn(follow);
        for (servers, served) in [(self.servers, main), (self.admin, admin)] {
            for server in servers {
                let router = rest::router(herder.clone(), about.clone(), served);
                let (address, has_tls) = (server.address, server.has_tls());
                let guard = settings.guard.guard("rest", address, has_tls, names);
                let help = "ask by localhost, or set rest.advertised.host.name, or let it ask for \
                            credentials by rest.basic.auth.file";
                running.spawn(server.run(router, guard.with_host_help(help), stop.clone()));
            }
        }
        running
    }
}

async fn bind(
    listeners: &[RestListener],
    tls: Option<&TlsConfig>,
    flag: &str,
) -> Result<Vec<HttpServer>, String> {
    let mut servers = Vec::new();
    for listener in listeners {
        let tls = tls.filter(|_| listener.has_tls);
        servers.push(HttpServer::bind(&listener.address, flag, tls).await?);
    }
    Ok(servers)
}
