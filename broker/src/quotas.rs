//! Client quotas: how much users, clients and addresses may have of the broker (KIP-13, KIP-124,
//! KIP-546, KIP-599, KIP-612). The rules alone; `server::throttle` measures by them.
//!
//! ```text
//! of a user and a client, the first that there is:
//!   user + client ─► user + other clients ─► user ─► other users + client
//!     ─► other users + other clients ─► other users ─► client ─► other clients
//! ```
//!
//! All to whom one rule applies as one share it: a rule for a user holds for all its clients
//! together, one for other clients for each of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Whom a rule names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Who {
    #[serde(rename = "default")]
    Others,
    #[serde(untagged)]
    Named { name: String },
}

impl Who {
    /// As requests have it: null stands for all others.
    pub fn new(name: Option<&str>) -> Who {
        name.map_or(Who::Others, |name| Who::Named { name: name.to_owned() })
    }

    pub fn name(&self) -> Option<&str> {
        match self {
            Who::Others => None,
            Who::Named { name } => Some(name),
        }
    }
}

/// To whom a rule applies: a user, a client, both, or an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Who>,
    #[serde(default, rename = "client-id", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Who>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Who>,
}

/// Kafka's names for the parts of an entity.
pub const USER: &str = "user";
pub const CLIENT_ID: &str = "client-id";
pub const IP: &str = "ip";

impl Entity {
    pub fn part(&self, kind: &str) -> Option<&Who> {
        match kind {
            USER => self.user.as_ref(),
            CLIENT_ID => self.client_id.as_ref(),
            IP => self.ip.as_ref(),
            _ => None,
        }
    }

    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Who)> {
        [USER, CLIENT_ID, IP].into_iter().filter_map(|kind| Some((kind, self.part(kind)?)))
    }

    /// Sets a part; whether there is such a one. Of an address there is one spelling.
    pub fn set(&mut self, kind: &str, mut who: Who) -> bool {
        if let (IP, Who::Named { name }) = (kind, &mut who)
            && let Ok(address) = name.parse::<IpAddr>()
        {
            *name = address.to_canonical().to_string();
        }
        let part = match kind {
            USER => &mut self.user,
            CLIENT_ID => &mut self.client_id,
            IP => &mut self.ip,
            _ => return false,
        };
        *part = Some(who);
        true
    }

    /// Whether rules can be about it. The error is a reason to be read by people.
    pub fn check(&self) -> Result<(), String> {
        match (&self.user, &self.client_id, &self.ip) {
            // Clients have addresses and no names: a rule for a name would not hold when it comes
            // to stand for another address.
            (None, None, Some(Who::Named { name })) => match name.parse::<IpAddr>() {
                Ok(_) => Ok(()),
                Err(_) => Err(format!("{name} is not a valid IP; host names are not resolved")),
            },
            (None, None, Some(Who::Others)) => Ok(()),
            (_, _, None) if self.user.is_some() || self.client_id.is_some() => Ok(()),
            _ => Err("Invalid empty client quota entity".to_owned()),
        }
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    ProducerByteRate,
    ConsumerByteRate,
    RequestPercentage,
    ControllerMutationRate,
    ConnectionCreationRate,
}

impl Quota {
    pub const ALL: [Quota; 5] = [
        Quota::ProducerByteRate,
        Quota::ConsumerByteRate,
        Quota::RequestPercentage,
        Quota::ControllerMutationRate,
        Quota::ConnectionCreationRate,
    ];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Quota::ProducerByteRate => "producer_byte_rate",
            Quota::ConsumerByteRate => "consumer_byte_rate",
            Quota::RequestPercentage => "request_percentage",
            Quota::ControllerMutationRate => "controller_mutation_rate",
            Quota::ConnectionCreationRate => "connection_creation_rate",
        }
    }

    /// By its name, where it can be set for such an entity.
    pub fn find(name: &str, entity: &Entity) -> Option<Quota> {
        let is_fitting =
            |quota: &Quota| (*quota == Quota::ConnectionCreationRate) == entity.ip.is_some();
        Quota::ALL.into_iter().find(|quota| quota.name() == name).filter(is_fitting)
    }

    fn is_whole(self) -> bool {
        !matches!(self, Quota::RequestPercentage | Quota::ControllerMutationRate)
    }

    /// Whether it can have a value. The error is a reason to be read by people.
    pub fn check(self, value: f64) -> Result<(), String> {
        let name = self.name();
        if value.is_nan() || value <= 0.0 {
            return Err(format!("Quota {name} must be greater than 0"));
        }
        // Kafka's tolerance: what was a whole number as text may not be one as a float.
        let max = match self {
            Quota::ConnectionCreationRate => f64::from(i32::MAX),
            _ => i64::MAX as f64,
        };
        if self.is_whole() && ((value + 1e-6).floor() - value).abs() > 1e-6 || value > max {
            let kind = if max > f64::from(i32::MAX) { "a Long" } else { "an Integer" };
            return Err(format!("Configuration {name} must be {kind} value"));
        }
        Ok(())
    }
}

