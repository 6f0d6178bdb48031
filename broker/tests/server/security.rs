//! Listeners with TLS and SASL, rules, and what is denied.

mod certificates;
mod denials;
mod rules;
mod sasl;
mod strangers;
mod tls;
mod trusted;

use std::net::SocketAddr;
use std::sync::Arc;

use broker::broker::Broker;
use broker::protocol::ErrorCode;
use broker::protocol::messages::k17_sasl_handshake::*;
use broker::protocol::messages::k30_create_acls::*;
use broker::protocol::messages::k36_sasl_authenticate::*;
use broker::protocol::messages::k51_alter_user_scram_credentials::*;
use broker::security::acl::{Operation, PatternType, Permission, ResourceType};
use broker::security::sasl::Mechanism;
use broker::security::scram::ScramMechanism;
use broker::security::{Principal, SecurityProtocol};
use broker::server::{AuthorizerConfig, ListenerConfig, Server, ServerConfig};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::*;

/// A listener on a free port, with all mechanisms that need no keys.
fn listener(protocol: SecurityProtocol) -> ListenerConfig {
    let name = protocol.name().to_owned();
    let scram = ScramMechanism::ALL.map(Mechanism::Scram);
    let mechanisms = [&[Mechanism::Plain], &scram[..]].concat();
    ListenerConfig { name, protocol, mechanisms, ..ListenerConfig::plaintext("127.0.0.1:0") }
}

/// A second server over the same broker, whose clients may do everything.
struct Office {
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Office {
    async fn of(broker: &Arc<Broker>) -> Office {
        let mut config = ServerConfig::new("127.0.0.1:0");
        let super_users = vec![Principal::anonymous()];
        config.authorizer = Some(AuthorizerConfig { super_users, unruled_is_allowed: false });
        let server = Server::bind(broker.clone(), config).await.unwrap();
        let (address, shutdown) = (server.local_addr(), CancellationToken::new());
        let server = tokio::spawn(server.run(shutdown.clone()));
        Office { address, shutdown, server }
    }

    async fn connect(&self) -> Connection {
        Connection::over(TcpStream::connect(self.address).await.unwrap())
    }

    async fn set_password(&self, user: &str, mechanism: ScramMechanism, password: &str) {
        self.set_password_hashed(user, mechanism, password, 4096).await;
    }

    async fn set_password_hashed(
        &self,
        user: &str,
        mechanism: ScramMechanism,
        password: &str,
        iterations: u32,
    ) {
        let salt = format!("salt of {user}").into_bytes();
        let salted = mechanism.salted_password(password.as_bytes(), &salt, iterations);
        let upsertion = ScramCredentialUpsertion {
            name: user.to_owned(),
            mechanism: mechanism.number(),
            iterations: iterations as i32,
            salt: salt.into(),
            salted_password: salted.into(),
        };
        let upsertions = vec![upsertion];
        let request = AlterUserScramCredentialsRequest { upsertions, ..Default::default() };
        let mut client = self.connect().await;
        let response = ask!(client, AlterUserScramCredentials v 0, request);
        assert_eq!(response.results[0].error_code, ErrorCode::NONE, "{response:?}");
    }

    async fn allow(&self, rules: &[Rule<'_>]) {
        let creations = rules.iter().map(|(resource_type, name, operation)| AclCreation {
            resource_type: *resource_type as i8,
            resource_name: (*name).to_owned(),
            resource_pattern_type: PatternType::Literal as i8,
            principal: "User:ANONYMOUS".to_owned(),
            host: "*".to_owned(),
            operation: *operation as i8,
            permission_type: Permission::Allow as i8,
        });
        let request = CreateAclsRequest { creations: creations.collect() };
        let mut client = self.connect().await;
        let response = ask!(client, CreateAcls v 3, request);
        for result in response.results {
            assert_eq!(result.error_code, ErrorCode::NONE, "{result:?}");
        }
    }

    async fn forbid_all_again(&self) {
        let filter = broker::protocol::messages::k31_delete_acls::DeleteAclsFilter {
            resource_type_filter: 1,
            pattern_type_filter: 1,
            operation: 1,
            permission_type: 1,
            ..Default::default()
        };
        let request = broker::protocol::messages::k31_delete_acls::DeleteAclsRequest {
            filters: vec![filter],
        };
        let mut client = self.connect().await;
        let response = ask!(client, DeleteAcls v 3, request);
        assert_eq!(response.filter_results[0].error_code, ErrorCode::NONE);
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.server.await.unwrap();
    }
}

/// Something that may be done to something.
type Rule<'a> = (ResourceType, &'a str, Operation);

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Connection<S>,
    mechanism: &str,
) -> SaslHandshakeResponse {
    let request = SaslHandshakeRequest { mechanism: mechanism.to_owned() };
    ask!(client, SaslHandshake v 1, request)
}

async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Connection<S>,
    message: impl AsRef<[u8]>,
) -> SaslAuthenticateResponse {
    let auth_bytes = Bytes::copy_from_slice(message.as_ref());
    ask!(client, SaslAuthenticate v 2, SaslAuthenticateRequest { auth_bytes })
}

/// Says a name and a password.
async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Connection<S>,
    user: &str,
    password: &str,
) -> SaslAuthenticateResponse {
    assert_eq!(handshake(client, "PLAIN").await.error_code, ErrorCode::NONE);
    authenticate(client, format!("\0{user}\0{password}")).await
}
