//! A file with functions: what it is, what it has, and calls of it.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, UInt32Array, new_null_array,
};
use arrow::compute::{filter, take};
use arrow::datatypes::{DataType, UInt32Type};
use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
use wasmparser::Payload;
use wasmtime::Trap;
use wasmtime::component::{Component, InstancePre, Linker};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::caller::Caller;
use crate::columns::rows_without_null;
use crate::guest_log::Asked;
use crate::host::{Host, content_hash};
use crate::instance::{self, Options, State};
use crate::limits::Limits;
use crate::program::{Fault, Invocation, Operation, Program, Running};
use crate::signature::{Kind, Signature};
use crate::typed_abi::exports::Exports;
use crate::{
    CallError, LoadError, caller, columns_abi, core_abi, go_wasi, http, interrupt, plain_names,
    search, typed_abi,
};

mod each_row;

/// Our WIT, for those who write functions.
pub const WIT: &str = include_str!("../wit/udf.wit");
/// Its world for modules that use all there is.
const WORLD: &str = "udf-http";
/// What a component exports that takes columns.
pub(crate) const FUNCTIONS_INTERFACE: &str = "millstream:udf/functions@0.1.0";
/// The same, of any version.
const FUNCTIONS_PREFIX: &str = "millstream:udf/functions@";
/// What exports begin with that the canonical ABI calls beside the functions.
const CANONICAL_PREFIX: &str = "cabi_";
/// What a component may import from us.
pub(crate) const HOST_INTERFACE: &str = "millstream:udf/host@0.1.0";
/// The longest file, in bytes: Python's are 18 MB.
const FILE_MAX: u64 = 128 << 20;
/// The longest file of types, in bytes.
const WIT_MAX: u64 = 1 << 20;
/// The most bytes of a guest's reason for a failure that are kept.
const REASON_MAX: usize = 1024;
/// Imports that answer at once: all that Go's modules have of WASI.
const NEVER_BLOCK: [&str; 4] = [
    "wasi:cli/environment",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:random/random",
];
/// Imports of who asks for the time, and for random numbers by WASI's first version.
const CLOCKS: [&str; 2] = ["wasi:clocks/", "wasi_snapshot_preview1.clock_time_get"];
const P1_RANDOM: &str = "wasi_snapshot_preview1.random_get";
/// What a thread has of stack beside that of the guest, in bytes.
const THREAD_STACK_BYTES: usize = 2 << 20;
/// How the bytes of WebAssembly begin, and the bytes after that of a module and of a component.
const MAGIC: &[u8] = b"\0asm";
const CORE: &[u8] = &[1, 0, 0, 0];

/// How a module's functions are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// A component that takes whole columns, by our WIT.
    Columns,
    /// A component that exports plain functions of WIT types.
    Typed,
    /// A core module that exports functions of numbers.
    Core,
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Abi::Columns => "component, by columns",
            Abi::Typed => "component, typed functions",
            Abi::Core => "core module, functions of numbers",
        })
    }
}

/// A module that is compiled, linked and has said what its functions are.
pub struct Module {
    host: Arc<Host>,
    options: Options,
    program: Program,
    functions: Vec<Signature>,
    info: Info,
    /// Calls are made by threads of their own: imports may block, which they must not do in the
    /// caller's runtime, or nested calls may take more than the caller's stack.
    is_apart: bool,
    /// Instances that nobody calls.
    idle: Mutex<Vec<Running>>,
}

/// How a call is made.
struct How {
    time: Duration,
    /// Instances that are called at the same time.
    among: usize,
    caller: Option<Caller>,
}

/// A call gave nothing.
struct Stopped {
    error: CallError,
    /// It took all of its time.
    ran_out: bool,
}

