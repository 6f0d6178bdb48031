//! `kafka-acls`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

use broker::client::admin::Admin;
use broker::security::Principal;
use broker::security::acl::{
    Acl, AclFilter, CLUSTER_NAME, Operation, PatternFilter, PatternType, Permission, ResourceType,
};

use super::options::{Given, Tool, flag, value};
use super::{Error, java};
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-acls",
    about: "This tool helps to manage acls on kafka.",
    example: "kafka-acls --add --allow-principal User:alice --operation Read --topic orders",
    options: &[
        flag("add", "Add ACLs"),
        value("allow-host", "HOST", "From where those of --allow-principal come"),
        value("allow-principal", "TYPE:NAME", "Who may"),
        value("bootstrap-controller", "HOST:PORT", "Taken as --bootstrap-server"),
        flag("cluster", "The cluster itself"),
        flag("consumer", "What a consumer needs: of --topic and --group"),
        value("delegation-token", "TOKEN", "A delegation token"),
        value("deny-host", "HOST", "From where those of --deny-principal come"),
        value("deny-principal", "TYPE:NAME", "Who may not"),
        flag("force", "Do not ask"),
        value("group", "GROUP", "A consumer group"),
        flag("idempotent", "With --producer: idempotent writes too"),
        flag("list", "List ACLs"),
        value("operation", "NAME", "What may be done (default: All)"),
        value("principal", "TYPE:NAME", "With --list: of these alone"),
        flag("producer", "What a producer needs: of --topic"),
        flag("remove", "Remove ACLs"),
        value(
            "resource-pattern-type",
            "TYPE",
            "literal or prefixed; to list and remove, also any and match",
        ),
        value("topic", "TOPIC", "A topic"),
        value("transactional-id", "ID", "A transactional id"),
        value("user-principal", "TYPE:NAME", "A user, of tokens"),
    ],
};

/// A resource as it is named, with its rules.
type Rules = BTreeMap<(ResourceType, String), BTreeSet<Entry>>;

/// A rule without what it is about.
type Entry = (String, String, Operation, Permission);

pub async fn run(given: &Given) -> Result<(), Error> {
    let action = given.one_of(
        &["add", "remove", "list"],
        "Command must include exactly one action: --list, --add, --remove. ",
    )?;
    check(given)?;
    let pattern = pattern(given)?;
    let rules = if action == "list" { Rules::new() } else { rules(given, pattern)? };
    let connection = super::connect(given).await?;
    let admin = &connection.admin;
    let done = match action {
        "add" => add(admin, given, pattern, rules).await,
        "remove" => remove(admin, given, pattern, rules).await,
        _ => list(admin, given, pattern).await,
    };
    connection.close().await;
    done
}

/// What makes no sense together. Whoever denies what a producer needs would deny describing, too.
fn check(given: &Given) -> Result<(), Error> {
    let rules = ["producer", "consumer"];
    for other in [&rules[..], &["allow-host", "allow-principal", "deny-host", "deny-principal"]] {
        other.iter().try_for_each(|other| given.forbid(other, &["list"]))?;
    }
    for other in ["operation", "deny-principal", "deny-host"] {
        given.forbid(other, &rules)?;
    }
    let producer = given.has("producer");
    let consumer_without = !(given.has("topic") && given.has("group"))
        || !producer && (given.has("cluster") || given.has("transactional-id"));
    let refused = if given.has("principal") && !given.has("list") {
        "The --principal option is only available if --list is set"
    } else if producer && !given.has("topic") {
        "With --producer you must specify a --topic"
    } else if given.has("idempotent") && !producer {
        "The --idempotent option is only available if --producer is set"
    } else if given.has("consumer") && consumer_without {
        "With --consumer you must specify a --topic and a --group and no --cluster or \
         --transactional-id option should be specified."
    } else {
        return Ok(());
    };
    Err(Error::usage(refused))
}

fn pattern(given: &Given) -> Result<PatternFilter, Error> {
    let text = given.value("resource-pattern-type").unwrap_or("literal");
    match text.to_ascii_lowercase().as_str() {
        "any" => Ok(PatternFilter::Any),
        "match" => Ok(PatternFilter::Match),
        _ => text.parse().map(PatternFilter::Only).map_err(|_: String| {
            Error::usage(format!(
                "Invalid resource-pattern-type: {text}, expected one of any, match, literal, prefixed"
            ))
        }),
    }
}

