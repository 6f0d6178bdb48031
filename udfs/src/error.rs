//! What can be wrong with a module, and with a call of it.

use std::path::PathBuf;

use crate::types::UnknownType;

/// Why a file gives no functions.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{} is no regular file, but such as a pipe or a directory", path.display())]
    NotFile { path: PathBuf },
    #[error("{} has {size} bytes, more than the {max} that it may have", path.display())]
    TooLong { path: PathBuf, size: u64, max: u64 },
    #[error("it is no WebAssembly, neither a module or component (.wasm) nor their text (.wat)")]
    NotWasm,
    #[error("its text is wrong: {0}")]
    Text(String),
    #[error("it is no valid WebAssembly: {0}")]
    Invalid(String),
    #[error(
        "it was made for {found}, and this is {expected}: build it with the WIT of this version \
         (`millstream udf new` writes it)"
    )]
    Version { found: String, expected: &'static str },
    #[error(
        "it imports '{import}', which nobody has{}",
        if *.is_wasi { ": this version of WASI is not known" } else { "" }
    )]
    Import { import: String, is_wasi: bool },
    #[error(
        "its functions take text or lists by the canonical ABI (it exports '{0}'), and it does not \
         say of which types: `wit` names a file that does"
    )]
    NoTypes(String),
    #[error("it exports no function that can be called{}", left_out(.0))]
    NoFunctions(Vec<String>),
    #[error("function '{function}': {reason}")]
    Function { function: String, reason: String },
    #[error("it cannot be made into a component: {0}")]
    Component(String),
    #[error("it cannot be started: {0}")]
    Start(String),
    #[error("what it says of its functions is wrong: {0}")]
    Describe(String),
    #[error("the engine cannot be started: {0}")]
    Host(String),
}

impl LoadError {
    /// Its text, with the file that it is of.
    pub fn of_file(&self, file: &str) -> String {
        match self {
            LoadError::Read { .. }
            | LoadError::NotFile { .. }
            | LoadError::TooLong { .. }
            | LoadError::Host(_) => self.to_string(),
            error => format!("{file}: {error}"),
        }
    }

    pub(crate) fn invalid(error: wasmtime::Error) -> LoadError {
        LoadError::Invalid(format!("{error:#}"))
    }

    pub(crate) fn unknown_type(function: &str, error: UnknownType) -> LoadError {
        LoadError::Function { function: function.to_owned(), reason: error.to_string() }
    }
}

fn left_out(reasons: &[String]) -> String {
    match reasons.is_empty() {
        true => String::new(),
        false => format!(": {}", reasons.join("; ")),
    }
}

/// Why a call gave nothing. The instance is gone if the guest was stopped; the next call has a new
/// one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{function}: {reason}")]
pub struct CallError {
    pub function: String,
    pub reason: String,
    /// The row that failed, where the guest names it.
    pub row: Option<usize>,
}