/// What is worth knowing of a file.
#[derive(Clone, Debug)]
pub struct Info {
    pub abi: Abi,
    /// Of the file, in bytes.
    pub size: u64,
    /// The SHA-256 of the file, as hexadecimal digits.
    pub content_hash: String,
    /// What it imports.
    pub imports: Vec<String>,
    /// Functions that it exports and that cannot be called, and why.
    pub left_out: Vec<String>,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("name", &self.options.name).finish_non_exhaustive()
    }
}

impl Module {
    /// Reads, compiles and starts the module in a file, `.wasm` or `.wat`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] says what was found and what is expected.
    pub fn load(host: &Arc<Host>, path: &Path, options: Options) -> Result<Module, LoadError> {
        Module::new(host, &read(path, FILE_MAX)?, options)
    }

    /// The same, of bytes.
    ///
    /// # Errors
    ///
    /// As [`Module::load`].
    pub fn new(host: &Arc<Host>, bytes: &[u8], options: Options) -> Result<Module, LoadError> {
        let (size, content_hash) = (bytes.len() as u64, content_hash(bytes));
        let wasm = binary(bytes)?;
        let stack_bytes = options.limits.stack_bytes;
        let host = &host.with_stack(stack_bytes).map_err(LoadError::Host)?;
        let is_go = go_wasi::is_go(&wasm);
        let (program, imports) = program(host, wasm, options.wit.as_deref())?;
        let may_block = |import: &String| match import.split('@').next() {
            Some(name) if NEVER_BLOCK.contains(&name) => false,
            _ => import.starts_with("wasi") || *import == http::INTERFACE,
        };
        let abi = match program {
            Program::Columns(_) => Abi::Columns,
            Program::Typed(_) => Abi::Typed,
            Program::Core(_) => Abi::Core,
        };
        let left_out = match &program {
            Program::Columns(_) => Vec::new(),
            Program::Typed(program) => program.left_out().to_vec(),
            Program::Core(program) => program.left_out().to_vec(),
        };
        let mut module = Module {
            host: host.clone(),
            options: Options { is_go, ..options },
            program,
            functions: Vec::new(),
            is_apart: stack_bytes > Limits::STACK_BYTES || imports.iter().any(may_block),
            info: Info { abi, size, content_hash, imports, left_out },
            idle: Mutex::default(),
        };
        module.functions = module.describe()?;
        Ok(module)
    }

    /// Starts the first instance: what cannot start is no module.
    fn describe(&self) -> Result<Vec<Signature>, LoadError> {
        self.apart(LoadError::Start, || {
            let _call = self.host.call();
            let mut running = self.program.start(&self.host, &self.options)?;
            let functions = match (&self.program, &mut running) {
                (Program::Columns(_), Running::Columns(running)) => {
                    running.describe(&self.options)?
                }
                (Program::Typed(program), _) => program.signatures().to_vec(),
                (Program::Core(program), _) => program.signatures().to_vec(),
                (Program::Columns(_), _) => unreachable!("a program starts its own instances"),
            };
            self.give_back(running);
            match functions.is_empty() {
                true => Err(LoadError::NoFunctions(Vec::new())),
                false => Ok(functions),
            }
        })
    }

    pub fn functions(&self) -> &[Signature] {
        &self.functions
    }

    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Why a function that is exported cannot be called, if it is one of those.
    pub fn why_left_out(&self, function: &str) -> Option<&str> {
        let exported = function.replace('_', "-");
        let names = [format!("'{function}'"), format!("'{exported}'")];
        let is_of = |reason: &&String| names.iter().any(|name| reason.starts_with(name.as_str()));
        self.info.left_out.iter().find(is_of).map(String::as_str)
    }

    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Whether its language asks for the time and random numbers by itself, so that nothing
    /// follows from what it imports.
    pub fn asks_by_itself(&self) -> bool {
        self.options.is_go
    }

