//! DescribeClientQuotas.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k48_describe_client_quotas::*;
use crate::quotas::{CLIENT_ID, Entity, IP, USER, Who};
use crate::security::acl::Operation;

/// Kafka's numbers for which names are meant.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

type Refused = (ErrorCode, String);

pub async fn handle(
    call: &Call,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    match describe(call, request) {
        Ok(entries) => DescribeClientQuotasResponse {
            // Kafka's answer to what went well.
            error_message: Some(String::new()),
            entries: Some(entries),
            ..DescribeClientQuotasResponse::default()
        },
        Err((error_code, message)) => DescribeClientQuotasResponse {
            error_code,
            error_message: Some(message),
            entries: None,
            ..DescribeClientQuotasResponse::default()
        },
    }
}

fn describe(
    call: &Call,
    request: DescribeClientQuotasRequest,
) -> Result<Vec<DescribeClientQuotasEntry>, Refused> {
    if !call.may_on_cluster(Operation::DescribeConfigs) {
        let code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        return Err((code, code.message().to_owned()));
    }
    let wanted = wanted(&request.components)?;
    let is_wanted = |entity: &Entity| {
        (!request.strict || entity.parts().count() == wanted.len())
            && wanted.iter().all(|(kind, who)| match (entity.part(kind), who) {
                (Some(part), Some(who)) => part == who,
                (part, None) => part.is_some(),
                (None, Some(_)) => false,
            })
    };
    let quotas = call.broker().quotas();
    let found = quotas.iter().filter(|(entity, _)| is_wanted(entity));
    let entries = found.map(|(entity, values)| DescribeClientQuotasEntry {
        entity: entity
            .parts()
            .map(|(kind, who)| DescribeClientQuotasEntity {
                entity_type: kind.to_owned(),
                entity_name: who.name().map(str::to_owned),
            })
            .collect(),
        values: values
            .iter()
            .map(|(quota, value)| DescribeClientQuotasValue {
                key: quota.name().to_owned(),
                value: *value,
            })
            .collect(),
    });
    Ok(entries.collect())
}

/// The parts that an entity must have, with whom they must name; `None`: whomever.
fn wanted(
    components: &[DescribeClientQuotasComponent],
) -> Result<Vec<(&str, Option<Who>)>, Refused> {
    let invalid = |why: String| Err((ErrorCode::INVALID_REQUEST, why));
    let mut wanted: Vec<(&str, Option<Who>)> = Vec::new();
    for component in components {
        let DescribeClientQuotasComponent { entity_type, match_type, matched } = component;
        if entity_type.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        if wanted.iter().any(|(kind, _)| kind == entity_type) {
            let why =
                format!("Entity type {entity_type} cannot appear more than once in the filter.");
            return invalid(why);
        }
        if ![USER, CLIENT_ID, IP].contains(&entity_type.as_str()) {
            let why = format!("Unsupported entity type {entity_type}");
            return Err((ErrorCode::UNSUPPORTED_VERSION, why));
        }
        let who = match (*match_type, matched) {
            (EXACT, Some(name)) => Some(Who::new(Some(name))),
            (DEFAULT, None) => Some(Who::Others),
            (ANY, None) => None,
            (EXACT, None) => return invalid("an exact match needs a name".to_owned()),
            (DEFAULT | ANY, Some(_)) => {
                return invalid(format!("matches of type {match_type} have no name"));
            }
            (other, _) => return invalid(format!("Unknown match type {other}")),
        };
        wanted.push((entity_type, who));
    }
    if wanted.len() > 1 && wanted.iter().any(|(kind, _)| *kind == IP) {
        let why = "Invalid entity filter component combination: ip stands alone.".to_owned();
        return invalid(why);
    }
    Ok(wanted)
}