/// What is named, by type.
fn resources(given: &Given, pattern: PatternFilter) -> BTreeSet<(ResourceType, String)> {
    let kinds = [
        ("topic", ResourceType::Topic),
        ("group", ResourceType::Group),
        ("transactional-id", ResourceType::TransactionalId),
        ("delegation-token", ResourceType::DelegationToken),
        ("user-principal", ResourceType::User),
    ];
    let named = kinds.into_iter().flat_map(|(option, kind)| {
        given.values(option).map(move |name| (kind, name.trim().to_owned())).collect::<Vec<_>>()
    });
    let is_literal = pattern == PatternFilter::Only(PatternType::Literal);
    let cluster = is_literal && (given.has("cluster") || given.has("idempotent"));
    named.chain(cluster.then(|| (ResourceType::Cluster, CLUSTER_NAME.to_owned()))).collect()
}

fn principals(given: &Given, option: &str) -> Result<Vec<String>, Error> {
    let parsed = given.values(option).map(|text| match text.trim().parse::<Principal>() {
        Ok(principal) => Ok(principal.to_string()),
        Err(_) => Err(Error::usage(format!(
            "expected a string in format principalType:principalName but got {text}"
        ))),
    });
    parsed.collect()
}

/// Rules for whoever is named, of these operations.
fn entries(given: &Given, operations: &[Operation]) -> Result<BTreeSet<Entry>, Error> {
    let mut entries = BTreeSet::new();
    for (option, host, permission) in [
        ("allow-principal", "allow-host", Permission::Allow),
        ("deny-principal", "deny-host", Permission::Deny),
    ] {
        let hosts: Vec<&str> = match given.has(host) {
            true => given.values(host).map(str::trim).collect(),
            false => vec!["*"],
        };
        for principal in principals(given, option)? {
            for operation in operations {
                let each = hosts
                    .iter()
                    .map(|host| (principal.clone(), (*host).to_owned(), *operation, permission));
                entries.extend(each);
            }
        }
    }
    Ok(entries)
}

fn rules(given: &Given, pattern: PatternFilter) -> Result<Rules, Error> {
    use Operation::*;
    let resources = resources(given, pattern);
    if resources.is_empty() {
        return Err(Error::usage(
            "You must provide at least one resource: --topic <topic> or --cluster or --group \
             <group> or --delegation-token <Delegation Token ID>",
        ));
    }
    let mut rules = Rules::new();
    let mut add = |kind: ResourceType, operations: &[Operation]| -> Result<(), Error> {
        for resource in resources.iter().filter(|(other, _)| *other == kind) {
            rules.entry(resource.clone()).or_default().extend(entries(given, operations)?);
        }
        Ok(())
    };
    let (producer, consumer) = (given.has("producer"), given.has("consumer"));
    if producer {
        add(ResourceType::Topic, &[Write, Describe, Create])?;
        add(ResourceType::TransactionalId, &[Write, Describe])?;
        if given.has("idempotent") {
            add(ResourceType::Cluster, &[IdempotentWrite])?;
        }
    }
    if consumer {
        add(ResourceType::Topic, &[Read, Describe])?;
        add(ResourceType::Group, &[Read])?;
    }
    if !producer && !consumer {
        let mut operations: Vec<Operation> = Vec::new();
        for name in given.values("operation") {
            let parsed = name.trim().parse();
            operations.push(parsed.map_err(|error: String| Error::usage(error))?);
        }
        if operations.is_empty() {
            operations.push(All);
        }
        for kind in ResourceType::ALL {
            add(*kind, &operations)?;
        }
        for (kind, _) in rules.keys() {
            check_operations(*kind, &operations)?;
        }
    }
    Ok(rules)
}

/// A rule about what cannot be done would never hold.
fn check_operations(kind: ResourceType, wanted: &[Operation]) -> Result<(), Error> {
    let all = [kind.operations(), &[Operation::All]].concat();
    if wanted.iter().all(|operation| all.contains(operation)) {
        return Ok(());
    }
    let names: Vec<&str> = all.iter().map(|operation| operation.name()).collect();
    let names = names.join(", ");
    Err(Error::usage(format!("ResourceType {kind} only supports operations [{names}]")))
}