    /// What it can ask for and is not granted.
    pub fn not_granted(&self) -> Vec<Asked> {
        let imports = |parts: &[&str]| {
            let of = |import: &String| parts.iter().any(|part| import.starts_with(part));
            self.info.imports.iter().any(of)
        };
        let grants = &self.options.grants;
        let asked = [
            (Asked::Clock, grants.clock, imports(&CLOCKS)),
            (Asked::Random, grants.random, imports(&["wasi:random/", P1_RANDOM])),
        ];
        let not_granted = asked.into_iter().filter(|(_, granted, asked)| *asked && !granted);
        not_granted.map(|(asked, ..)| asked).collect()
    }

    /// The values of a scalar function for rows of arguments that have its types.
    ///
    /// # Errors
    ///
    /// [`CallError`] if one of the rows fails: nothing is known of the others.
    pub fn evaluate(
        &self,
        function: usize,
        arguments: &[ArrayRef],
        rows: usize,
    ) -> Result<ArrayRef, CallError> {
        let returns = &self.functions[function].returns;
        let seen = self.seen(function, arguments);
        let Some(seen) = seen else {
            let values = self.invoke(function, Operation::Evaluate, arguments, rows, &[returns])?;
            return self.as_long_as(function, values, rows).map(|mut values| values.remove(0));
        };
        let count = seen.true_count();
        if count == 0 {
            return Ok(new_null_array(returns, rows));
        }
        let kept = self.keep(function, arguments, &seen)?;
        let values = self.invoke(function, Operation::Evaluate, &kept, count, &[returns]);
        let values = values.map_err(|error| among(error, &seen))?;
        let values = self.as_long_as(function, values, count)?;
        let mut next = 0;
        let places = seen.values().iter().map(|seen| {
            next += u32::from(seen);
            seen.then(|| next - 1)
        });
        take(&values[0], &places.collect::<UInt32Array>(), None)
            .map_err(|error| self.wrong(function, error.to_string()))
    }

    /// The rows of a table function, and of which row of the arguments each is.
    ///
    /// # Errors
    ///
    /// As [`Module::evaluate`].
    pub fn expand(
        &self,
        function: usize,
        arguments: &[ArrayRef],
        rows: usize,
    ) -> Result<(UInt32Array, ArrayRef), CallError> {
        let types = [&DataType::UInt32, &self.functions[function].returns];
        let seen = self.seen(function, arguments);
        let (kept, count) = match &seen {
            Some(seen) => (self.keep(function, arguments, seen)?, seen.true_count()),
            None => (arguments.to_vec(), rows),
        };
        if count == 0 {
            return Ok((UInt32Array::from(Vec::<u32>::new()), new_null_array(types[1], 0)));
        }
        let columns = self.invoke(function, Operation::Evaluate, &kept, count, &types);
        let mut columns = columns.map_err(|error| match &seen {
            Some(seen) => among(error, seen),
            None => error,
        })?;
        let values = columns.remove(1);
        let of = columns.remove(0);
        let of = of.as_primitive::<UInt32Type>();
        let ascends = of.values().windows(2).all(|pair| pair[0] <= pair[1]);
        let in_range = of.values().last().is_none_or(|last| (*last as usize) < count);
        if of.len() != values.len() || of.null_count() > 0 || !ascends || !in_range {
            let reason = "the rows that its results are of are not in order, or not there";
            return Err(self.wrong(function, reason.to_owned()));
        }
        let of = match &seen {
            None => of.clone(),
            Some(seen) => {
                let places: Vec<u32> = seen.values().set_indices().map(|at| at as u32).collect();
                of.values().iter().map(|row| Some(places[*row as usize])).collect()
            }
        };
        Ok((of, values))
    }

