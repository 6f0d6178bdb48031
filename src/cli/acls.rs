//! `millstream acls`: who may do what.

use broker::client::admin::Admin;
use broker::security::Principal;
use broker::security::acl::{
    Acl, AclFilter, CLUSTER_NAME, Operation, PatternFilter, PatternType, Permission, ResourceType,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::stdout::{print, print_json};
use super::{BrokerChoice, Failure, connection};
use crate::render::table::{Table, plural};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream acls list
  millstream acls add --principal User:alice --operation read --topic orders
  millstream acls add --principal User:alice --operation read --group etl- --prefixed
  millstream acls remove --principal User:alice

Rules hold once a broker has an authorizer: authorizer.class.name in its server.properties, with
super.users. `kafka-acls` takes Kafka's own flags.")]
pub struct AclsArgs {
    #[command(subcommand)]
    command: AclsCommand,
}

#[derive(Debug, Subcommand)]
enum AclsCommand {
    /// Show rules, all or some
    #[command(after_help = "Example:\n  millstream acls list --topic orders")]
    List {
        #[command(flatten)]
        some: Rule,
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object per rule
        #[arg(long)]
        json: bool,
    },
    /// Add rules: one for each operation and resource
    #[command(after_help = "Example:
  millstream acls add --principal User:alice --operation write --operation create --topic orders")]
    Add {
        #[command(flatten)]
        rule: Rule,
        #[command(flatten)]
        broker: BrokerChoice,
    },
    /// Remove the rules that fit all that is given
    #[command(
        after_help = "Example:\n  millstream acls remove --principal User:alice --topic orders"
    )]
    Remove {
        #[command(flatten)]
        some: Rule,
        #[command(flatten)]
        broker: BrokerChoice,
    },
}

/// What rules are about.
#[derive(Args, Debug)]
struct Rule {
    /// Who, such as User:alice; User:* is everybody
    #[arg(long, value_name = "TYPE:NAME")]
    principal: Option<Principal>,
    /// From this address alone
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// read, write, create, delete, alter, describe, describe-configs, alter-configs,
    /// cluster-action, idempotent-write or all; may be repeated
    #[arg(long, value_name = "NAME")]
    operation: Vec<Operation>,
    /// A topic; * is every one; may be repeated
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// A consumer group
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// A transactional id
    #[arg(long, value_name = "ID")]
    transactional_id: Vec<String>,
    /// The cluster as a whole
    #[arg(long)]
    cluster: bool,
    /// Names are beginnings of names
    #[arg(long)]
    prefixed: bool,
    /// Deny rather than allow
    #[arg(long)]
    deny: bool,
}

impl Rule {
    /// What is named, each with its type.
    fn resources(&self) -> Vec<(ResourceType, String)> {
        let of = |kind: ResourceType, names: &[String]| {
            names.iter().map(|name| (kind, name.clone())).collect::<Vec<_>>()
        };
        let cluster = self.cluster.then(|| (ResourceType::Cluster, CLUSTER_NAME.to_owned()));
        [
            of(ResourceType::Topic, &self.topic),
            of(ResourceType::Group, &self.group),
            of(ResourceType::TransactionalId, &self.transactional_id),
            cluster.into_iter().collect(),
        ]
        .concat()
    }

    fn acls(&self) -> Result<Vec<Acl>, Failure> {
        let missing = |what: &str, help: &str| Failure::usage(what).with_help(help);
        let Some(principal) = &self.principal else {
            return Err(missing("nobody is named", "give --principal User:NAME"));
        };
        if self.operation.is_empty() {
            return Err(missing("no operation is named", "give --operation read, or another"));
        }
        let resources = self.resources();
        if resources.is_empty() {
            let help = "give --topic, --group, --transactional-id or --cluster";
            return Err(missing("no resource is named", help));
        }
        if self.cluster && self.prefixed {
            return Err(missing("the cluster has no prefix", "add it in a rule of its own"));
        }
        let pattern = if self.prefixed { PatternType::Prefixed } else { PatternType::Literal };
        let each = resources.iter().flat_map(|(kind, name)| {
            self.operation.iter().map(move |operation| Acl {
                resource_type: *kind,
                name: name.clone(),
                pattern_type: pattern,
                principal: principal.to_string(),
                host: self.host.clone().unwrap_or_else(|| "*".to_owned()),
                operation: *operation,
                permission: if self.deny { Permission::Deny } else { Permission::Allow },
            })
        });
        Ok(each.collect())
    }

