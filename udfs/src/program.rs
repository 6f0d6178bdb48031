//! What a module is to its callers, whichever way its functions are called.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use wasmtime::component::{ComponentType, Lower};

use crate::LoadError;
use crate::host::Host;
use crate::instance::{Options, State};
use crate::{columns_abi, core_abi, typed_abi};

/// What a function is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Operation {
    #[component(name = "evaluate")]
    Evaluate,
    #[component(name = "update")]
    Update,
    #[component(name = "retract")]
    Retract,
    #[component(name = "merge")]
    Merge,
    #[component(name = "finish")]
    Finish,
}

/// One call of a function.
pub(crate) struct Invocation<'a> {
    pub function: usize,
    pub operation: Operation,
    /// As the signature has them; none of them is NULL where it may not be.
    pub arguments: &'a [ArrayRef],
    pub rows: usize,
    /// Of the columns that come back.
    pub results: &'a [&'a DataType],
}

/// Why a call gave nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The guest says so, and can be called again.
    Failed { row: Option<usize>, reason: String },
    /// What it gave is wrong.
    Wrong(String),
    /// It was stopped.
    Stopped(wasmtime::Error),
}

impl From<wasmtime::Error> for Fault {
    fn from(error: wasmtime::Error) -> Fault {
        Fault::Stopped(error)
    }
}

/// A module that is compiled and linked.
pub(crate) enum Program {
    Columns(columns_abi::Program),
    Typed(typed_abi::Program),
    Core(core_abi::Program),
}

/// An instance of it.
pub(crate) enum Running {
    Columns(columns_abi::Running),
    Typed(typed_abi::Running),
    Core(core_abi::Running),
}

impl Program {
    pub fn start(&self, host: &Host, options: &Options) -> Result<Running, LoadError> {
        Ok(match self {
            Program::Columns(program) => Running::Columns(program.start(host, options)?),
            Program::Typed(program) => Running::Typed(program.start(host, options)?),
            Program::Core(program) => Running::Core(program.start(host, options)?),
        })
    }
}

impl Running {
    pub fn call(&mut self, invocation: &Invocation<'_>) -> Result<Vec<ArrayRef>, Fault> {
        match self {
            Running::Columns(running) => running.call(invocation),
            Running::Typed(running) => running.call(invocation),
            Running::Core(running) => running.call(invocation),
        }
    }

    pub fn store(&mut self) -> &mut wasmtime::Store<State> {
        match self {
            Running::Columns(running) => &mut running.store,
            Running::Typed(running) => &mut running.store,
            Running::Core(running) => &mut running.store,
        }
    }
}