    /// The states of an aggregate's groups after more rows: `groups` has the place of each row's
    /// group among `states`. A state that is NULL is that of a group without rows.
    ///
    /// # Errors
    ///
    /// As [`Module::evaluate`].
    pub fn update(
        &self,
        function: usize,
        states: &BinaryArray,
        groups: &UInt32Array,
        arguments: &[ArrayRef],
        is_retraction: bool,
    ) -> Result<BinaryArray, CallError> {
        let retracts = Kind::Aggregate { retracts: true };
        if is_retraction && self.functions[function].kind != retracts {
            return Err(self.wrong(function, "it cannot take rows back".to_owned()));
        }
        let operation = if is_retraction { Operation::Retract } else { Operation::Update };
        let mut columns: Vec<ArrayRef> = vec![Arc::new(states.clone())];
        match self.seen(function, arguments) {
            None => {
                columns.push(Arc::new(groups.clone()));
                columns.extend_from_slice(arguments);
            }
            // Nobody has anything to see.
            Some(seen) if seen.true_count() == 0 => return Ok(states.clone()),
            Some(seen) => {
                let groups: ArrayRef = Arc::new(groups.clone());
                columns.extend(self.keep(function, &[groups], &seen)?);
                columns.extend(self.keep(function, arguments, &seen)?);
            }
        }
        self.states(function, operation, &columns, states.len())
    }

    /// The states after others have been added to them; as [`Module::update`].
    ///
    /// # Errors
    ///
    /// As [`Module::evaluate`].
    pub fn merge(
        &self,
        function: usize,
        states: &BinaryArray,
        groups: &UInt32Array,
        others: &BinaryArray,
    ) -> Result<BinaryArray, CallError> {
        let columns: [ArrayRef; 3] =
            [Arc::new(states.clone()), Arc::new(groups.clone()), Arc::new(others.clone())];
        self.states(function, Operation::Merge, &columns, states.len())
    }

    /// The values of an aggregate's groups.
    ///
    /// # Errors
    ///
    /// As [`Module::evaluate`].
    pub fn finish(&self, function: usize, states: &BinaryArray) -> Result<ArrayRef, CallError> {
        let returns = &self.functions[function].returns;
        let columns: [ArrayRef; 1] = [Arc::new(states.clone())];
        let values =
            self.invoke(function, Operation::Finish, &columns, states.len(), &[returns])?;
        self.as_long_as(function, values, states.len()).map(|mut values| values.remove(0))
    }

    fn states(
        &self,
        function: usize,
        operation: Operation,
        columns: &[ArrayRef],
        count: usize,
    ) -> Result<BinaryArray, CallError> {
        let rows = columns[1].len();
        let states = self.invoke(function, operation, columns, rows, &[&DataType::Binary])?;
        let states = self.as_long_as(function, states, count)?;
        Ok(states[0].as_binary::<i32>().clone())
    }

    /// The rows that a function sees, if those are not all.
    fn seen(&self, function: usize, arguments: &[ArrayRef]) -> Option<BooleanArray> {
        let of = self.functions[function].arguments.iter();
        rows_without_null(
            of.zip(arguments).filter(|(of, _)| !of.nullable).map(|(_, argument)| argument),
        )
    }

    fn keep(
        &self,
        function: usize,
        columns: &[ArrayRef],
        seen: &BooleanArray,
    ) -> Result<Vec<ArrayRef>, CallError> {
        let kept = columns.iter().map(|column| filter(column, seen));
        kept.collect::<Result<_, _>>().map_err(|error| self.wrong(function, error.to_string()))
    }

