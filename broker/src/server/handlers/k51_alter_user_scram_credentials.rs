//! AlterUserScramCredentials. Of a salted password only the verifier is kept, so that whoever
//! reads the disk cannot log in by what is there.

use std::collections::HashMap;

use super::{Call, blocking};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k51_alter_user_scram_credentials::*;
use crate::security::acl::Operation;
use crate::security::scram::{
    ITERATIONS_MAX, ITERATIONS_MIN, SALT_BYTES_MAX, ScramMechanism, Verifier,
};
use crate::security::store::{Contents, USERS_MAX, UserChange};

type Refused = (ErrorCode, String);

/// The longest name, which every exchange of its user brings.
const NAME_BYTES_MAX: usize = 1024;

pub async fn handle(
    call: &Call,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    let may = call.may_on_cluster(Operation::Alter);
    let mut users: Vec<String> = Vec::new();
    let mut of: HashMap<String, Result<UserChange, Refused>> = HashMap::new();
    let contents = call.broker().security().contents();
    let deletions = request.deletions.into_iter();
    let deletions = deletions.map(|one| (one.name.clone(), deletion(&contents, one)));
    let upsertions = request.upsertions.into_iter();
    let upsertions = upsertions.map(|one| (one.name.clone(), upsertion(&contents, one)));
    for (user, change) in deletions.chain(upsertions) {
        let change = if !may {
            let code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
            Err((code, code.message().to_owned()))
        } else if of.contains_key(&user) {
            let why = "A user credential cannot be altered twice in the same request";
            Err((ErrorCode::DUPLICATE_RESOURCE, why.to_owned()))
        } else {
            change
        };
        if of.insert(user.clone(), change).is_none() {
            users.push(user);
        }
    }
    let changes: Vec<UserChange> = of.values().flatten().cloned().collect();
    let changed = if changes.is_empty() { Ok(()) } else { alter(call, changes).await };
    let results = users.into_iter().map(|user| {
        let result = of.remove(&user).map_or(Ok(()), |change| change.map(|_| ()));
        let (error_code, error_message) = match result.and_then(|()| changed.clone()) {
            Ok(()) => (ErrorCode::NONE, None),
            Err((error_code, message)) => (error_code, Some(message)),
        };
        AlterUserScramCredentialsResult { user, error_code, error_message }
    });
    let results = results.collect();
    AlterUserScramCredentialsResponse { results, ..Default::default() }
}

async fn alter(call: &Call, changes: Vec<UserChange>) -> Result<(), Refused> {
    let by = call.identity.principal.as_str();
    for change in &changes {
        let (user, mechanism, what) = match change {
            UserChange::Set { name, mechanism, .. } => (name, mechanism, "set a password"),
            UserChange::Delete { name, mechanism } => (name, mechanism, "removed a password"),
        };
        tracing::info!(target: "millstream::audit", ?by, ?user, %mechanism, "{what}");
    }
    let store = call.broker().security().clone();
    let changed = blocking(move || store.change_users(changes)).await;
    changed.map_err(|error| {
        tracing::error!(%error, "cannot keep users");
        (ErrorCode::KAFKA_STORAGE_ERROR, error.to_string())
    })
}

fn mechanism(name: &str, number: i8) -> Result<ScramMechanism, Refused> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let why = match name.is_empty() {
            true => "Username must not be empty".to_owned(),
            false => format!("Username must not be longer than {NAME_BYTES_MAX} bytes"),
        };
        return Err((ErrorCode::UNACCEPTABLE_CREDENTIAL, why));
    }
    let unknown = || (ErrorCode::UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism".to_owned());
    ScramMechanism::from_number(number).ok_or_else(unknown)
}

fn deletion(contents: &Contents, one: ScramCredentialDeletion) -> Result<UserChange, Refused> {
    let mechanism = mechanism(&one.name, one.mechanism)?;
    if contents.verifier(&one.name, mechanism).is_none() {
        let why = "Attempt to delete a user credential that does not exist".to_owned();
        return Err((ErrorCode::RESOURCE_NOT_FOUND, why));
    }
    Ok(UserChange::Delete { name: one.name, mechanism })
}

fn upsertion(contents: &Contents, one: ScramCredentialUpsertion) -> Result<UserChange, Refused> {
    let mechanism = mechanism(&one.name, one.mechanism)?;
    let unacceptable = |why: String| Err((ErrorCode::UNACCEPTABLE_CREDENTIAL, why));
    let iterations = u32::try_from(one.iterations).unwrap_or(0);
    if iterations < ITERATIONS_MIN {
        return unacceptable("Too few iterations".to_owned());
    }
    if iterations > ITERATIONS_MAX {
        return unacceptable("Too many iterations".to_owned());
    }
    if one.salt.is_empty() || one.salt.len() > SALT_BYTES_MAX || one.salted_password.is_empty() {
        return unacceptable("The salt or the salted password is of no use".to_owned());
    }
    if contents.user(&one.name).is_none() && contents.users().count() >= USERS_MAX {
        return unacceptable(format!("There are {USERS_MAX} users, and no room for more"));
    }
    let salted = &one.salted_password;
    let verifier = Verifier::new(mechanism, one.salt.to_vec(), iterations, salted);
    Ok(UserChange::Set { name: one.name, mechanism, verifier })
}
