//! Topics: what they are called ([`name`]), how they behave ([`config`]), and the catalog of them
//! on disk ([`catalog`]).
//!
//! Invariants: the catalog file is the truth; a topic exists once it is in there, and no longer
//! once it is not, whatever a crash leaves of its directories. A directory that belongs to no
//! topic is never touched.

pub mod catalog;
pub mod config;
pub mod name;

pub use catalog::{Catalog, CatalogError, DynamicConfigs, TopicRecord};
pub use config::{
    ConfigDefinition, ConfigError, ConfigKind, DEFINITIONS, TopicConfig, TopicDefaults,
};
pub use name::TopicNameError;

/// Kafka's name for the topic that keeps groups and committed offsets.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Kafka's name for the topic that keeps transactions.
pub const TRANSACTION_STATE: &str = "__transaction_state";

/// Kafka's name for the topic that keeps what share groups have read.
pub const SHARE_GROUP_STATE: &str = "__share_group_state";

/// Whether the broker keeps this topic for itself.
pub fn is_internal(name: &str) -> bool {
    [CONSUMER_OFFSETS, TRANSACTION_STATE, SHARE_GROUP_STATE].contains(&name)
}