    fn as_long_as(
        &self,
        function: usize,
        columns: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<Vec<ArrayRef>, CallError> {
        match columns.iter().find(|column| column.len() != rows) {
            None => Ok(columns),
            Some(column) => {
                let reason = format!("it gave {} values, and {rows} are needed", column.len());
                Err(self.wrong(function, reason))
            }
        }
    }

    fn wrong(&self, function: usize, reason: String) -> CallError {
        CallError { function: self.functions[function].name.clone(), reason, row: None }
    }

    /// Calls it by an instance that has nothing else to do, or by several of them.
    fn invoke(
        &self,
        function: usize,
        operation: Operation,
        arguments: &[ArrayRef],
        rows: usize,
        results: &[&DataType],
    ) -> Result<Vec<ArrayRef>, CallError> {
        if interrupt::gives_up() {
            return Err(self.unwanted(function));
        }
        let invocation = Invocation { function, operation, arguments, rows, results };
        if operation == Operation::Evaluate
            && (rows > 1 || search::is_on())
            && self.calls_each_row()
        {
            return self.each_row(&invocation);
        }
        let limits = &self.options.limits;
        let mut cost = search::cost(self.key());
        let Some(time) = cost.time_for(rows, limits) else {
            return Err(self.wrong(function, search::not_called(limits)));
        };
        let how = How { time, among: 1, caller: caller::current() };
        let no_thread = |reason| Stopped { error: self.wrong(function, reason), ran_out: false };
        let called = self.apart(no_thread, || {
            let mut running = None;
            let called = self.call(&mut running, &invocation, &how);
            running.into_iter().for_each(|running| self.give_back(running));
            called
        });
        called.map_err(|Stopped { error, ran_out }| {
            if ran_out {
                cost.ran_out(rows, time);
                search::set_cost(self.key(), cost);
            }
            error
        })
    }

    /// One call by `running`, or by another instance that takes its place; there is none after it
    /// was stopped.
    fn call(
        &self,
        running: &mut Option<Running>,
        invocation: &Invocation<'_>,
        how: &How,
    ) -> Result<Vec<ArrayRef>, Stopped> {
        let function = invocation.function;
        let _call = self.host.call();
        let idle = running.take().or_else(|| self.lock().pop());
        let mut instance = match idle {
            Some(running) => running,
            None => self.program.start(&self.host, &self.options).map_err(|error| Stopped {
                error: self.wrong(function, error.to_string()),
                ran_out: false,
            })?,
        };
        let store = instance.store();
        let began = Instant::now();
        instance::set_deadline(store, how.time);
        store.data_mut().http.among(how.among);
        store.data().log.begin(how.caller.as_ref());
        let (reason, row) = match instance.call(invocation) {
            Ok(columns) => {
                *running = Some(instance);
                return Ok(columns);
            }
            Err(Fault::Failed { row, mut reason }) => {
                *running = Some(instance);
                reason.truncate(reason.floor_char_boundary(REASON_MAX));
                (reason, row.filter(|row| *row < invocation.rows))
            }
            Err(Fault::Wrong(reason)) => (format!("what it gave is wrong: {reason}"), None),
            Err(Fault::Stopped(error)) => {
                let limits = Limits { time: how.time, ..self.options.limits.clone() };
                let is_cut = how.time < self.options.limits.time && invocation.rows == 1;
                let mut reason = instance::reason(&error, instance.store().data(), &limits);
                if is_cut && error.downcast_ref() == Some(&Trap::Interrupt) {
                    reason += ", which is cut since other rows of its batch ran out of it";
                }
                (reason, None)
            }
        };
        // Also who was told that there is no answer in time.
        let ran_out = began.elapsed() >= how.time;
        Err(Stopped { error: CallError { row, ..self.wrong(function, reason) }, ran_out })
    }

    fn unwanted(&self, function: usize) -> CallError {
        self.wrong(function, "nobody waits for it any more".to_owned())
    }

    /// What tells it from other modules.
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Makes an instance that nobody calls, to measure what one costs.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    #[doc(hidden)]
    pub fn start_one(&self) -> Result<(), LoadError> {
        self.apart(LoadError::Start, || self.program.start(&self.host, &self.options).map(drop))
    }

    /// An instance, for tests.
    #[cfg(test)]
    pub(crate) fn start(&self) -> Result<Running, LoadError> {
        self.program.start(&self.host, &self.options)
    }

    fn give_back(&self, running: Running) {
        self.lock().push(running);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Running>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does work by a thread of its own, if that is how calls are made.
    fn apart<T: Send, E: Send>(
        &self,
        failed: impl FnOnce(String) -> E,
        work: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        if !self.is_apart {
            return work();
        }
        let stack = THREAD_STACK_BYTES + self.options.limits.stack_bytes;
        // What a guest says there is of whoever calls it.
        let span = tracing::Span::current();
        let work = || span.in_scope(work);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(stack).spawn_scoped(scope, work);
            match thread.map(|thread| thread.join()) {
                Ok(Ok(done)) => done,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => Err(failed(format!("there is no thread for the call: {error}"))),
            }
        })
    }
}

