//! Core modules that export plain functions of numbers, called row by row.
//!
//! `i32`, `i64`, `f32` and `f64` are `int`, `bigint`, `real` and `double`. A function without a
//! result is left out; so are those whose names languages keep for themselves (`_start`, `__new`).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use wasmtime::{
    Caller, ExternType, Func, Instance, InstancePre, Linker, Module, Store, UnknownImportError,
    ValRaw, ValType,
};

use crate::LoadError;
use crate::host::Host;
use crate::instance::{self, Options, RANDOM_BYTES_MAX, State};
use crate::program::{Fault, Invocation};
use crate::signature::{Argument, Kind, Signature, sql_name};

pub(crate) struct Program {
    pre: InstancePre<State>,
    exports: Vec<String>,
    signatures: Vec<Signature>,
    /// Functions that cannot be called, and why.
    left_out: Vec<String>,
}

pub(crate) struct Running {
    pub store: Store<State>,
    functions: Vec<Func>,
    /// Arguments, and then results, of one call.
    values: Vec<ValRaw>,
}

impl Program {
    pub fn new(host: &Host, module: &Module) -> Result<Program, LoadError> {
        let mut linker = Linker::new(host.engine());
        link(&mut linker).map_err(|error| LoadError::Start(format!("{error:#}")))?;
        let pre = linker.instantiate_pre(module).map_err(|error| {
            match error.downcast_ref::<UnknownImportError>() {
                Some(missing) => LoadError::Import {
                    import: format!("{}.{}", missing.module(), missing.name()),
                    is_wasi: missing.module().starts_with("wasi"),
                },
                None => LoadError::Start(format!("{error:#}")),
            }
        })?;
        let (exports, signatures, left_out) = (Vec::new(), Vec::new(), Vec::new());
        let mut program = Program { pre, exports, signatures, left_out };
        for export in module.exports() {
            let ExternType::Func(function) = export.ty() else { continue };
            if export.name().starts_with('_') || export.name().starts_with("cabi_") {
                continue;
            }
            let types = function.params().map(|param| data_type(&param));
            let arguments = types.collect::<Option<Vec<_>>>();
            let mut results = function.results();
            let result = results.next().as_ref().and_then(data_type);
            match (arguments, result, results.next()) {
                (Some(arguments), Some(returns), None) => {
                    program.exports.push(export.name().to_owned());
                    program.signatures.push(signature(export.name(), arguments, returns));
                }
                _ => program.left_out.push(format!(
                    "'{}' is not a function of numbers with one result",
                    export.name()
                )),
            }
        }
        match program.exports.is_empty() {
            true => Err(LoadError::NoFunctions(program.left_out)),
            false => Ok(program),
        }
    }

    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    pub fn start(&self, host: &Host, options: &Options) -> Result<Running, LoadError> {
        let mut store = instance::store(host, options).map_err(LoadError::Start)?;
        instance::set_deadline(&mut store, options.limits.time);
        let started = self.pre.instantiate(&mut store).and_then(|instance| {
            initialize(&mut store, &instance)?;
            Ok(instance)
        });
        let instance = started.map_err(|error| {
            LoadError::Start(instance::reason(&error, store.data(), &options.limits))
        })?;
        let functions = self
            .exports
            .iter()
            .map(|name| instance.get_func(&mut store, name).expect("it is exported"));
        Ok(Running { functions: functions.collect(), store, values: Vec::new() })
    }
}

/// Reactors are set up by a function of this name.
fn initialize(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<()> {
    match instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
        Ok(initialize) => initialize.call(store, ()),
        Err(_) => Ok(()),
    }
}

fn data_type(value: &ValType) -> Option<DataType> {
    Some(match value {
        ValType::I32 => DataType::Int32,
        ValType::I64 => DataType::Int64,
        ValType::F32 => DataType::Float32,
        ValType::F64 => DataType::Float64,
        _ => return None,
    })
}

fn signature(export: &str, arguments: Vec<DataType>, returns: DataType) -> Signature {
    let arguments = arguments.into_iter().enumerate().map(|(index, data_type)| Argument {
        name: format!("a{index}"),
        data_type,
        nullable: false,
        default: None,
    });
    Signature {
        name: sql_name(export),
        kind: Kind::Scalar,
        arguments: arguments.collect(),
        returns,
        deterministic: true,
    }
}

/// WASI, and what AssemblyScript calls when it gives up.
fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p1::add_to_linker_sync(linker, |state: &mut State| &mut state.wasi_p1)?;
    linker.allow_shadowing(true);
    linker.func_wrap("wasi_snapshot_preview1", "poll_oneoff", no_wait)?;
    linker.func_wrap("wasi_snapshot_preview1", "random_get", random_get)?;
    linker.allow_shadowing(false);
    linker.func_wrap(
        "env",
        "abort",
        |mut caller: Caller<'_, State>, message: i32, file: i32, line: i32, column: i32| {
            let message = assemblyscript_text(&mut caller, message);
            let file = assemblyscript_text(&mut caller, file);
            Err::<(), _>(wasmtime::format_err!("{message} at {file}:{line}:{column}"))
        },
    )?;
    Ok(())
}

/// Bytes of a subscription of WASI's first version, and of an event.
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;