async fn add(
    admin: &Admin,
    given: &Given,
    pattern: PatternFilter,
    rules: Rules,
) -> Result<(), Error> {
    let PatternFilter::Only(pattern_type) = pattern else {
        let text = given.value("resource-pattern-type").unwrap_or_default().to_uppercase();
        return Err(Error::usage(format!(
            "A '--resource-pattern-type' value of '{text}' is not valid when adding acls."
        )));
    };
    if rules.is_empty() || rules.values().any(BTreeSet::is_empty) {
        return Err(Error::usage(
            "You must specify one of: --allow-principal, --deny-principal when trying to add ACLs.",
        ));
    }
    for ((resource_type, name), entries) in rules {
        let resource = shown(resource_type, &name, pattern_type.name());
        print(&format!("Adding ACLs for resource `{resource}`: \n {}\n\n", lines(&entries)))?;
        let acls: Vec<Acl> = entries
            .into_iter()
            .map(|(principal, host, operation, permission)| {
                let name = name.clone();
                Acl { resource_type, name, pattern_type, principal, host, operation, permission }
            })
            .collect();
        admin.create_acls(&acls).await.map_err(|error| executing(&error))?;
    }
    Ok(())
}

async fn remove(
    admin: &Admin,
    given: &Given,
    pattern: PatternFilter,
    rules: Rules,
) -> Result<(), Error> {
    for ((resource_type, name), entries) in rules {
        let shown = shown(resource_type, &name, pattern_name(pattern));
        let question = match entries.is_empty() {
            true => format!(
                "Are you sure you want to delete all ACLs for resource filter `{shown}`? (y/n)\n"
            ),
            false => format!(
                "Are you sure you want to remove ACLs: \n {} \n from resource filter `{shown}`? \
                 (y/n)\n",
                lines(&entries)
            ),
        };
        if !given.has("force") && !is_confirmed(&question)? {
            continue;
        }
        let about = AclFilter {
            resource_type: Some(resource_type),
            name: Some(name),
            pattern,
            ..AclFilter::ALL
        };
        let filters: Vec<AclFilter> = match entries.is_empty() {
            true => vec![about],
            false => entries
                .into_iter()
                .map(|(principal, host, operation, permission)| AclFilter {
                    principal: Some(principal),
                    host: Some(host),
                    operation: Some(operation),
                    permission: Some(permission),
                    ..about.clone()
                })
                .collect(),
        };
        admin.delete_acls(&filters).await.map_err(|error| executing(&error))?;
    }
    Ok(())
}

fn is_confirmed(question: &str) -> Result<bool, Error> {
    print(question)?;
    let mut answer = String::new();
    // Without anybody to answer, nothing is removed.
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && answer.trim().eq_ignore_ascii_case("y"))
}

async fn list(admin: &Admin, given: &Given, pattern: PatternFilter) -> Result<(), Error> {
    let mut filters: Vec<AclFilter> = resources(given, pattern)
        .into_iter()
        .map(|(resource_type, name)| AclFilter {
            resource_type: Some(resource_type),
            name: Some(name),
            pattern,
            ..AclFilter::ALL
        })
        .collect();
    if filters.is_empty() {
        filters.push(AclFilter::ALL);
    }
    let mut found: BTreeSet<Acl> = BTreeSet::new();
    for filter in &filters {
        found.extend(admin.acls(filter).await.map_err(|error| executing(&error))?);
    }
    let principals = principals(given, "principal")?;
    let mut text = String::new();
    for principal in &principals {
        text += &format!("ACLs for principal `{principal}`\n");
        text += &resources_with_rules(found.iter().filter(|acl| acl.principal == *principal));
    }
    if principals.is_empty() {
        text = resources_with_rules(found.iter());
    }
    Ok(print(&text)?)
}

fn resources_with_rules<'a>(acls: impl Iterator<Item = &'a Acl>) -> String {
    let mut of: BTreeMap<String, BTreeSet<Entry>> = BTreeMap::new();
    for acl in acls {
        let resource = shown(acl.resource_type, &acl.name, acl.pattern_type.name());
        let entry = (acl.principal.clone(), acl.host.clone(), acl.operation, acl.permission);
        of.entry(resource).or_default().insert(entry);
    }
    let each = of.iter().map(|(resource, entries)| {
        format!("Current ACLs for resource `{resource}`:\n{}\n\n", lines(entries))
    });
    each.collect()
}

fn shown(kind: ResourceType, name: &str, pattern: &str) -> String {
    format!("ResourcePattern(resourceType={kind}, name={name}, patternType={pattern})")
}