/// A row that failed among those that were seen, as one of all rows.
fn among(error: CallError, seen: &BooleanArray) -> CallError {
    let row = error.row.and_then(|row| seen.values().set_indices().nth(row));
    CallError { row, ..error }
}

/// The types of a core module that does not carry them, for [`Options::wit`].
///
/// # Errors
///
/// If the file cannot be read, is longer than 1 MiB or is no text.
pub fn read_wit(path: &Path) -> Result<String, LoadError> {
    let bytes = read(path, WIT_MAX)?;
    String::from_utf8(bytes).map_err(|error| {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error());
        LoadError::Read { path: path.to_owned(), error }
    })
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, LoadError> {
    let read = |error| LoadError::Read { path: path.to_owned(), error };
    let about = std::fs::metadata(path).map_err(read)?;
    // A pipe that nobody writes to is never read to its end.
    if !about.is_file() {
        return Err(LoadError::NotFile { path: path.to_owned() });
    }
    match about.len() {
        size if size > max => Err(LoadError::TooLong { path: path.to_owned(), size, max }),
        _ => std::fs::read(path).map_err(read),
    }
}

/// WebAssembly's bytes, of what may be its text.
fn binary(bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    if bytes.starts_with(MAGIC) {
        return Ok(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| LoadError::NotWasm)?;
    if !text.trim_start().starts_with(['(', ';']) {
        return Err(LoadError::NotWasm);
    }
    wat::parse_str(text).map_err(|error| LoadError::Text(error.to_string()))
}

/// What a module's functions are called by, and what it imports.
fn program(
    host: &Arc<Host>,
    wasm: Vec<u8>,
    wit: Option<&str>,
) -> Result<(Program, Vec<String>), LoadError> {
    let is_core = wasm[MAGIC.len()..].starts_with(CORE);
    let made = if is_core { made(&wasm)? } else { Made::Typed };
    if let (Made::Canonical(export), None) = (&made, wit) {
        return Err(LoadError::NoTypes(export.clone()));
    }
    if made == Made::AsItIs && wit.is_none() {
        let module = host.module(&wasm).map_err(LoadError::invalid)?;
        let imports =
            module.imports().map(|import| format!("{}.{}", import.module(), import.name()));
        let imports = imports.collect();
        return Ok((Program::Core(core_abi::Program::new(host, &module)?), imports));
    }
    let wasm = match (is_core, made) {
        (false, _) => wasm,
        (true, Made::Typed) => component_of(wasm, None)?,
        (true, Made::Ours) => component_of(wasm, Some(wit.unwrap_or(WIT)))?,
        (true, Made::AsItIs | Made::Canonical(_)) => component_of(wasm, wit)?,
    };
    let exports = Exports::read(&wasm).map_err(|error| LoadError::Invalid(error.to_string()))?;
    let mut names = exports.names.iter();
    match names.find(|name| name.starts_with(FUNCTIONS_PREFIX)) {
        Some(found) => {
            is_of_this_version(found)?;
            let component = host.component(&wasm).map_err(LoadError::invalid)?;
            let (pre, imports) = linked(host, &component)?;
            Ok((Program::Columns(columns_abi::Program::new(pre)), imports))
        }
        None => {
            let compiled = typed_abi::Compiled::new(host, &wasm, exports)?;
            let (pre, imports) = linked(host, &compiled.component)?;
            Ok((Program::Typed(compiled.program(pre)?), imports))
        }
    }
}

/// A component with what it imports, and the names of that.
fn linked(
    host: &Host,
    component: &Component,
) -> Result<(InstancePre<State>, Vec<String>), LoadError> {
    let component_type = component.component_type();
    let imports = component_type.imports(host.engine()).map(|(name, _)| name.to_owned());
    let imports: Vec<String> = imports.collect();
    let mut linker = Linker::<State>::new(host.engine());
    let linked = instance::add_wasi(&mut linker)
        .and_then(|()| instance::add_host(&mut linker))
        .and_then(|()| http::add(&mut linker));
    linked.map_err(|error| LoadError::Start(format!("{error:#}")))?;
    let pre = linker.instantiate_pre(component).map_err(|error| {
        // The error names one import that nobody has, if that is what is wrong.
        let text = format!("{error:#}");
        let missing = imports.iter().find(|import| text.contains(&format!("`{import}`")));
        match missing {
            Some(import) => {
                LoadError::Import { import: import.clone(), is_wasi: import.starts_with("wasi") }
            }
            None => LoadError::Start(text),
        }
    })?;
    Ok((pre, imports))
}

/// What a core module was made to become.
#[derive(PartialEq, Eq)]
enum Made {
    /// A module whose functions take numbers.
    AsItIs,
    /// One whose functions take more, by the canonical ABI, of which it has this export, and which
    /// does not say what.
    Canonical(String),
    /// A component, and it carries its types.
    Typed,
    /// A component of our WIT, by the names of its exports.
    Ours,
}

/// Looks at the sections of a core module.
fn made(wasm: &[u8]) -> Result<Made, LoadError> {
    let mut made = Made::AsItIs;
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        match payload.map_err(|error| LoadError::Invalid(error.to_string()))? {
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                return Ok(Made::Typed);
            }
            Payload::ExportSection(exports) => {
                let names = exports.into_iter().filter_map(|export| Some(export.ok()?.name));
                for name in names {
                    if name.starts_with(FUNCTIONS_PREFIX) {
                        let interface = name.split('#').next().unwrap_or(name);
                        is_of_this_version(interface)?;
                        made = Made::Ours;
                    } else if made == Made::AsItIs && name.starts_with(CANONICAL_PREFIX) {
                        made = Made::Canonical(name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(made)
}

fn is_of_this_version(interface: &str) -> Result<(), LoadError> {
    match interface == FUNCTIONS_INTERFACE {
        true => Ok(()),
        false => {
            let (found, expected) = (interface.to_owned(), FUNCTIONS_INTERFACE);
            Err(LoadError::Version { found, expected })
        }
    }
}

/// The module of WASI's first version as a component sees it.
const WASI_P1: &str = "wasi_snapshot_preview1";

/// Makes a component of a core module with the names of the canonical ABI; `wit` has its types,
/// where it does not carry them.
fn component_of(mut wasm: Vec<u8>, wit: Option<&str>) -> Result<Vec<u8>, LoadError> {
    let failed = |error: String| LoadError::Component(error);
    if let Some(wit) = wit {
        let mut resolve = Resolve::default();
        let types = resolve.push_str("udf.wit", wit).and_then(|package| {
            // Ours has more than one.
            let world = resolve.select_world(&[package], None).or_else(|error| {
                resolve.select_world(&[package], Some(WORLD)).map_err(|_| error)
            })?;
            let utf8 = StringEncoding::UTF8;
            wasm = plain_names::to_canonical(&wasm, &resolve, world)?;
            wit_component::embed_component_metadata(&mut wasm, &resolve, world, utf8)
        });
        types.map_err(|error| failed(format!("its WIT: {error:#}")))?;
    }
    let adapter = match go_wasi::is_go(&wasm) {
        true => Cow::Owned(go_wasi::adapter().map_err(failed)?),
        false => Cow::Borrowed(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER),
    };
    let encoder = ComponentEncoder::default()
        .validate(true)
        .module(&wasm)
        .and_then(|encoder| encoder.adapter(WASI_P1, &adapter));
    let encoded = encoder.and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| failed(format!("{error:#}")))
}