/// Whose use is added up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sharers {
    /// Empty: of all users.
    pub user: String,
    /// Empty: of all clients.
    pub client_id: String,
}

/// What rules are written as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rule {
    #[serde(flatten)]
    entity: Entity,
    quotas: BTreeMap<Quota, f64>,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Rule>", into = "Vec<Rule>")]
pub struct Quotas {
    rules: BTreeMap<Entity, BTreeMap<Quota, f64>>,
}

impl Eq for Quotas {}

impl From<Vec<Rule>> for Quotas {
    fn from(rules: Vec<Rule>) -> Quotas {
        Quotas { rules: rules.into_iter().map(|rule| (rule.entity, rule.quotas)).collect() }
    }
}

impl From<Quotas> for Vec<Rule> {
    fn from(quotas: Quotas) -> Vec<Rule> {
        quotas.rules.into_iter().map(|(entity, quotas)| Rule { entity, quotas }).collect()
    }
}

impl Quotas {
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Entity, &BTreeMap<Quota, f64>)> {
        self.rules.iter()
    }

    /// Sets a quota, or takes it away.
    pub fn set(&mut self, entity: &Entity, quota: Quota, value: Option<f64>) {
        let of = self.rules.entry(entity.clone()).or_default();
        match value {
            Some(value) => _ = of.insert(quota, value),
            None => _ = of.remove(&quota),
        }
        if of.is_empty() {
            self.rules.remove(entity);
        }
    }

    fn get(&self, entity: &Entity, quota: Quota) -> Option<f64> {
        self.rules.get(entity)?.get(&quota).copied()
    }

    /// What a client of a user may have, and with whom it shares that.
    pub fn of_client(&self, quota: Quota, user: &str, client_id: &str) -> Option<(f64, Sharers)> {
        if self.rules.is_empty() {
            return None;
        }
        let (this_user, this_client) = (Who::new(Some(user)), Who::new(Some(client_id)));
        let (this_user, this_client) = (Some(this_user), Some(this_client));
        let (others, none) = (Some(Who::Others), None);
        let in_order: [(&Option<Who>, &Option<Who>); 8] = [
            (&this_user, &this_client),
            (&this_user, &others),
            (&this_user, &none),
            (&others, &this_client),
            (&others, &others),
            (&others, &none),
            (&none, &this_client),
            (&none, &others),
        ];
        in_order.into_iter().find_map(|(of_user, of_client)| {
            let entity = Entity { user: of_user.clone(), client_id: of_client.clone(), ip: None };
            let value = self.get(&entity, quota)?;
            let named = |part: &Option<Who>, name: &str| match part {
                Some(_) => name.to_owned(),
                None => String::new(),
            };
            let user = named(of_user, user);
            Some((value, Sharers { user, client_id: named(of_client, client_id) }))
        })
    }

    /// What an address may have.
    pub fn of_address(&self, quota: Quota, address: IpAddr) -> Option<f64> {
        let of = |who| self.get(&Entity { ip: Some(who), ..Entity::default() }, quota);
        of(Who::new(Some(&address.to_canonical().to_string()))).or_else(|| of(Who::Others))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entity(user: Option<&str>, client_id: Option<&str>) -> Entity {
        let who = |name: &str| match name {
            "*" => Who::Others,
            name => Who::new(Some(name)),
        };
        Entity { user: user.map(who), client_id: client_id.map(who), ip: None }
    }

    #[test]
    fn the_nearest_rule_holds_and_says_who_shares_it() {
        const QUOTA: Quota = Quota::ProducerByteRate;
        // From the last to the first in order.
        let rules = [
            (None, Some("*"), ("", "c")),
            (None, Some("c"), ("", "c")),
            (Some("*"), None, ("u", "")),
            (Some("*"), Some("*"), ("u", "c")),
            (Some("*"), Some("c"), ("u", "c")),
            (Some("u"), None, ("u", "")),
            (Some("u"), Some("*"), ("u", "c")),
            (Some("u"), Some("c"), ("u", "c")),
        ];
        let mut quotas = Quotas::default();
        assert_eq!(quotas.of_client(QUOTA, "u", "c"), None);
        for (at, (user, client_id, shared)) in rules.into_iter().enumerate() {
            quotas.set(&entity(user, client_id), QUOTA, Some(at as f64 + 1.0));
            let (value, sharers) = quotas.of_client(QUOTA, "u", "c").unwrap();
            assert_eq!(value, at as f64 + 1.0);
            assert_eq!((sharers.user.as_str(), sharers.client_id.as_str()), shared, "{at}");
            assert_eq!(quotas.of_client(Quota::ConsumerByteRate, "u", "c"), None);
        }
        let shared_by = |user, client| quotas.of_client(QUOTA, user, client).unwrap();
        assert_eq!(shared_by("x", "y").0, 4.0);
        assert_eq!(shared_by("u", "y").0, 7.0);
        // Nobody has a name that stands for others.
        assert_eq!(shared_by("*", "*").0, 4.0);
        for (user, client_id, _) in rules {
            quotas.set(&entity(user, client_id), QUOTA, None);
        }
        assert!(quotas.is_empty(), "nothing is left of what was taken away");
    }

    #[test]
    fn addresses_have_their_own_or_that_of_others() {
        const QUOTA: Quota = Quota::ConnectionCreationRate;
        let of = |who| Entity { ip: Some(who), ..Entity::default() };
        let mut quotas = Quotas::default();
        quotas.set(&of(Who::new(Some("10.0.0.1"))), QUOTA, Some(1.0));
        let rate = |quotas: &Quotas, text: &str| quotas.of_address(QUOTA, text.parse().unwrap());
        assert_eq!(rate(&quotas, "10.0.0.1"), Some(1.0));
        assert_eq!(rate(&quotas, "::ffff:10.0.0.1"), Some(1.0));
        assert_eq!(rate(&quotas, "10.0.0.2"), None);
        quotas.set(&of(Who::Others), QUOTA, Some(2.0));
        assert_eq!(rate(&quotas, "10.0.0.2"), Some(2.0));
    }

    #[test]
    fn entities_and_values_are_checked() {
        let ip = |name| Entity { ip: Some(Who::new(name)), ..Entity::default() };
        assert!(entity(Some("*"), Some("c")).check().is_ok() && ip(None).check().is_ok());
        assert!(ip(Some("127.0.0.1")).check().is_ok());
        assert!(ip(Some("localhost")).check().unwrap_err().contains("not a valid IP"));
        let mut spelled = Entity::default();
        assert!(spelled.set(IP, Who::new(Some("::ffff:10.0.0.1"))));
        assert_eq!(spelled, ip(Some("10.0.0.1")));
        assert!(!spelled.set("group", Who::Others));
        assert!(Entity::default().check().is_err());
        assert!(Entity { ip: Some(Who::Others), ..entity(Some("u"), None) }.check().is_err());

        let client = entity(None, Some("c"));
        assert_eq!(Quota::find("request_percentage", &client), Some(Quota::RequestPercentage));
        assert_eq!(Quota::find("connection_creation_rate", &client), None);
        assert_eq!(Quota::find("producer_byte_rate", &ip(None)), None);
        assert_eq!(Quota::find("no_such", &client), None);
        for (quota, value, is_good) in [
            (Quota::ProducerByteRate, 1024.0, true),
            (Quota::ProducerByteRate, 1024.5, false),
            (Quota::ProducerByteRate, 0.0, false),
            (Quota::ProducerByteRate, -1.0, false),
            (Quota::ProducerByteRate, f64::NAN, false),
            (Quota::ConsumerByteRate, f64::INFINITY, false),
            (Quota::RequestPercentage, 0.5, true),
            (Quota::ControllerMutationRate, 0.5, true),
            (Quota::ConnectionCreationRate, 1e10, false),
        ] {
            assert_eq!(quota.check(value).is_ok(), is_good, "{quota:?} {value}");
        }
    }

    proptest! {
        #[test]
        fn rules_come_back_from_disk(
            names in proptest::collection::vec(
                (proptest::option::of("[a-z*\"]{0,3}"), proptest::option::of("[a-z]{0,2}")),
                0..20,
            ),
        ) {
            let mut quotas = Quotas::default();
            for (at, (user, client)) in names.iter().enumerate() {
                let entity = Entity {
                    user: Some(Who::new(user.as_deref())),
                    client_id: client.as_deref().map(|name| Who::new(Some(name))),
                    ip: None,
                };
                quotas.set(&entity, Quota::ALL[at % 4], Some(at as f64 + 0.5));
            }
            let json = serde_json::to_string(&quotas).unwrap();
            prop_assert_eq!(serde_json::from_str::<Quotas>(&json).unwrap(), quotas, "{}", json);
        }
    }
}