    fn filters(&self) -> Vec<AclFilter> {
        let resources = self.resources().into_iter();
        let mut resources: Vec<_> =
            resources.map(|(kind, name)| (Some(kind), Some(name))).collect();
        if resources.is_empty() {
            resources.push((None, None));
        }
        let mut operations: Vec<Option<Operation>> =
            self.operation.iter().copied().map(Some).collect();
        if operations.is_empty() {
            operations.push(None);
        }
        let prefixed = PatternFilter::Only(PatternType::Prefixed);
        let pattern = if self.prefixed { prefixed } else { PatternFilter::Any };
        let each = resources.into_iter().flat_map(|(resource_type, name)| {
            let base = AclFilter {
                resource_type,
                name,
                pattern,
                principal: self.principal.as_ref().map(Principal::to_string),
                host: self.host.clone(),
                operation: None,
                permission: self.deny.then_some(Permission::Deny),
            };
            operations
                .iter()
                .map(|operation| AclFilter { operation: *operation, ..base.clone() })
                .collect::<Vec<_>>()
        });
        each.collect()
    }
}

pub async fn acls(args: AclsArgs) -> Result<(), Failure> {
    let (AclsCommand::List { broker, .. }
    | AclsCommand::Add { broker, .. }
    | AclsCommand::Remove { broker, .. }) = &args.command;
    let connection = connection::open_office(broker).await?;
    let done = act(&connection.admin, args.command).await;
    connection.close().await;
    done
}

async fn act(admin: &Admin, command: AclsCommand) -> Result<(), Failure> {
    match command {
        AclsCommand::List { some, json, .. } => {
            let mut found = Vec::new();
            for filter in some.filters() {
                found.extend(admin.acls(&filter).await?);
            }
            found.sort_unstable();
            found.dedup();
            list(&found, json)
        }
        AclsCommand::Add { rule, .. } => {
            let acls = rule.acls()?;
            admin.create_acls(&acls).await?;
            eprintln!("added {}", plural(acls.len() as i64, "rule"));
            Ok(())
        }
        AclsCommand::Remove { some, .. } => {
            let filters = some.filters();
            if filters == [AclFilter::ALL] {
                return Err(Failure::usage(
                    "nothing is named, and all rules are too many to remove",
                )
                .with_help("give --principal, --topic or another; --principal User:* is one"));
            }
            let removed = admin.delete_acls(&filters).await?;
            eprintln!("removed {}", plural(removed.len() as i64, "rule"));
            Ok(())
        }
    }
}

fn list(acls: &[Acl], json: bool) -> Result<(), Failure> {
    if json {
        let value = |acl: &Acl| {
            json!({ "resource_type": acl.resource_type.name(), "name": acl.name,
                    "pattern_type": acl.pattern_type.name(), "principal": acl.principal,
                    "host": acl.host, "operation": acl.operation.name(),
                    "permission": acl.permission.name() })
        };
        return print_json(&acls.iter().map(value).collect::<Vec<Value>>());
    }
    if acls.is_empty() {
        eprintln!("there are no such rules");
        return Ok(());
    }
    let words = |name: &str| name.to_lowercase().replace('_', "-");
    let row = |acl: &Acl| {
        let name = match acl.pattern_type {
            PatternType::Literal => acl.name.clone(),
            PatternType::Prefixed => format!("{}…", acl.name),
        };
        vec![
            words(acl.resource_type.name()),
            name,
            acl.principal.clone(),
            acl.host.clone(),
            words(acl.permission.name()),
            words(acl.operation.name()),
        ]
    };
    let rows: Vec<Vec<String>> = acls.iter().map(row).collect();
    let columns = ["type", "name", "principal", "host", "permission", "operation"];
    let mut table = Table::new(columns.map(|name| (name, false)));
    print(&table.lines(&rows))
}
