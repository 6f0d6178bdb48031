//! Rules about who may do what, and passwords of users.

use bytes::Bytes;

use super::routing::To;
use super::{Admin, AdminError, check};
use crate::protocol::messages::k29_describe_acls::DescribeAclsRequest;
use crate::protocol::messages::k30_create_acls::{AclCreation, CreateAclsRequest};
use crate::protocol::messages::k31_delete_acls::{DeleteAclsFilter, DeleteAclsRequest};
use crate::protocol::messages::k50_describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, UserName,
};
use crate::protocol::messages::k51_alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use crate::security::acl::{
    Acl, AclFilter, Operation, PatternFilter, PatternType, Permission, ResourceType,
};
use crate::security::scram::{ScramMechanism, random_bytes};

/// Kafka's numbers that stand for all, and for what is about a name.
const ANY: i8 = 1;
const MATCH: i8 = 2;
const SALT_BYTES: usize = 16;

/// A user with its mechanisms and their iterations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub mechanisms: Vec<(ScramMechanism, i32)>,
}

fn number<T: Copy>(one: Option<T>, number: impl Fn(T) -> i8) -> i8 {
    one.map_or(ANY, number)
}

fn pattern(filter: PatternFilter) -> i8 {
    match filter {
        PatternFilter::Any => ANY,
        PatternFilter::Match => MATCH,
        PatternFilter::Only(one) => one as i8,
    }
}

/// A rule by its numbers, where all are known here.
fn acl(
    (resource_type, name, pattern_type): (i8, String, i8),
    (principal, host): (String, String),
    (operation, permission): (i8, i8),
) -> Option<Acl> {
    Some(Acl {
        resource_type: ResourceType::from_i8(resource_type)?,
        name,
        pattern_type: PatternType::from_i8(pattern_type)?,
        principal,
        host,
        operation: Operation::from_i8(operation)?,
        permission: Permission::from_i8(permission)?,
    })
}

impl Admin {
    /// The rules that a filter lets through, in order. Of kinds that are not known here, none.
    pub async fn acls(&self, filter: &AclFilter) -> Result<Vec<Acl>, AdminError> {
        let request = DescribeAclsRequest {
            resource_type_filter: number(filter.resource_type, |one| one as i8),
            resource_name_filter: filter.name.clone(),
            pattern_type_filter: pattern(filter.pattern),
            principal_filter: filter.principal.clone(),
            host_filter: filter.host.clone(),
            operation: number(filter.operation, |one| one as i8),
            permission_type: number(filter.permission, |one| one as i8),
        };
        let response = self.ask(To::Any, 0, request).await?;
        check(response.error_code, response.error_message, "ACLs")?;
        let found = response.resources.into_iter().flat_map(|resource| {
            let (kind, pattern) = (resource.resource_type, resource.pattern_type);
            let name = resource.resource_name;
            resource.acls.into_iter().filter_map(move |one| {
                let who = (one.principal, one.host);
                acl((kind, name.clone(), pattern), who, (one.operation, one.permission_type))
            })
        });
        let mut found: Vec<Acl> = found.collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Adds rules; the first that is refused is told.
    pub async fn create_acls(&self, acls: &[Acl]) -> Result<(), AdminError> {
        let creations = acls.iter().map(|acl| AclCreation {
            resource_type: acl.resource_type as i8,
            resource_name: acl.name.clone(),
            resource_pattern_type: acl.pattern_type as i8,
            principal: acl.principal.clone(),
            host: acl.host.clone(),
            operation: acl.operation as i8,
            permission_type: acl.permission as i8,
        });
        let request = CreateAclsRequest { creations: creations.collect() };
        let response = self.ask(To::Controller, 0, request).await?;
        for (acl, result) in acls.iter().zip(response.results) {
            let what = format!("the rule for {} '{}'", acl.resource_type, acl.name);
            check(result.error_code, result.error_message, &what)?;
        }
        Ok(())
    }

    /// Removes all rules that any of the filters lets through; those that were removed.
    pub async fn delete_acls(&self, filters: &[AclFilter]) -> Result<Vec<Acl>, AdminError> {
        let filters = filters.iter().map(|filter| DeleteAclsFilter {
            resource_type_filter: number(filter.resource_type, |one| one as i8),
            resource_name_filter: filter.name.clone(),
            pattern_type_filter: pattern(filter.pattern),
            principal_filter: filter.principal.clone(),
            host_filter: filter.host.clone(),
            operation: number(filter.operation, |one| one as i8),
            permission_type: number(filter.permission, |one| one as i8),
        });
        let request = DeleteAclsRequest { filters: filters.collect() };
        let response = self.ask(To::Controller, 0, request).await?;
        let mut deleted = Vec::new();
        for result in response.filter_results {
            check(result.error_code, result.error_message, "ACLs")?;
            for one in result.matching_acls {
                check(one.error_code, one.error_message, "a rule")?;
                let pattern = (one.resource_type, one.resource_name, one.pattern_type);
                let who = (one.principal, one.host);
                deleted.extend(acl(pattern, who, (one.operation, one.permission_type)));
            }
        }
        deleted.sort_unstable();
        deleted.dedup();
        Ok(deleted)
    }

    /// All users that have passwords, or one.
    pub async fn users(&self, name: Option<&str>) -> Result<Vec<User>, AdminError> {
        let users = name.map(|name| vec![UserName { name: name.to_owned() }]);
        let request = DescribeUserScramCredentialsRequest { users };
        let response = self.ask(To::Controller, 0, request).await?;
        check(response.error_code, response.error_message, "users")?;
        let mut users = Vec::new();
        for user in response.results {
            check(user.error_code, user.error_message, &format!("user '{}'", user.user))?;
            let mechanisms = user.credential_infos.iter().filter_map(|info| {
                Some((ScramMechanism::from_number(info.mechanism)?, info.iterations))
            });
            users.push(User { name: user.user, mechanisms: mechanisms.collect() });
        }
        users.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(users)
    }

    /// Sets a user's password. It is salted and hashed here: the broker never sees it.
    pub async fn set_password(
        &self,
        name: &str,
        mechanism: ScramMechanism,
        iterations: u32,
        password: &str,
    ) -> Result<(), AdminError> {
        let salt = random_bytes::<SALT_BYTES>();
        let salted = mechanism.salted_password(password.as_bytes(), &salt, iterations);
        let upsertion = ScramCredentialUpsertion {
            name: name.to_owned(),
            mechanism: mechanism.number(),
            iterations: i32::try_from(iterations).unwrap_or(i32::MAX),
            salt: Bytes::copy_from_slice(&salt),
            salted_password: salted.into(),
        };
        let upsertions = vec![upsertion];
        self.alter_users(AlterUserScramCredentialsRequest { upsertions, ..Default::default() })
            .await
    }

    /// Removes a user's password for one mechanism.
    pub async fn delete_password(
        &self,
        name: &str,
        mechanism: ScramMechanism,
    ) -> Result<(), AdminError> {
        let deletion =
            ScramCredentialDeletion { name: name.to_owned(), mechanism: mechanism.number() };
        let deletions = vec![deletion];
        self.alter_users(AlterUserScramCredentialsRequest { deletions, ..Default::default() }).await
    }

    async fn alter_users(
        &self,
        request: AlterUserScramCredentialsRequest,
    ) -> Result<(), AdminError> {
        let response = self.ask(To::Controller, 0, request).await?;
        for result in response.results {
            let what = format!("user '{}'", result.user);
            check(result.error_code, result.error_message, &what)?;
        }
        Ok(())
    }
}
