//! ListTransactions.

use regex::{Regex, RegexBuilder};

use super::Call;
use crate::coordinator::transactions::{Status, TransactionFilter};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k66_list_transactions::*;
use crate::security::acl::{Operation, ResourceType};

/// States of Kafka's in which a transaction is never found here.
const NEVER_SEEN: [&str; 2] = ["Dead", "PrepareEpochFence"];
/// Longer ones take memory and time before they are known to be too large.
const PATTERN_LENGTH_MAX: usize = 1024;
/// What a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

pub async fn handle(call: &Call, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let pattern = request.transactional_id_pattern.filter(|pattern| !pattern.is_empty());
    let Ok(pattern) = pattern.as_deref().map(whole).transpose() else {
        let error_code = ErrorCode::INVALID_REGULAR_EXPRESSION;
        return ListTransactionsResponse { error_code, ..ListTransactionsResponse::default() };
    };
    let named = |name: &str| Status::ALL.into_iter().find(|status| status.name() == name);
    let is_known = |name: &String| named(name).is_some() || NEVER_SEEN.contains(&name.as_str());
    let (known, unknown): (Vec<String>, Vec<String>) =
        request.state_filters.into_iter().partition(is_known);
    let statuses: Vec<Status> = known.iter().filter_map(|name| named(name)).collect();
    let mut response = ListTransactionsResponse {
        // Of states that nothing is in, nothing is listed; of no known ones neither.
        unknown_state_filters: unknown,
        ..ListTransactionsResponse::default()
    };
    let filtered = !known.is_empty() || !response.unknown_state_filters.is_empty();
    if filtered && statuses.is_empty() {
        return response;
    }
    let filter = TransactionFilter {
        statuses,
        producer_ids: request.producer_id_filters,
        open_for_ms: request.duration_filter,
    };
    let listed = call.broker().transactions().list(&filter).await;
    let matches = |id: &str| pattern.as_ref().is_none_or(|pattern| pattern.is_match(id));
    let kind = ResourceType::TransactionalId;
    let listed = listed.into_iter().filter(|one| {
        matches(&one.transactional_id)
            && call.may_quietly(Operation::Describe, kind, &one.transactional_id)
    });
    response.transaction_states = listed
        .map(|one| TransactionState {
            transactional_id: one.transactional_id.to_string(),
            producer_id: one.producer.producer_id.0,
            transaction_state: one.status.name().to_owned(),
        })
        .collect();
    response
}

/// A pattern that matches ids as a whole.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    if pattern.len() > PATTERN_LENGTH_MAX {
        let reason = format!("longer than {PATTERN_LENGTH_MAX} bytes");
        return Err(regex::Error::Syntax(reason));
    }
    // By itself first, so that it cannot close the group around it.
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build()?;
    RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build()
}
