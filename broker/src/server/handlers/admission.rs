//! Asking the transaction coordinator whether a producer may write to partitions (KIP-890).

use super::{Call, codes};
use crate::coordinator::transactions::{Admission, ProducerIdentity, Protocol, TransactionError};
use crate::ids::TopicPartition;
use crate::protocol::ErrorCode;

/// What the version of a request says of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitting {
    /// It relies on what it writes to becoming part of the transaction.
    Adds,
    /// It has added partitions before, and knows TRANSACTION_ABORTABLE.
    Verifies,
    /// The same, but it knows nothing milder than INVALID_TXN_STATE.
    VerifiesPlainly,
}

impl Admitting {
    pub fn of_produce(version: i16) -> Admitting {
        Admitting::by_version(version, 12)
    }

    pub fn of_offsets(version: i16) -> Admitting {
        Admitting::by_version(version, 5)
    }

    fn by_version(version: i16, adds_from: i16) -> Admitting {
        match version {
            _ if version >= adds_from => Admitting::Adds,
            _ if version == adds_from - 1 => Admitting::Verifies,
            _ => Admitting::VerifiesPlainly,
        }
    }
}

/// Permission to write, until the admission is dropped, to those partitions that `Ok` is said of,
/// in the same order.
pub async fn admit(
    call: &Call,
    id: &str,
    producer: ProducerIdentity,
    partitions: Vec<TopicPartition>,
    admitting: Admitting,
) -> Result<(Admission, Vec<Result<(), ErrorCode>>), ErrorCode> {
    let transactions = call.broker().transactions();
    let code = |error: &TransactionError| match error {
        TransactionError::NotAdded if admitting == Admitting::VerifiesPlainly => {
            ErrorCode::INVALID_TXN_STATE
        }
        // To producers, being fenced is what the partition itself would say.
        error => codes::of_transaction(error, false),
    };
    if admitting == Admitting::Adds {
        let each = vec![Ok(()); partitions.len()];
        let admitted = transactions.admit(id, producer, partitions, Protocol::V2).await;
        return admitted.map(|admission| (admission, each)).map_err(|error| code(&error));
    }
    let verified = transactions.verify(id, producer, &partitions).await;
    let (admission, added) = verified.map_err(|error| code(&error))?;
    let each = added.into_iter().map(|added| match added {
        true => Ok(()),
        false => Err(code(&TransactionError::NotAdded)),
    });
    Ok((admission, each.collect()))
}
