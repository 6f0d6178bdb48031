//! Rules and passwords through the admin API, and what becomes of them.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use broker::broker::{Broker, BrokerConfig};
use broker::protocol::messages::k29_describe_acls::*;
use broker::protocol::messages::k31_delete_acls::*;
use broker::protocol::messages::k50_describe_user_scram_credentials::*;
use tracing::field::Field;
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::*;

fn creation(resource_type: i8, name: &str, pattern: i8, principal: &str) -> AclCreation {
    AclCreation {
        resource_type,
        resource_name: name.to_owned(),
        resource_pattern_type: pattern,
        principal: principal.to_owned(),
        host: "*".to_owned(),
        operation: Operation::Read as i8,
        permission_type: Permission::Allow as i8,
    }
}

fn all() -> DescribeAclsRequest {
    DescribeAclsRequest {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..DescribeAclsRequest::default()
    }
}

async fn names(client: &mut Connection, request: DescribeAclsRequest) -> Vec<(String, usize)> {
    let described = ask!(client, DescribeAcls v 3, request);
    assert_eq!(described.error_code, ErrorCode::NONE, "{described:?}");
    let resources = described.resources.into_iter();
    resources.map(|resource| (resource.resource_name, resource.acls.len())).collect()
}

#[tokio::test]
async fn rules_are_added_found_and_removed() {
    let broker = TestBroker::start().await;
    let office = Office::of(&broker.broker).await;
    let mut client = office.connect().await;
    let creations = vec![
        creation(2, "orders", 3, "User:alice"),
        creation(2, "orders", 3, "User:bob"),
        creation(2, "ord", 4, "User:*"),
        creation(3, "*", 3, "User:alice"),
        creation(2, "orders", 3, "User:alice"),
        // None of these is a rule.
        creation(1, "any type", 3, "User:alice"),
        creation(2, "any pattern", 1, "User:alice"),
        creation(2, "", 3, "User:alice"),
        creation(4, "no cluster", 3, "User:alice"),
        creation(2, "nobody", 3, "alice"),
        AclCreation { host: "a.example".to_owned(), ..creation(2, "a name", 3, "User:alice") },
        AclCreation { host: String::new(), ..creation(2, "nowhere", 3, "User:alice") },
        AclCreation { operation: 1, ..creation(2, "any operation", 3, "User:alice") },
        AclCreation { permission_type: 1, ..creation(2, "any permission", 3, "User:alice") },
    ];
    let created = ask!(client, CreateAcls v 3, CreateAclsRequest { creations });
    let codes: Vec<ErrorCode> = created.results.iter().map(|one| one.error_code).collect();
    assert_eq!(codes[..5], [ErrorCode::NONE; 5]);
    assert_eq!(codes[5..], [ErrorCode::INVALID_REQUEST; 9], "{:?}", created.results);
    let found = |name: &str, count| (name.to_owned(), count);
    let expected = [found("ord", 1), found("orders", 2), found("*", 1)];
    assert_eq!(names(&mut client, all()).await, expected);
    let about = DescribeAclsRequest {
        resource_type_filter: 2,
        resource_name_filter: Some("orders".to_owned()),
        pattern_type_filter: 2,
        ..all()
    };
    assert_eq!(names(&mut client, about).await, [found("ord", 1), found("orders", 2)]);
    let of_bob = DescribeAclsRequest { principal_filter: Some("User:bob".to_owned()), ..all() };
    assert_eq!(names(&mut client, of_bob).await, [found("orders", 1)]);
    let unknown = DescribeAclsRequest { operation: 99, ..all() };
    let refused = ask!(client, DescribeAcls v 3, unknown);
    assert_eq!(refused.error_code, ErrorCode::INVALID_REQUEST);
    let filter = |name: &str| DeleteAclsFilter {
        resource_type_filter: 2,
        resource_name_filter: Some(name.to_owned()),
        pattern_type_filter: 3,
        operation: 1,
        permission_type: 1,
        ..DeleteAclsFilter::default()
    };
    let filters = vec![filter("orders"), filter("absent"), DeleteAclsFilter::default()];
    let deleted = ask!(client, DeleteAcls v 3, DeleteAclsRequest { filters });
    let each: Vec<(ErrorCode, usize)> = deleted
        .filter_results
        .iter()
        .map(|result| (result.error_code, result.matching_acls.len()))
        .collect();
    let (none, invalid) = (ErrorCode::NONE, ErrorCode::INVALID_REQUEST);
    assert_eq!(each, [(none, 2), (none, 0), (invalid, 0)]);
    assert_eq!(names(&mut client, all()).await, [found("ord", 1), found("*", 1)]);
    office.close().await;
}

