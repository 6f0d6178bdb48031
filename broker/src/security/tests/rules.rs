//! The index of rules decides as a walk over all of them does.

use proptest::prelude::*;

use crate::security::acl::*;

/// Few names and askers, so that rules meet.
fn names() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["*", "a", "ab", "abc", "b", "é", "éa", "kafka-cluster"])
        .prop_map(str::to_owned)
}

fn acls() -> impl Strategy<Value = Acl> {
    let kinds = prop::sample::select(&ResourceType::ALL[..3]);
    let patterns = prop::sample::select(PatternType::ALL);
    let principals = prop::sample::select(vec!["User:*", "User:alice", "User:bob"]);
    let hosts = prop::sample::select(vec!["*", "10.0.0.1", "10.0.0.2"]);
    let operations = prop::sample::select(Operation::ALL);
    let permissions = prop::sample::select(Permission::ALL);
    (kinds, names(), patterns, principals, hosts, operations, permissions).prop_map(
        |(resource_type, name, pattern_type, principal, host, operation, permission)| Acl {
            resource_type,
            name,
            pattern_type,
            principal: principal.to_owned(),
            host: host.to_owned(),
            operation,
            permission,
        },
    )
}

/// However the address of a rule is spelt.
#[test]
fn addresses_are_compared_as_such() {
    let rule = |host: &str| Acl {
        resource_type: ResourceType::Topic,
        name: "t".to_owned(),
        pattern_type: PatternType::Literal,
        principal: "User:alice".to_owned(),
        host: host.to_owned(),
        operation: Operation::Read,
        permission: Permission::Deny,
    };
    let holds = |rule_host: &str, host: &str| {
        // With one that allows all, so that only a rule which holds denies.
        let open = Acl { permission: Permission::Allow, ..rule("*") };
        let acls: Acls = [open, rule(rule_host)].into_iter().collect();
        let asker = Asker { principal: "User:alice", host };
        acls.decide(asker, Operation::Read, ResourceType::Topic, "t") == Verdict::Denied
    };
    for (rule_host, host) in [
        ("0:0:0:0:0:0:0:1", "::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("2001:0db8:0:0::0001", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
    ] {
        assert!(holds(rule_host, host), "{rule_host} {host}");
    }
    for (rule_host, host) in [("10.0.0.1", "10.0.0.2"), ("::1", "127.0.0.1"), ("host", "::1")] {
        assert!(!holds(rule_host, host), "{rule_host} {host}");
    }
}

/// What Kafka's documentation says, rule by rule.
fn naive(
    acls: &[Acl],
    asker: Asker<'_>,
    operation: Operation,
    kind: ResourceType,
    name: &str,
) -> Verdict {
    let about: Vec<&Acl> = acls
        .iter()
        .filter(|acl| acl.resource_type == kind)
        .filter(|acl| match acl.pattern_type {
            PatternType::Literal => acl.name == "*" || acl.name == name,
            PatternType::Prefixed => name.starts_with(&acl.name),
        })
        .collect();
    let of_asker = |acl: &&&Acl| {
        ["User:*", asker.principal].contains(&acl.principal.as_str())
            && ["*", asker.host].contains(&acl.host.as_str())
    };
    let denies = |acl: &&Acl| {
        acl.permission == Permission::Deny && [Operation::All, operation].contains(&acl.operation)
    };
    let implied: &[Operation] = match operation {
        Operation::Describe => {
            &[Operation::Read, Operation::Write, Operation::Delete, Operation::Alter]
        }
        Operation::DescribeConfigs => &[Operation::AlterConfigs],
        _ => &[],
    };
    let allows = |acl: &&Acl| {
        acl.permission == Permission::Allow
            && ([Operation::All, operation].contains(&acl.operation)
                || implied.contains(&acl.operation))
    };
    if about.iter().filter(of_asker).any(|acl| denies(acl)) {
        Verdict::Denied
    } else if about.iter().filter(of_asker).any(|acl| allows(acl)) {
        Verdict::Allowed
    } else if about.is_empty() {
        Verdict::Unruled
    } else {
        Verdict::Denied
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn rules_are_found_by_name(
        acls in prop::collection::vec(acls(), 0..12),
        name in prop::sample::select(vec!["a", "ab", "abcd", "b", "c", "", "éab", "*"]),
        operation in prop::sample::select(Operation::ALL),
        kind in prop::sample::select(&ResourceType::ALL[..3]),
        host in prop::sample::select(vec!["10.0.0.1", "10.0.0.3"]),
    ) {
        let asker = Asker { principal: "User:alice", host };
        let index: Acls = acls.iter().cloned().collect();
        let expected = naive(&acls, asker, operation, kind, name);
        prop_assert_eq!(index.decide(asker, operation, kind, name), expected);
    }

    /// If any of some names is permitted then there is one, and so it is said; the other way round
    /// it holds wherever nothing is denied.
    #[test]
    fn what_is_permitted_somewhere_is_permitted_for_some(
        acls in prop::collection::vec(acls(), 0..8),
        operation in prop::sample::select(vec![Operation::Write, Operation::Read]),
    ) {
        let asker = Asker { principal: "User:alice", host: "10.0.0.1" };
        let index: Acls = acls.iter().cloned().collect();
        let kind = ResourceType::Topic;
        let names = acls.iter().map(|acl| acl.name.clone() + "-").chain(["hardcode".to_owned()]);
        let names = names.chain(acls.iter().map(|acl| acl.name.clone()));
        let somewhere = names.filter(|name| name != "*").any(|name| {
            index.decide(asker, operation, kind, &name) == Verdict::Allowed
        });
        let said = index.decide_any(asker, operation, kind, false);
        if acls.iter().all(|acl| acl.permission == Permission::Allow) {
            let wild = index.iter().any(|acl| acl.resource_type == kind && acl.name == "*");
            prop_assert!(said == somewhere || wild, "{said} {somewhere}");
        } else if !said {
            let denied_all = |acl: &Acl| acl.permission == Permission::Deny;
            prop_assert!(!somewhere || index.iter().any(denied_all));
        }
    }

    #[test]
    fn a_filter_made_of_a_rule_finds_it(acl in acls(), others in prop::collection::vec(acls(), 0..8)) {
        let exact = AclFilter {
            resource_type: Some(acl.resource_type),
            name: Some(acl.name.clone()),
            pattern: PatternFilter::Only(acl.pattern_type),
            principal: Some(acl.principal.clone()),
            host: Some(acl.host.clone()),
            operation: Some(acl.operation),
            permission: Some(acl.permission),
        };
        let all: Acls = others.into_iter().chain([acl.clone()]).collect();
        let found: Vec<&Acl> = all.iter().filter(|one| exact.matches(one)).collect();
        prop_assert_eq!(found, [&acl]);
        prop_assert!(all.iter().all(|one| AclFilter::ALL.matches(one)));
    }
}

fn acl(pattern_type: PatternType, name: &str, operation: Operation, permission: Permission) -> Acl {
    Acl {
        resource_type: ResourceType::Topic,
        name: name.to_owned(),
        pattern_type,
        principal: "User:alice".to_owned(),
        host: "*".to_owned(),
        operation,
        permission,
    }
}

#[test]
fn a_match_is_every_pattern_about_a_name() {
    use PatternType::{Literal, Prefixed};
    let filter =
        |pattern, name: &str| AclFilter { pattern, name: Some(name.to_owned()), ..AclFilter::ALL };
    let rule = |pattern_type, name| acl(pattern_type, name, Operation::Read, Permission::Allow);
    let cases = [
        (PatternFilter::Match, "abc", rule(Prefixed, "ab"), true),
        (PatternFilter::Match, "abc", rule(Literal, "*"), true),
        (PatternFilter::Match, "abc", rule(Literal, "abc"), true),
        (PatternFilter::Match, "abc", rule(Literal, "ab"), false),
        (PatternFilter::Any, "ab", rule(Prefixed, "ab"), true),
        (PatternFilter::Any, "abc", rule(Prefixed, "ab"), false),
        (PatternFilter::Any, "abc", rule(Literal, "*"), false),
        (PatternFilter::Only(Literal), "ab", rule(Prefixed, "ab"), false),
        (PatternFilter::Only(Prefixed), "ab", rule(Prefixed, "ab"), true),
    ];
    for (pattern, name, rule, expected) in cases {
        assert_eq!(filter(pattern, name).matches(&rule), expected, "{pattern:?} {name} {rule:?}");
    }
}

#[test]
fn a_permission_counts_somewhere_only_where_it_is_not_taken_back() {
    use Permission::{Allow, Deny};
    let asker = Asker { principal: "User:alice", host: "::1" };
    let any = |rules: &[(PatternType, &str, Permission)], unruled| {
        let rules = rules
            .iter()
            .map(|(pattern, name, permission)| acl(*pattern, name, Operation::Write, *permission));
        let index: Acls = rules.collect();
        index.decide_any(asker, Operation::Write, ResourceType::Topic, unruled)
    };
    let (literal, prefixed) = (PatternType::Literal, PatternType::Prefixed);
    assert!(!any(&[], false));
    assert!(any(&[], true));
    assert!(any(&[(literal, "a", Allow)], false));
    assert!(!any(&[(literal, "a", Allow), (literal, "a", Deny)], false));
    assert!(!any(&[(literal, "ab", Allow), (prefixed, "a", Deny)], false));
    assert!(any(&[(prefixed, "a", Allow), (prefixed, "ab", Deny)], false));
    assert!(any(&[(literal, "*", Allow), (prefixed, "ab", Deny)], false));
    assert!(!any(&[(literal, "*", Deny), (prefixed, "ab", Allow)], true));
    assert!(any(&[(literal, "a", Deny)], true));
}

#[test]
fn names_are_kafkas_in_any_spelling() {
    for text in ["TRANSACTIONAL_ID", "transactional-id", "TransactionalId", "transactionalid"] {
        assert_eq!(text.parse(), Ok(ResourceType::TransactionalId));
    }
    assert_eq!("Describe-Configs".parse(), Ok(Operation::DescribeConfigs));
    assert!("readd".parse::<Operation>().unwrap_err().contains("'readd' is none of ALL, READ"));
    assert_eq!(Operation::from_i8(12), Some(Operation::IdempotentWrite));
    assert_eq!(Permission::from_i8(1), None);
}
