//! What users log in by, as `kafka-configs --entity-type users` has it:
//! `SCRAM-SHA-256=[iterations=8192,password=…]`.

use broker::client::admin::configs::ConfigChange;
use broker::client::admin::{Admin, AdminError};
use broker::protocol::ErrorCode;
use broker::security::scram::{ITERATIONS_MIN, ScramMechanism};

use super::Error;

/// A password to be set, or `None` for one to be removed.
pub struct Credential {
    iterations: u32,
    password: String,
}

pub fn mechanism(name: &str) -> Result<ScramMechanism, Error> {
    name.parse().map_err(|_| {
        Error::usage(format!(
            "Only quota and SCRAM credential configs can be added for 'users' using \
             --bootstrap-server. Unexpected config names: Set({name})"
        ))
    })
}

pub fn credential(change: ConfigChange) -> Result<Option<Credential>, Error> {
    let ConfigChange::Set(text) = change else { return Ok(None) };
    let wrong =
        || Error::usage("Invalid credential, expected [iterations=8192,password=<password>]");
    let (iterations, password) = match text.strip_prefix("iterations=") {
        Some(rest) => rest.split_once(',').ok_or_else(wrong)?,
        None => ("-1", text.as_str()),
    };
    let password = password.strip_prefix("password=").ok_or_else(wrong)?.to_owned();
    let iterations: i32 = iterations.parse().map_err(|_| wrong())?;
    let iterations = match iterations {
        -1 => ITERATIONS_MIN,
        other => u32::try_from(other).map_err(|_| wrong())?,
    };
    Ok(Some(Credential { iterations, password }))
}

pub async fn alter(
    admin: &Admin,
    user: &str,
    changes: Vec<(ScramMechanism, Option<Credential>)>,
) -> Result<(), AdminError> {
    for (mechanism, credential) in changes {
        match credential {
            Some(Credential { iterations, password }) => {
                admin.set_password(user, mechanism, iterations, &password).await?;
            }
            None => admin.delete_password(user, mechanism).await?,
        }
    }
    println!("Completed updating config for user {user}.");
    Ok(())
}

pub async fn describe(admin: &Admin, user: Option<&str>) -> Result<(), AdminError> {
    // Of who has no password nothing is told, and no failure: so does Kafka.
    let users = match admin.users(user).await {
        Err(error) if error.code() == Some(ErrorCode::RESOURCE_NOT_FOUND) => Vec::new(),
        users => users?,
    };
    for user in users {
        let each = user.mechanisms.iter();
        let each = each.map(|(mechanism, count)| format!("{mechanism}=iterations={count}"));
        let text = each.collect::<Vec<String>>().join(", ");
        println!("SCRAM credential configs for user-principal '{}' are {text}", user.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_kafka_reads_them() {
        let read = |text: &str| {
            let read = credential(ConfigChange::Set(text.to_owned())).ok()?;
            read.map(|one| (one.iterations, one.password))
        };
        assert_eq!(read("iterations=8192,password=a,b"), Some((8192, "a,b".to_owned())));
        assert_eq!(read("password=a"), Some((4096, "a".to_owned())));
        assert_eq!(read("iterations=-1,password=a"), Some((4096, "a".to_owned())));
        for wrong in
            ["", "a", "iterations=8192", "iterations=x,password=a", "iterations=-2,password=a"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert!(mechanism("SCRAM-SHA-1").is_err());
    }
}
