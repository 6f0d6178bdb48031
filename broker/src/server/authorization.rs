//! What a client may do, and a line for each thing that it may not (`millstream::audit`).

use std::sync::Arc;

use super::handlers::Call;
use crate::protocol::ApiKey;
use crate::security::Principal;
use crate::security::acl::{Asker, CLUSTER_NAME, Operation, ResourceType, Verdict};
use crate::security::audit::{self, AuditLines};
use crate::security::store::SecurityStore;

/// Who decides what clients may do.
#[derive(Clone, Debug, Default)]
pub struct AuthorizerConfig {
    /// `super.users`, who may do anything.
    pub super_users: Vec<Principal>,
    /// `allow.everyone.if.no.acl.found`
    pub unruled_is_allowed: bool,
}

/// Who asks, as all requests of a connection have it.
#[derive(Debug)]
pub struct Identity {
    pub principal: Principal,
    /// The address as text, without the slash that Kafka puts before it elsewhere.
    pub host: String,
}

/// Decides by the rules as they are now.
#[derive(Debug)]
pub struct Authorizer {
    config: AuthorizerConfig,
    store: Arc<SecurityStore>,
}

impl Authorizer {
    pub fn new(config: AuthorizerConfig, store: Arc<SecurityStore>) -> Authorizer {
        Authorizer { config, store }
    }

    fn is_super(&self, principal: &Principal) -> bool {
        self.config.super_users.contains(principal)
    }

    fn allows(
        &self,
        identity: &Identity,
        operation: Operation,
        resource_type: ResourceType,
        name: &str,
    ) -> bool {
        if self.is_super(&identity.principal) {
            return true;
        }
        let acls = &self.store.contents().acls;
        match acls.decide(identity.asker(), operation, resource_type, name) {
            Verdict::Allowed => true,
            Verdict::Denied => false,
            Verdict::Unruled => self.config.unruled_is_allowed,
        }
    }

    fn allows_any(
        &self,
        identity: &Identity,
        operation: Operation,
        resource_type: ResourceType,
    ) -> bool {
        let acls = &self.store.contents().acls;
        let unruled = self.config.unruled_is_allowed;
        self.is_super(&identity.principal)
            || acls.decide_any(identity.asker(), operation, resource_type, unruled)
    }
}

impl Identity {
    fn asker(&self) -> Asker<'_> {
        Asker { principal: self.principal.as_str(), host: &self.host }
    }
}

/// Tells of what was denied.
#[derive(Debug, Default)]
pub struct Audit(AuditLines);

impl Audit {
    /// Tells how many lines were left out also when none comes after them.
    pub async fn tell_left_out(&self) {
        self.0.tell_left_out().await;
    }

    fn denied(
        &self,
        identity: &Identity,
        api: ApiKey,
        operation: Operation,
        resource_type: ResourceType,
        name: &str,
    ) {
        if !self.0.may_tell() {
            return;
        }
        let (name, principal) = (audit::shown(name), audit::shown(identity.principal.as_str()));
        // Quoted: a name may have line ends, which are no ends of lines here.
        tracing::warn!(target: "millstream::audit", ?principal, host = identity.host, %api,
            %operation, %resource_type, ?name, "denied");
    }

    /// Tells of a client that did not become known.
    pub fn not_authenticated(&self, host: &str, listener: &str, reason: &str) {
        if self.0.may_tell() {
            let reason: String = reason.chars().take(2 * audit::NAME_CHARACTERS_MAX).collect();
            tracing::warn!(target: "millstream::audit", host, listener, reason,
                "refused a client");
        }
    }
}

/// Asking what the client of a call may do. Where nobody decides, it may do everything.
impl Call {
    /// Whether it may; if it may not, the audit hears of it.
    pub fn may(&self, operation: Operation, resource_type: ResourceType, name: &str) -> bool {
        let may = self.may_quietly(operation, resource_type, name);
        if !may {
            self.broker().metrics().denied.inc();
            self.shared.audit.denied(&self.identity, self.api, operation, resource_type, name);
        }
        may
    }

    /// Whether it may, where that is no more than a choice of what to show.
    pub fn may_quietly(
        &self,
        operation: Operation,
        resource_type: ResourceType,
        name: &str,
    ) -> bool {
        let Some(authorizer) = &self.shared.authorizer else { return true };
        authorizer.allows(&self.identity, operation, resource_type, name)
    }

    pub fn may_on_topic(&self, operation: Operation, name: &str) -> bool {
        self.may(operation, ResourceType::Topic, name)
    }

    pub fn may_on_group(&self, operation: Operation, name: &str) -> bool {
        self.may(operation, ResourceType::Group, name)
    }

    pub fn may_on_transactional_id(&self, operation: Operation, id: &str) -> bool {
        self.may(operation, ResourceType::TransactionalId, id)
    }

    pub fn may_on_cluster(&self, operation: Operation) -> bool {
        self.may(operation, ResourceType::Cluster, CLUSTER_NAME)
    }

    pub fn may_on_cluster_quietly(&self, operation: Operation) -> bool {
        self.may_quietly(operation, ResourceType::Cluster, CLUSTER_NAME)
    }

    /// Whether there can be a resource of the type to which it may do that.
    pub fn may_on_any(&self, operation: Operation, resource_type: ResourceType) -> bool {
        let Some(authorizer) = &self.shared.authorizer else { return true };
        authorizer.allows_any(&self.identity, operation, resource_type)
    }

    /// Whether rules are kept to at all.
    pub fn has_rules(&self) -> bool {
        self.shared.authorizer.is_some()
    }

    /// What it may do, as Kafka's bit set.
    pub fn operations(&self, resource_type: ResourceType, name: &str) -> i32 {
        let all = resource_type.operations().iter();
        let permitted = all.filter(|operation| self.may_quietly(**operation, resource_type, name));
        permitted.fold(0, |set, operation| set | 1 << (*operation as i8))
    }

    /// The same of the cluster, which whoever may not describe it is not told.
    pub fn cluster_operations(&self) -> i32 {
        match self.may_on_cluster(Operation::Describe) {
            true => self.operations(ResourceType::Cluster, CLUSTER_NAME),
            false => 0,
        }
    }
}