fn pattern_name(pattern: PatternFilter) -> &'static str {
    match pattern {
        PatternFilter::Any => "ANY",
        PatternFilter::Match => "MATCH",
        PatternFilter::Only(one) => one.name(),
    }
}

fn lines(entries: &BTreeSet<Entry>) -> String {
    let each = entries.iter().map(|(principal, host, operation, permission)| {
        format!(
            "\t(principal={principal}, host={host}, operation={operation}, \
             permissionType={permission})"
        )
    });
    each.collect::<Vec<String>>().join("\n")
}

fn executing(error: &broker::client::admin::AdminError) -> Error {
    match error.code() {
        None => Error::Failure(error.clone().into()),
        Some(_) => {
            Error::Told(format!("Error while executing ACL command: {}", java::thrown(error)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Rules, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let given = TOOL.parse(&words).unwrap();
        let pattern = pattern(&given).unwrap();
        let rules = check(&given).and_then(|()| rules(&given, pattern));
        rules.map_err(|error| match error {
            Error::Usage(message) => message,
            other => panic!("{other:?}"),
        })
    }

    /// All of these were taken, and made rules that deny describing, or that never hold.
    #[test]
    fn what_makes_no_sense_is_refused_in_kafkas_words() {
        let who = ["--allow-principal", "User:a", "--topic", "t"];
        for (words, expected) in [
            ("--producer --deny-principal User:b", "Option \"[producer]\" can't be used with"),
            ("--consumer --deny-host 1.2.3.4", "Option \"[consumer]\" can't be used with"),
            ("--producer --operation Read", "Option \"[producer]\" can't be used with"),
            ("--consumer", "With --consumer you must specify a --topic and a --group"),
            ("--consumer --group g --cluster", "With --consumer you must specify"),
            ("--idempotent", "The --idempotent option is only available if --producer is set"),
            ("--principal User:a", "The --principal option is only available if --list is set"),
            ("--operation IdempotentWrite", "ResourceType TOPIC only supports operations [READ, "),
            ("--operation Read --transactional-id x", "ResourceType TRANSACTIONAL_ID only"),
            (
                "--operation Write --group g",
                "ResourceType GROUP only supports operations [READ, DESCRIBE, DELETE, \
                 DESCRIBE_CONFIGS, ALTER_CONFIGS, ALL]",
            ),
        ] {
            let words: Vec<&str> = who.into_iter().chain(words.split(' ')).collect();
            let refused = of(&words).unwrap_err();
            assert!(refused.starts_with(expected), "{words:?}: {refused}");
        }
        assert!(of(&[&who[..], &["--operation", "All"]].concat()).is_ok());
        let mut both = who.to_vec();
        both.extend(["--producer", "--consumer", "--group", "g", "--transactional-id", "x"]);
        assert!(of(&both).is_ok());
    }

    #[test]
    fn producers_and_consumers_have_what_they_need() {
        let who = ["--allow-principal", "User:a", "--topic", "t"];
        let words = [&who[..], &["--producer", "--idempotent"]].concat();
        let text: Vec<String> = of(&words)
            .unwrap()
            .iter()
            .map(|((kind, name), entries)| {
                let operations: Vec<&str> =
                    entries.iter().map(|(_, _, operation, _)| operation.name()).collect();
                format!("{kind} {name} {}", operations.join(","))
            })
            .collect();
        let expected = ["TOPIC t WRITE,CREATE,DESCRIBE", "CLUSTER kafka-cluster IDEMPOTENT_WRITE"];
        assert_eq!(text, expected);
        let words = [&who[..], &["--consumer", "--group", "g"]].concat();
        assert_eq!(of(&words).unwrap().values().map(BTreeSet::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn everything_is_the_default_from_everywhere() {
        let rules = of(&["--deny-principal", "User:a", "--deny-host", "1.2.3.4", "--group", "g"]);
        let entries = &rules.unwrap()[&(ResourceType::Group, "g".to_owned())];
        assert_eq!(
            lines(entries),
            "\t(principal=User:a, host=1.2.3.4, operation=ALL, permissionType=DENY)"
        );
        assert!(
            of(&["--allow-principal", "User:a"]).unwrap_err().contains("at least one resource")
        );
        let wrong = of(&["--allow-principal", "a", "--topic", "t"]).unwrap_err();
        assert!(wrong.contains("principalType:principalName"), "{wrong}");
    }
}