/// `poll_oneoff`: whatever a guest waits for is there at once, since no guest waits.
fn no_wait(
    mut caller: Caller<'_, State>,
    subscriptions: u32,
    events: u32,
    count: u32,
    events_count: u32,
) -> i32 {
    /// EFAULT.
    const FAULT: i32 = 21;
    let memory = caller.get_export("memory").and_then(|memory| memory.into_memory());
    let Some(memory) = memory else { return FAULT };
    let data = memory.data_mut(&mut caller);
    for index in 0..count as usize {
        let from = subscriptions as usize + index * SUBSCRIPTION;
        let to = events as usize + index * EVENT;
        // The user's data, and the kind of what is waited for.
        let Some(head) = data.get(from..from + 9).and_then(<[u8]>::first_chunk::<9>) else {
            return FAULT;
        };
        let [user @ .., kind] = *head;
        let Some(event) = data.get_mut(to..to + EVENT) else { return FAULT };
        event.fill(0);
        event[..8].copy_from_slice(&user);
        event[10] = kind;
    }
    let at = events_count as usize;
    match data.get_mut(at..at + 4) {
        Some(place) => place.copy_from_slice(&count.to_le_bytes()),
        None => return FAULT,
    }
    0
}

/// WASI's random numbers: what it answers is an error's number, or 0.
fn random_get(mut caller: Caller<'_, State>, to: i32, length: i32) -> wasmtime::Result<i32> {
    const FAULT: i32 = 21;
    let memory = caller.get_export("memory").and_then(|memory| memory.into_memory());
    let Some(memory) = memory else { return Ok(FAULT) };
    let (to, length) = (to as u32 as usize, length as u32 as usize);
    let (data, state) = memory.data_and_store_mut(&mut caller);
    let place = to.checked_add(length).and_then(|end| data.get_mut(to..end));
    let Some(place) = place.filter(|place| place.len() as u64 <= RANDOM_BYTES_MAX) else {
        return Ok(FAULT);
    };
    state.fill_randomly(place)?;
    Ok(0)
}

/// Bytes of a text of AssemblyScript that are read.
const TEXT_MAX: usize = 2048;

/// UTF-16 at an address, with its length in bytes before it.
fn assemblyscript_text(caller: &mut Caller<'_, State>, address: i32) -> String {
    let memory = caller.get_export("memory").and_then(|memory| memory.into_memory());
    let Some(memory) = memory else { return String::new() };
    let data = memory.data(&*caller);
    let start = address as u32 as usize;
    let length = start.checked_sub(4).and_then(|at| data.get(at..start));
    let Some(length) = length.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    else {
        return String::new();
    };
    let length = (length as usize).min(TEXT_MAX);
    let bytes = data.get(start..start + length).unwrap_or_default();
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

impl Running {
    pub fn call(&mut self, invocation: &Invocation<'_>) -> Result<Vec<ArrayRef>, Fault> {
        let rows = invocation.rows;
        Ok(vec![match invocation.results[0] {
            DataType::Int32 => {
                let values = self.rows(invocation, |value| value.get_i32())?;
                Arc::new(PrimitiveArray::<Int32Type>::from_iter_values(values))
            }
            DataType::Int64 => {
                let values = self.rows(invocation, |value| value.get_i64())?;
                Arc::new(PrimitiveArray::<Int64Type>::from_iter_values(values))
            }
            DataType::Float32 => {
                let value = |value: ValRaw| f32::from_bits(value.get_f32());
                let values = self.rows(invocation, value)?;
                Arc::new(PrimitiveArray::<Float32Type>::from_iter_values(values))
            }
            DataType::Float64 => {
                let value = |value: ValRaw| f64::from_bits(value.get_f64());
                let values = self.rows(invocation, value)?;
                Arc::new(PrimitiveArray::<Float64Type>::from_iter_values(values))
            }
            other => unreachable!("{other} is of no core module, of {rows} rows"),
        }])
    }

    fn rows<T>(
        &mut self,
        invocation: &Invocation<'_>,
        value: impl Fn(ValRaw) -> T,
    ) -> Result<Vec<T>, Fault> {
        let function = self.functions[invocation.function];
        let arguments: Vec<Numbers<'_>> = invocation.arguments.iter().map(Numbers::new).collect();
        let mut values = Vec::with_capacity(invocation.rows);
        self.values.resize(arguments.len().max(1), ValRaw::i64(0));
        for row in 0..invocation.rows {
            for (place, argument) in self.values.iter_mut().zip(&arguments) {
                *place = argument.at(row);
            }
            // SAFETY: the arguments have the types of the function's parameters, as the signature
            // was made from them, and there is room for its one result.
            unsafe {
                function.call_unchecked(&mut self.store, &mut self.values[..])?;
            }
            values.push(value(self.values[0]));
        }
        Ok(values)
    }
}

/// A column of numbers.
enum Numbers<'a> {
    I32(&'a [i32]),
    I64(&'a [i64]),
    F32(&'a [f32]),
    F64(&'a [f64]),
}

impl Numbers<'_> {
    fn new(array: &ArrayRef) -> Numbers<'_> {
        match array.data_type() {
            DataType::Int32 => Numbers::I32(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Numbers::I64(array.as_primitive::<Int64Type>().values()),
            DataType::Float32 => Numbers::F32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Numbers::F64(array.as_primitive::<Float64Type>().values()),
            other => unreachable!("{other} is of no core module"),
        }
    }

    fn at(&self, row: usize) -> ValRaw {
        match self {
            Numbers::I32(values) => ValRaw::i32(values[row]),
            Numbers::I64(values) => ValRaw::i64(values[row]),
            Numbers::F32(values) => ValRaw::f32(values[row].to_bits()),
            Numbers::F64(values) => ValRaw::f64(values[row].to_bits()),
        }
    }
}
