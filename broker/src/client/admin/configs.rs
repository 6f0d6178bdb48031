//! Settings of topics, brokers and groups.

use super::routing::To;
use super::{Admin, AdminError, check};
use crate::protocol::messages::k32_describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use crate::protocol::messages::k44_incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use crate::protocol::messages::k74_list_config_resources::ListConfigResourcesRequest;

/// What has settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    Topic(String),
    /// One broker, or what all have by default.
    Broker(Option<i32>),
    BrokerLogger(i32),
    ClientMetrics(String),
    Group(String),
}

/// One setting as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` for a secret.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
    /// Where else it is set, what wins first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: String,
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// Who has set a value: Kafka's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigSource(pub i8);

impl ConfigSource {
    pub const TOPIC: ConfigSource = ConfigSource(1);
    pub const BROKER: ConfigSource = ConfigSource(2);
    pub const ALL_BROKERS: ConfigSource = ConfigSource(3);
    pub const DEFAULT: ConfigSource = ConfigSource(5);

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self.0 {
            1 => "DYNAMIC_TOPIC_CONFIG",
            2 => "DYNAMIC_BROKER_CONFIG",
            3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            4 => "STATIC_BROKER_CONFIG",
            5 => "DEFAULT_CONFIG",
            6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
            7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
            8 => "DYNAMIC_GROUP_CONFIG",
            _ => "UNKNOWN",
        }
    }

    /// Whether someone has set it while the cluster ran, rather than in a file or not at all.
    pub fn is_dynamic(self) -> bool {
        !matches!(self.0, 4 | 5)
    }
}

/// What becomes of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    Set(String),
    /// Back to the default.
    Delete,
    /// One more entry of a list.
    Append(String),
    /// One entry fewer.
    Subtract(String),
}

impl ConfigResource {
    fn kind(&self) -> i8 {
        match self {
            ConfigResource::Topic(_) => 2,
            ConfigResource::Broker(_) => 4,
            ConfigResource::BrokerLogger(_) => 8,
            ConfigResource::ClientMetrics(_) => 16,
            ConfigResource::Group(_) => 32,
        }
    }

    /// Kafka's name for it; the defaults of all brokers have none.
    pub fn name(&self) -> String {
        match self {
            ConfigResource::Topic(name)
            | ConfigResource::ClientMetrics(name)
            | ConfigResource::Group(name) => name.clone(),
            ConfigResource::Broker(Some(id)) | ConfigResource::BrokerLogger(id) => id.to_string(),
            ConfigResource::Broker(None) => String::new(),
        }
    }

    /// For messages.
    fn what(&self) -> String {
        match self {
            ConfigResource::Topic(name) => format!("topic '{name}'"),
            ConfigResource::Broker(Some(id)) => format!("broker {id}"),
            ConfigResource::Broker(None) => "defaults of all brokers".to_owned(),
            ConfigResource::BrokerLogger(id) => format!("logs of broker {id}"),
            ConfigResource::ClientMetrics(name) => format!("client metrics '{name}'"),
            ConfigResource::Group(name) => format!("group '{name}'"),
        }
    }

    /// A broker's own settings are known to itself alone.
    fn asked_of(&self) -> To<'static> {
        match self {
            ConfigResource::Broker(Some(id)) | ConfigResource::BrokerLogger(id) => To::Node(*id),
            _ => To::Any,
        }
    }
}

impl Admin {
    /// All settings of one thing, by name.
    pub async fn configs(&self, of: &ConfigResource) -> Result<Vec<ConfigEntry>, AdminError> {
        let resource = DescribeConfigsResource {
            resource_type: of.kind(),
            resource_name: of.name(),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: true,
            include_documentation: false,
        };
        let what = of.what();
        self.again(&what, async || {
            let answer = self.ask(of.asked_of(), 1, request.clone()).await?;
            let mut entries = Vec::new();
            for result in answer.results {
                check(result.error_code, result.error_message, &what)?;
                entries.extend(result.configs.into_iter().map(entry));
            }
            entries.sort_by(|one: &ConfigEntry, other| one.name.cmp(&other.name));
            Ok(entries)
        })
        .await
    }

    /// Names of the things of this one's kind for which something was set; `None` where the cluster
    /// does not tell (KIP-1142).
    pub async fn configured(
        &self,
        like: &ConfigResource,
    ) -> Result<Option<Vec<String>>, AdminError> {
        let request = ListConfigResourcesRequest { resource_types: vec![like.kind()] };
        let what = like.what();
        self.again(&what, async || {
            let answer = match self.ask(To::Any, 1, request.clone()).await {
                Err(AdminError::NotServed { .. }) => return Ok(None),
                answer => answer?,
            };
            check(answer.error_code, None, &what)?;
            let found = answer.config_resources.into_iter().map(|one| one.resource_name);
            Ok(Some(found.collect()))
        })
        .await
    }

    /// Changes single settings, all of them or none.
    pub async fn alter_configs(
        &self,
        of: &ConfigResource,
        changes: &[(String, ConfigChange)],
    ) -> Result<(), AdminError> {
        let change = |(name, change): &(String, ConfigChange)| {
            let (config_operation, value) = match change {
                ConfigChange::Set(value) => (0, Some(value.clone())),
                ConfigChange::Delete => (1, None),
                ConfigChange::Append(value) => (2, Some(value.clone())),
                ConfigChange::Subtract(value) => (3, Some(value.clone())),
            };
            AlterableConfig { name: name.clone(), config_operation, value }
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: of.kind(),
                resource_name: of.name(),
                configs: changes.iter().map(change).collect(),
            }],
            validate_only: false,
        };
        let what = of.what();
        self.again(&what, async || {
            let answer = self.ask(of.asked_of(), 0, request.clone()).await?;
            for response in answer.responses {
                check(response.error_code, response.error_message, &what)?;
            }
            Ok(())
        })
        .await
    }
}

fn entry(result: DescribeConfigsResourceResult) -> ConfigEntry {
    let synonyms = result.synonyms.into_iter().map(|synonym| ConfigSynonym {
        name: synonym.name,
        value: synonym.value,
        source: ConfigSource(synonym.source),
    });
    ConfigEntry {
        name: result.name,
        value: result.value,
        source: ConfigSource(result.config_source),
        read_only: result.read_only,
        sensitive: result.is_sensitive,
        synonyms: synonyms.collect(),
    }
}
