//! Access control lists as Kafka has them: rules about resources, and what follows from them.
//!
//! ```text
//! who (User:alice, User:*) from where (127.0.0.1, *) may (or may not) do what (read, all)
//!     to which (topic, group, …) named so (literal "orders", literal "*", prefixed "ord")
//! ```
//!
//! - A rule that denies wins over all that allow. What has rules, but none for this, is denied;
//!   what has none at all is left to the default.
//! - Who may read, write, delete or alter may describe too; who may alter configs may see them.
//!   Only what allows implies more: to be denied reading is not to be denied describing.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Stands for every name, principal's name or host.
pub const ANY_NAME: &str = "*";
/// The principal that stands for all.
pub const ANY_PRINCIPAL: &str = "User:*";
/// The name of the one resource of type cluster.
pub const CLUSTER_NAME: &str = "kafka-cluster";

/// Declares an enum with Kafka's numbers, and its names in capitals and in words.
macro_rules! numbered {
    ($(#[$about:meta])* $name:ident { $($variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[repr(i8)]
        pub enum $name {
            $( #[serde(rename = $text)] $variant = $number, )+
        }

        impl $name {
            pub const ALL: &[$name] = &[$( $name::$variant, )+];

            /// By Kafka's number.
            pub fn from_i8(number: i8) -> Option<$name> {
                $name::ALL.iter().copied().find(|one| *one as i8 == number)
            }

            /// As Kafka writes it in its messages.
            pub fn name(self) -> &'static str {
                match self {
                    $( $name::$variant => $text, )+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = String;

            /// In any spelling: `TRANSACTIONAL_ID`, `transactional-id`, `TransactionalId`.
            fn from_str(text: &str) -> Result<$name, String> {
                let letters = |text: &str| -> String {
                    let letters = text.chars().filter(char::is_ascii_alphanumeric);
                    letters.map(|letter| letter.to_ascii_lowercase()).collect()
                };
                let wanted = letters(text);
                let found = $name::ALL.iter().copied().find(|one| letters(one.name()) == wanted);
                found.ok_or_else(|| {
                    let names: Vec<&str> = $name::ALL.iter().map(|one| one.name()).collect();
                    format!("'{text}' is none of {}", names.join(", "))
                })
            }
        }
    };
}

numbered! {
    /// What a rule is about.
    ResourceType {
        Topic = 2 "TOPIC",
        Group = 3 "GROUP",
        Cluster = 4 "CLUSTER",
        TransactionalId = 5 "TRANSACTIONAL_ID",
        DelegationToken = 6 "DELEGATION_TOKEN",
        User = 7 "USER",
    }
}

numbered! {
    /// How a rule names resources.
    PatternType {
        Literal = 3 "LITERAL",
        Prefixed = 4 "PREFIXED",
    }
}

numbered! {
    /// What may be done.
    Operation {
        All = 2 "ALL",
        Read = 3 "READ",
        Write = 4 "WRITE",
        Create = 5 "CREATE",
        Delete = 6 "DELETE",
        Alter = 7 "ALTER",
        Describe = 8 "DESCRIBE",
        ClusterAction = 9 "CLUSTER_ACTION",
        DescribeConfigs = 10 "DESCRIBE_CONFIGS",
        AlterConfigs = 11 "ALTER_CONFIGS",
        IdempotentWrite = 12 "IDEMPOTENT_WRITE",
        CreateTokens = 13 "CREATE_TOKENS",
        DescribeTokens = 14 "DESCRIBE_TOKENS",
        TwoPhaseCommit = 15 "TWO_PHASE_COMMIT",
    }
}

numbered! {
    /// Whether it may be done.
    Permission {
        Deny = 2 "DENY",
        Allow = 3 "ALLOW",
    }
}

impl ResourceType {
    /// What may be done to one, as Kafka's `AclEntry` has it; all of that together goes without
    /// saying.
    pub fn operations(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            ResourceType::Topic => {
                &[Read, Write, Create, Describe, Delete, Alter, DescribeConfigs, AlterConfigs]
            }
            ResourceType::Group => &[Read, Describe, Delete, DescribeConfigs, AlterConfigs],
            ResourceType::Cluster => &[
                Create,
                ClusterAction,
                DescribeConfigs,
                AlterConfigs,
                IdempotentWrite,
                Alter,
                Describe,
            ],
            ResourceType::TransactionalId => &[Describe, Write, TwoPhaseCommit],
            ResourceType::DelegationToken => &[Describe],
            ResourceType::User => &[CreateTokens, DescribeTokens],
        }
    }
}

impl Operation {
    /// Whether a rule that allows `self` allows `wanted` too.
    fn implies(self, wanted: Operation) -> bool {
        use Operation::*;
        match wanted {
            _ if self == All || self == wanted => true,
            Describe => matches!(self, Read | Write | Delete | Alter),
            DescribeConfigs => self == AlterConfigs,
            _ => false,
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Acl {
    pub resource_type: ResourceType,
    pub name: String,
    pub pattern_type: PatternType,
    pub principal: String,
    pub host: String,
    pub operation: Operation,
    pub permission: Permission,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub principal: &'a str,
    /// An address as text.
    pub host: &'a str,
}

/// What the rules say of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Denied,
    /// No rule is about this resource, whoever asks for whatever.
    Unruled,
}

impl Acl {
    fn is_about(&self, resource_type: ResourceType, name: &str) -> bool {
        self.resource_type == resource_type
            && match self.pattern_type {
                PatternType::Literal => self.name == name || self.name == ANY_NAME,
                PatternType::Prefixed => name.starts_with(&self.name),
            }
    }

    fn is_of(&self, asker: Asker<'_>) -> bool {
        (self.principal == asker.principal || self.principal == ANY_PRINCIPAL)
            && (self.host == ANY_NAME || is_same_host(&self.host, asker.host))
    }

    fn covers(&self, asker: Asker<'_>, operation: Operation) -> bool {
        let named = match self.permission {
            Permission::Allow => self.operation.implies(operation),
            Permission::Deny => self.operation == Operation::All || self.operation == operation,
        };
        named && self.is_of(asker)
    }
}

/// An address has many spellings: `::1` is `0:0:0:0:0:0:0:1`, `::ffff:10.0.0.1` is `10.0.0.1`.
fn is_same_host(one: &str, other: &str) -> bool {
    let address = |text: &str| text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    one == other || address(one).is_some_and(|one| address(other) == Some(one))
}

/// How [`AclFilter`] looks at patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternFilter {
    Any,
    /// Every pattern that is about the name.
    Match,
    Only(PatternType),
}

/// Which rules are meant; `None` stands for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclFilter {
    pub resource_type: Option<ResourceType>,
    pub name: Option<String>,
    pub pattern: PatternFilter,
    pub principal: Option<String>,
    pub host: Option<String>,
    pub operation: Option<Operation>,
    pub permission: Option<Permission>,
}

impl AclFilter {
    /// All rules.
    pub const ALL: AclFilter = AclFilter {
        resource_type: None,
        name: None,
        pattern: PatternFilter::Any,
        principal: None,
        host: None,
        operation: None,
        permission: None,
    };

    /// The rule that it names, if it leaves nothing open.
    pub fn only(&self) -> Option<Acl> {
        let PatternFilter::Only(pattern_type) = self.pattern else { return None };
        Some(Acl {
            resource_type: self.resource_type?,
            name: self.name.clone()?,
            pattern_type,
            principal: self.principal.clone()?,
            host: self.host.clone()?,
            operation: self.operation?,
            permission: self.permission?,
        })
    }

    pub fn matches(&self, acl: &Acl) -> bool {
        fn is<T: PartialEq>(wanted: &Option<T>, have: &T) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == have)
        }
        let pattern = match (self.pattern, &self.name) {
            (PatternFilter::Only(wanted), _) if wanted != acl.pattern_type => false,
            (_, None) => true,
            (PatternFilter::Match, Some(name)) => acl.is_about(acl.resource_type, name),
            (_, Some(name)) => *name == acl.name,
        };
        pattern
            && is(&self.resource_type, &acl.resource_type)
            && is(&self.principal, &acl.principal)
            && is(&self.host, &acl.host)
            && is(&self.operation, &acl.operation)
            && is(&self.permission, &acl.permission)
    }
}