/// Rules and passwords outlive the broker, however it ends.
#[tokio::test]
async fn rules_and_passwords_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    for restarts in 0..3 {
        let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
        let office = Office::of(&broker).await;
        let mut client = office.connect().await;
        let before = names(&mut client, all()).await;
        let request = DescribeUserScramCredentialsRequest { users: None };
        let users = ask!(client, DescribeUserScramCredentials v 0, request).results;
        assert_eq!((before.len(), users.len()), (restarts, restarts));
        office.allow(&[(ResourceType::Topic, &format!("t{restarts}"), Operation::Read)]).await;
        let user = format!("u{restarts}");
        office.set_password(&user, ScramMechanism::Sha256, "secret").await;
        office.close().await;
        // Not in order: what was answered is on disk.
        drop(client);
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn passwords_are_set_described_and_removed() {
    let broker = TestBroker::start().await;
    let office = Office::of(&broker.broker).await;
    let mut client = office.connect().await;
    let set = |name: &str, mechanism, iterations, salt: &'static [u8]| ScramCredentialUpsertion {
        name: name.to_owned(),
        mechanism,
        iterations,
        salt: Bytes::from_static(salt),
        salted_password: Bytes::from_static(b"salted"),
    };
    let delete =
        |name: &str, mechanism| ScramCredentialDeletion { name: name.to_owned(), mechanism };
    let request = AlterUserScramCredentialsRequest {
        deletions: vec![delete("absent", 1), delete("twice", 1), delete("", 1)],
        upsertions: vec![
            set("alice", 1, 4096, b"salt"),
            set("bob", 2, 16_384, b"salt"),
            set("few", 1, 4095, b"salt"),
            set("many", 1, 16_385, b"salt"),
            set("other", 3, 4096, b"salt"),
            set("twice", 1, 4096, b"salt"),
            set("no salt", 1, 4096, b""),
        ],
    };
    let altered = ask!(client, AlterUserScramCredentials v 0, request);
    let code = |user: &str| {
        let found = altered.results.iter().find(|result| result.user == user);
        found.map(|result| result.error_code)
    };
    let unacceptable = Some(ErrorCode::UNACCEPTABLE_CREDENTIAL);
    assert_eq!(code("alice"), Some(ErrorCode::NONE));
    assert_eq!(code("bob"), Some(ErrorCode::NONE));
    assert_eq!(code("absent"), Some(ErrorCode::RESOURCE_NOT_FOUND));
    assert_eq!(code("twice"), Some(ErrorCode::DUPLICATE_RESOURCE));
    assert_eq!(code("other"), Some(ErrorCode::UNSUPPORTED_SASL_MECHANISM));
    for user in ["", "few", "many", "no salt"] {
        assert_eq!(code(user), unacceptable, "{user}");
    }
    let named = |names: &[&str]| DescribeUserScramCredentialsRequest {
        users: Some(names.iter().map(|name| UserName { name: (*name).to_owned() }).collect()),
    };
    let described = ask!(client, DescribeUserScramCredentials v 0, named(&[]));
    let infos: Vec<(String, Vec<(i8, i32)>)> = described
        .results
        .into_iter()
        .map(|user| {
            let infos = user.credential_infos.iter();
            (user.user, infos.map(|info| (info.mechanism, info.iterations)).collect())
        })
        .collect();
    let expected = [("alice".to_owned(), vec![(1, 4096)]), ("bob".to_owned(), vec![(2, 16_384)])];
    assert_eq!(infos, expected);
    let described =
        ask!(client, DescribeUserScramCredentials v 0, named(&["bob", "absent", "alice", "alice"]));
    let codes: Vec<ErrorCode> = described.results.iter().map(|user| user.error_code).collect();
    let (absent, twice) = (ErrorCode::RESOURCE_NOT_FOUND, ErrorCode::DUPLICATE_RESOURCE);
    assert_eq!(codes, [ErrorCode::NONE, absent, twice]);
    let deletions = vec![delete("alice", 1)];
    let request = AlterUserScramCredentialsRequest { deletions, ..Default::default() };
    ask!(client, AlterUserScramCredentials v 0, request);
    let described = ask!(client, DescribeUserScramCredentials v 0, named(&[]));
    assert_eq!(described.results.len(), 1);
    office.close().await;
}

