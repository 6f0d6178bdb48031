//! `millstream users`: who may log in, by PLAIN or SCRAM.

use std::collections::BTreeMap;

use broker::client::admin::Admin;
use broker::security::scram::{ITERATIONS_MAX, ITERATIONS_MIN, ScramMechanism, Verifier};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::stdout::{print, print_json};
use super::{BrokerChoice, Failure, connection, password};
use crate::render::table::Table;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream users create alice < password.txt
  MILLSTREAM_USER_PASSWORD=… millstream users create alice --mechanism SCRAM-SHA-256
  millstream users list
  millstream users delete alice
  millstream users hash alice < password.txt >> passwords.properties

Before a broker is started for the first time they work on its --data-dir.")]
pub struct UsersArgs {
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// Show users with their mechanisms
    List {
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object per user
        #[arg(long)]
        json: bool,
    },
    /// Set a user's password: the first line of stdin, or MILLSTREAM_USER_PASSWORD
    #[command(after_help = "Example:\n  millstream users create alice < password.txt

The password is hashed here; what is kept lets nobody log in. It serves for PLAIN too,
and replaces those that the user has for other mechanisms.")]
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        broker: BrokerChoice,
        /// SCRAM-SHA-256 or SCRAM-SHA-512; may be repeated
        #[arg(long, value_name = "NAME", default_value = "SCRAM-SHA-512")]
        mechanism: Vec<ScramMechanism>,
        /// How often it is hashed: more is harder to guess, and slower to log in by
        #[arg(long, value_name = "NUMBER", default_value_t = ITERATIONS_MIN, value_parser = iterations)]
        iterations: u32,
    },
    /// Print a line for a file of passwords of HTTP servers (rest.basic.auth.file), hashed
    #[command(after_help = "Example:
  millstream users hash alice < password.txt >> passwords.properties

The password is the first line of stdin, or MILLSTREAM_USER_PASSWORD. What is printed lets nobody
log in. No broker is asked.")]
    Hash {
        #[arg(value_name = "NAME")]
        name: String,
        /// SCRAM-SHA-256 or SCRAM-SHA-512
        #[arg(long, value_name = "NAME", default_value = "SCRAM-SHA-256")]
        mechanism: ScramMechanism,
        /// How often it is hashed: more is harder to guess, and slower to log in by
        #[arg(long, value_name = "NUMBER", default_value_t = ITERATIONS_MAX, value_parser = iterations)]
        iterations: u32,
    },
    /// Remove a user's passwords, or that for one mechanism
    #[command(after_help = "Example:\n  millstream users delete alice")]
    Delete {
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        broker: BrokerChoice,
        #[arg(long, value_name = "NAME")]
        mechanism: Option<ScramMechanism>,
    },
}

pub async fn users(args: UsersArgs) -> Result<(), Failure> {
    let broker = match &args.command {
        UsersCommand::List { broker, .. }
        | UsersCommand::Create { broker, .. }
        | UsersCommand::Delete { broker, .. } => broker,
        UsersCommand::Hash { name, mechanism, iterations } => {
            return hash(name, *mechanism, *iterations);
        }
    };
    let connection = connection::open_office(broker).await?;
    let done = act(&connection.admin, args.command).await;
    connection.close().await;
    done
}

async fn act(admin: &Admin, command: UsersCommand) -> Result<(), Failure> {
    match command {
        UsersCommand::List { json, .. } => list(admin, json).await,
        UsersCommand::Create { name, mechanism, iterations, .. } => {
            let password = new_password()?;
            // One request for each: Kafka's controllers refuse two for one user.
            for (mechanism, iterations) in to_set(admin, &name, &mechanism, iterations).await? {
                admin.set_password(&name, mechanism, iterations, &password).await?;
                eprintln!("set the password of user '{name}' for {mechanism} and PLAIN");
            }
            Ok(())
        }
        UsersCommand::Hash { name, mechanism, iterations } => hash(&name, mechanism, iterations),
        UsersCommand::Delete { name, mechanism, .. } => {
            let users = admin.users(Some(&name)).await?;
            let all = users.into_iter().flat_map(|user| user.mechanisms);
            let all = all.map(|(mechanism, _)| mechanism);
            // One that is named is removed, or told to be none.
            let wanted: Vec<ScramMechanism> = match mechanism {
                Some(mechanism) => vec![mechanism],
                None => all.collect(),
            };
            for mechanism in wanted {
                admin.delete_password(&name, mechanism).await?;
                eprintln!("removed the password of user '{name}' for {mechanism}");
            }
            Ok(())
        }
    }
}