/// All rules, so that those about a name are found by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acls {
    all: BTreeSet<Acl>,
    by_name: HashMap<(ResourceType, PatternType), ByName>,
}

/// Rules of one kind by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ByName {
    acls: HashMap<String, Vec<Acl>>,
    /// How long names are that prefixes are tried in: only so many look-ups are needed.
    lengths: BTreeSet<usize>,
}

impl FromIterator<Acl> for Acls {
    fn from_iter<I: IntoIterator<Item = Acl>>(acls: I) -> Acls {
        let mut index = Acls { all: acls.into_iter().collect(), ..Acls::default() };
        for acl in &index.all {
            let of = index.by_name.entry((acl.resource_type, acl.pattern_type)).or_default();
            of.lengths.insert(acl.name.len());
            of.acls.entry(acl.name.clone()).or_default().push(acl.clone());
        }
        index
    }
}

impl Acls {
    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Acl> {
        self.all.iter()
    }

    pub fn contains(&self, acl: &Acl) -> bool {
        self.all.contains(acl)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether somebody may do something to a resource.
    pub fn decide(
        &self,
        asker: Asker<'_>,
        operation: Operation,
        resource_type: ResourceType,
        name: &str,
    ) -> Verdict {
        let (mut allowed, mut ruled) = (false, false);
        for acl in self.about(resource_type, name) {
            ruled = true;
            if acl.covers(asker, operation) {
                match acl.permission {
                    Permission::Deny => return Verdict::Denied,
                    Permission::Allow => allowed = true,
                }
            }
        }
        match (allowed, ruled) {
            (true, _) => Verdict::Allowed,
            (false, true) => Verdict::Denied,
            (false, false) => Verdict::Unruled,
        }
    }

    fn about<'a>(
        &'a self,
        resource_type: ResourceType,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Acl> {
        let of = |pattern| self.by_name.get(&(resource_type, pattern));
        let literal = of(PatternType::Literal).into_iter().flat_map(move |of| {
            // A resource that is itself named so has its rules once.
            let any = Some(ANY_NAME).filter(|any| *any != name);
            [Some(name), any].into_iter().flatten().filter_map(|name| of.acls.get(name))
        });
        let prefixed = of(PatternType::Prefixed).into_iter().flat_map(move |of| {
            let lengths = of.lengths.range(..=name.len());
            lengths.filter_map(move |length| of.acls.get(name.get(..*length)?))
        });
        literal.chain(prefixed).flatten()
    }

    /// Whether there can be a resource of that type to which somebody may do something: one
    /// without rules, if `unruled` says that those are open, or one of a rule that no other takes
    /// back whole.
    pub fn decide_any(
        &self,
        asker: Asker<'_>,
        operation: Operation,
        resource_type: ResourceType,
        unruled: bool,
    ) -> bool {
        // A name as good as any, as Kafka has it.
        match self.decide(asker, operation, resource_type, "hardcode") {
            Verdict::Allowed => return true,
            Verdict::Unruled if unruled => return true,
            _ => {}
        }
        // Here only rules about the operation itself count.
        let covers = |acl: &&Acl| {
            let named = acl.operation == Operation::All || acl.operation == operation;
            acl.resource_type == resource_type && named && acl.is_of(asker)
        };
        let (denying, allowing): (Vec<&Acl>, Vec<&Acl>) =
            self.all.iter().filter(covers).partition(|acl| acl.permission == Permission::Deny);
        let takes_back = |deny: &Acl, allow: &Acl| match deny.pattern_type {
            PatternType::Literal if deny.name == ANY_NAME => true,
            PatternType::Literal => {
                allow.pattern_type == PatternType::Literal && allow.name == deny.name
            }
            PatternType::Prefixed => allow.name.starts_with(&deny.name) && allow.name != ANY_NAME,
        };
        allowing.iter().any(|allow| !denying.iter().any(|deny| takes_back(deny, allow)))
    }
}