/// Without an authorizer there are no rules to speak of.
#[tokio::test]
async fn without_an_authorizer_rules_are_disabled() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let disabled = ErrorCode::SECURITY_DISABLED;
    assert_eq!(ask!(client, DescribeAcls v 3, all()).error_code, disabled);
    let creations = vec![creation(2, "t", 3, "User:alice")];
    let created = ask!(client, CreateAcls v 3, CreateAclsRequest { creations });
    assert_eq!(created.results[0].error_code, disabled);
    let filters = vec![DeleteAclsFilter::default()];
    let deleted = ask!(client, DeleteAcls v 3, DeleteAclsRequest { filters });
    assert_eq!(deleted.filter_results[0].error_code, disabled);
}

/// Super users may do anything; where nothing is ruled, the default says who may.
#[tokio::test]
async fn defaults_and_super_users_are_as_they_are_set() {
    let open = TestBroker::with(|_, server| {
        let config = AuthorizerConfig { super_users: Vec::new(), unruled_is_allowed: true };
        server.authorizer = Some(config);
    })
    .await;
    let office = Office::of(&open.broker).await;
    open.topic("t", 1).await;
    let mut client = open.connect().await;
    assert_eq!(put(&mut client, "t", &["a"]).await, 0);
    office.allow(&[(ResourceType::Topic, "t", Operation::Read)]).await;
    let answered = produced(ask!(client, Produce v 9, produce("t", 0, -1, batch(&["b"]))));
    assert_eq!(answered.error_code, ErrorCode::TOPIC_AUTHORIZATION_FAILED, "now it is ruled");
    // A rule for one address is none for others.
    let elsewhere = AclCreation {
        host: "10.1.2.3".to_owned(),
        operation: Operation::Write as i8,
        ..creation(2, "t", 3, "User:*")
    };
    let here = AclCreation { host: "127.0.0.1".to_owned(), ..elsewhere.clone() };
    let mut inside = office.connect().await;
    for (rule, expected) in [
        (elsewhere, ErrorCode::TOPIC_AUTHORIZATION_FAILED),
        (here.clone(), ErrorCode::NONE),
        (
            AclCreation { permission_type: Permission::Deny as i8, ..here },
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ),
    ] {
        let creations = vec![rule];
        ask!(inside, CreateAcls v 3, CreateAclsRequest { creations });
        let answered = produced(ask!(client, Produce v 9, produce("t", 0, -1, batch(&["b"]))));
        assert_eq!(answered.error_code, expected);
    }
    office.close().await;
}

/// Counts the warnings of this thread that tell of rules.
struct Warnings(Arc<AtomicU64>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.fields().field("rules").is_some()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut |field: &Field, value: &dyn Debug| {
            if field.name() == "rules" {
                self.0.store(format!("{value:?}").parse().unwrap(), Ordering::Relaxed);
            }
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn rules_that_are_not_enforced_are_told_of() {
    let told = Arc::new(AtomicU64::new(0));
    let _guard = tracing::subscriber::set_default(Warnings(told.clone()));
    let broker = TestBroker::start().await;
    let office = Office::of(&broker.broker).await;
    let topic = ResourceType::Topic;
    office.allow(&[(topic, "a", Operation::Read), (topic, "b", Operation::Read)]).await;
    let bind = async |authorizer: Option<AuthorizerConfig>| {
        let config = ServerConfig { authorizer, ..ServerConfig::new("127.0.0.1:0") };
        Server::bind(broker.broker.clone(), config).await.unwrap()
    };
    bind(Some(AuthorizerConfig::default())).await;
    assert_eq!(told.load(Ordering::Relaxed), 0);
    bind(None).await;
    assert_eq!(told.load(Ordering::Relaxed), 2);
    office.close().await;
}