fn hash(name: &str, mechanism: ScramMechanism, iterations: u32) -> Result<(), Failure> {
    // It would be read as another name.
    if name.is_empty() || name.contains([':', '=', '\\']) || name.contains(char::is_whitespace) {
        let reason =
            format!("{name:?} is no name here: it is empty, or has a blank, ':', '=' or '\\'");
        return Err(Failure::usage(reason));
    }
    let verifier = Verifier::of_password(mechanism, new_password()?.as_bytes(), iterations);
    print(&format!("{name}={}\n", verifier.to_text(mechanism)))
}

/// The mechanisms to set a password for, each with its iterations: those that are asked for, and
/// those that the user has already, by which it could log in with an older password else.
async fn to_set(
    admin: &Admin,
    name: &str,
    asked: &[ScramMechanism],
    iterations: u32,
) -> Result<BTreeMap<ScramMechanism, u32>, Failure> {
    let users = admin.users(None).await?;
    let known = users.into_iter().filter(|user| user.name == name).flat_map(|user| user.mechanisms);
    let known = known.map(|(mechanism, count)| (mechanism, count.unsigned_abs()));
    let asked = asked.iter().map(|mechanism| (*mechanism, iterations));
    // The later ones replace the former.
    Ok(known.chain(asked).collect())
}

async fn list(admin: &Admin, json: bool) -> Result<(), Failure> {
    let users = admin.users(None).await?;
    if json {
        let values = users.iter().map(|user| {
            let of = user.mechanisms.iter().map(|(mechanism, iterations)| {
                json!({ "mechanism": mechanism.name(), "iterations": iterations })
            });
            json!({ "name": user.name, "mechanisms": of.collect::<Vec<Value>>() })
        });
        return print_json(&values.collect::<Vec<Value>>());
    }
    if users.is_empty() {
        eprintln!("there are no users; `millstream users create NAME` makes one");
        return Ok(());
    }
    let rows = users.iter().flat_map(|user| {
        user.mechanisms.iter().map(|(mechanism, iterations)| {
            vec![user.name.clone(), mechanism.to_string(), iterations.to_string()]
        })
    });
    let mut table = Table::new([("user", false), ("mechanism", false), ("iterations", true)]);
    print(&table.lines(&rows.collect::<Vec<_>>()))
}

fn iterations(text: &str) -> Result<u32, String> {
    let range = ITERATIONS_MIN..=ITERATIONS_MAX;
    let expected = || format!("expected a number from {ITERATIONS_MIN} to {ITERATIONS_MAX}");
    text.parse().ok().filter(|count| range.contains(count)).ok_or_else(expected)
}

/// Never from the command line, where every user of the machine could read it.
fn new_password() -> Result<String, Failure> {
    if let Ok(password) = std::env::var("MILLSTREAM_USER_PASSWORD") {
        return checked(&password);
    }
    let ask = |prompt| {
        let cannot = |error| format!("cannot read the password from stdin: {error}");
        password::read_line(prompt).map_err(|error| Failure::usage(cannot(error)))
    };
    let first = checked(&ask("password")?)?;
    // What nobody has seen may be mistyped.
    if password::is_typed() && ask("the same again")? != first {
        return Err(Failure::usage("the two passwords differ; nothing was changed"));
    }
    Ok(first)
}

fn checked(password: &str) -> Result<String, Failure> {
    if password.is_empty() {
        return Err(Failure::usage("the password is empty")
            .with_help("give it as the first line of stdin, or in MILLSTREAM_USER_PASSWORD"));
    }
    Ok(password.to_owned())
}
