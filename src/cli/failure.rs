//! How a command ends when it does not succeed.

use broker::client::admin::AdminError;
use engine::pipeline::Diagnostics;

use crate::render;

/// Why a command failed; printed once, at the very end.
#[derive(Debug)]
pub enum Failure {
    /// It ran and something went wrong: status 1.
    Running { message: String, help: Option<String> },
    /// It was asked for something that makes no sense: status 2, nothing started.
    Usage { message: String, help: Option<String> },
    /// A signal ended it before it was done: the status that shells know it by, and no word.
    Stopped { status: u8 },
    /// The pipeline files have mistakes: status 2, nothing started.
    Pipeline(Diagnostics),
}

impl Failure {
    pub fn running(message: impl ToString) -> Failure {
        Failure::Running { message: message.to_string(), help: None }
    }

    pub fn usage(message: impl ToString) -> Failure {
        Failure::Usage { message: message.to_string(), help: None }
    }

    /// The same with advice on what to do next.
    pub fn with_help(self, advice: impl ToString) -> Failure {
        let help = Some(advice.to_string());
        match self {
            Failure::Running { message, .. } => Failure::Running { message, help },
            Failure::Usage { message, .. } => Failure::Usage { message, help },
            other @ (Failure::Stopped { .. } | Failure::Pipeline(_)) => other,
        }
    }

    pub fn exit_status(&self) -> u8 {
        match self {
            Failure::Running { .. } => 1,
            Failure::Usage { .. } | Failure::Pipeline(_) => 2,
            Failure::Stopped { status } => *status,
        }
    }

    pub fn print(&self) {
        match self {
            Failure::Running { message, help } | Failure::Usage { message, help } => {
                render::diagnostics::print_error(message, help.as_deref());
            }
            Failure::Stopped { .. } => {}
            Failure::Pipeline(diagnostics) => render::diagnostics::print(diagnostics),
        }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Failure {
        if error.is_unknown_topic()
            && let AdminError::Refused { what, .. } = &error
        {
            return Failure::running(format!("{what} does not exist"))
                .with_help("`millstream topics list` shows which there are");
        }
        Failure::running(error)
    }
}

impl From<broker::client::ClientError> for Failure {
    fn from(error: broker::client::ClientError) -> Failure {
        Failure::running(error)
    }
}
