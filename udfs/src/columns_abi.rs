//! Components that take and give whole columns: `wit/udf.wit`.

use arrow::array::ArrayRef;
use wasmtime::Store;
use wasmtime::component::{self, ComponentType, InstancePre, Lift, TypedFunc};

use crate::LoadError;
use crate::columns::{self, BatchIn, BatchOut, Columns};
use crate::host::Host;
use crate::instance::{self, Options, State};
use crate::module::FUNCTIONS_INTERFACE;
use crate::program::{Fault, Invocation, Operation};
use crate::signature::{Argument, Kind, Signature, sql_name};
use crate::types;

/// The most functions that a module may have.
const FUNCTIONS_MAX: usize = 1000;
/// The most arguments that a function may have.
const ARGUMENTS_MAX: usize = 100;

#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "only guests make them")]
enum GuestKind {
    #[component(name = "scalar")]
    Scalar,
    #[component(name = "table")]
    Table,
    #[component(name = "aggregate")]
    Aggregate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "only guests make them")]
enum GuestNulls {
    #[component(name = "skip")]
    Skip,
    #[component(name = "pass")]
    Pass,
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
struct GuestArgument {
    name: String,
    #[component(name = "type")]
    data_type: String,
    default: Option<String>,
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
struct GuestSignature {
    name: String,
    kind: GuestKind,
    arguments: Vec<GuestArgument>,
    returns: String,
    nulls: GuestNulls,
    deterministic: bool,
    retracts: bool,
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
struct GuestFailure {
    row: Option<u32>,
    message: String,
}

type Call = TypedFunc<(u32, Operation, BatchOut<'static>), (Result<BatchIn, GuestFailure>,)>;

pub(crate) struct Program {
    pre: InstancePre<State>,
}

pub(crate) struct Running {
    pub store: Store<State>,
    instance: component::Instance,
    call: Call,
}

impl Program {
    pub fn new(pre: InstancePre<State>) -> Program {
        Program { pre }
    }

    pub fn start(&self, host: &Host, options: &Options) -> Result<Running, LoadError> {
        let mut store = instance::store(host, options).map_err(LoadError::Start)?;
        instance::set_deadline(&mut store, options.limits.time);
        let instance = self.pre.instantiate(&mut store);
        let instance = instance.map_err(|error| {
            LoadError::Start(instance::reason(&error, store.data(), &options.limits))
        })?;
        let call = exported(&mut store, &instance, "call")?;
        let call = call.typed(&store).map_err(|error| mismatch("call", &error))?;
        Ok(Running { store, instance, call })
    }
}

impl Running {
    /// What the guest says that it has.
    pub fn describe(&mut self, options: &Options) -> Result<Vec<Signature>, LoadError> {
        let describe = exported(&mut self.store, &self.instance, "describe")?;
        let describe = describe.typed::<(), (Vec<GuestSignature>,)>(&self.store);
        let describe = describe.map_err(|error| mismatch("describe", &error))?;
        instance::set_deadline(&mut self.store, options.limits.time);
        let (functions,) = describe.call(&mut self.store, ()).map_err(|error| {
            LoadError::Start(instance::reason(&error, self.store.data(), &options.limits))
        })?;
        if functions.len() > FUNCTIONS_MAX {
            let count = functions.len();
            return Err(LoadError::Describe(format!(
                "{count} functions, more than {FUNCTIONS_MAX}"
            )));
        }
        functions.into_iter().map(signature).collect()
    }

    pub fn call(&mut self, invocation: &Invocation<'_>) -> Result<Vec<ArrayRef>, Fault> {
        let columns = Columns::new(invocation.arguments);
        let function = invocation.function as u32;
        let (result,) = columns.with_batch(invocation.rows, |batch| {
            self.call.call(&mut self.store, (function, invocation.operation, batch))
        })?;
        match result {
            Ok(batch) => columns::columns(batch, invocation.results).map_err(Fault::Wrong),
            Err(GuestFailure { row, message }) => {
                Err(Fault::Failed { row: row.map(|row| row as usize), reason: message })
            }
        }
    }
}

fn exported(
    store: &mut Store<State>,
    instance: &component::Instance,
    name: &str,
) -> Result<component::Func, LoadError> {
    let missing = || LoadError::Function {
        function: name.to_owned(),
        reason: format!("it is not exported by {FUNCTIONS_INTERFACE}"),
    };
    let interface = instance.get_export_index(&mut *store, None, FUNCTIONS_INTERFACE);
    let interface = interface.ok_or_else(missing)?;
    let index = instance.get_export_index(&mut *store, Some(&interface), name);
    instance.get_func(store, index.ok_or_else(missing)?).ok_or_else(missing)
}

/// It has another type than ours: a world of another version with the same number.
fn mismatch(function: &str, error: &wasmtime::Error) -> LoadError {
    let reason = format!("it is not as {FUNCTIONS_INTERFACE} has it: {error:#}");
    LoadError::Function { function: function.to_owned(), reason }
}

fn signature(said: GuestSignature) -> Result<Signature, LoadError> {
    let name = sql_name(&said.name);
    if name.is_empty() || said.name.len() > 256 {
        return Err(LoadError::Describe("a function has no name, or a very long one".to_owned()));
    }
    if said.arguments.len() > ARGUMENTS_MAX {
        let reason = format!("{} arguments, more than {ARGUMENTS_MAX}", said.arguments.len());
        return Err(LoadError::Function { function: name, reason });
    }
    let known = |text: &str| types::parse(text).map_err(|e| LoadError::unknown_type(&name, e));
    let nullable = said.nulls == GuestNulls::Pass;
    let arguments = said.arguments.into_iter().map(|argument| {
        let data_type = known(&argument.data_type)?;
        let name = sql_name(&argument.name);
        Ok(Argument { name, data_type, nullable, default: argument.default })
    });
    Ok(Signature {
        kind: match said.kind {
            GuestKind::Scalar => Kind::Scalar,
            GuestKind::Table => Kind::Table,
            GuestKind::Aggregate => Kind::Aggregate { retracts: said.retracts },
        },
        arguments: arguments.collect::<Result<_, LoadError>>()?,
        returns: known(&said.returns)?,
        deterministic: said.deterministic,
        name,
    })
}
