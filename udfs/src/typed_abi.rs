//! Components that export plain functions of WIT types, called row by row, or by columns where all
//! of a function's parameters and its result are `list<option<T>>`.
//!
//! | WIT | SQL |
//! |---|---|
//! | bool; s8 … s64; u8 … u64; f32, f64 | boolean; tinyint … bigint; unsigned; real, double |
//! | string, char, enum | varchar |
//! | list<u8>; list<T> | bytea; array |
//! | record; tuple | row, of fields `f0`, `f1` … for a tuple |
//! | option<T> | T, which may be NULL |
//! | result<T, E> of a function | T; an error fails its row |
//!
//! Functions of other types are left out.
//!
//! Rows are gone through by a loop that the host adds to the component ([`loops`]); where there can
//! be none, by the host: a call for each row, or with all of them as lists.

pub(crate) mod exports;
mod loop_text;
mod loops;
#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use wasmtime::Store;
use wasmtime::component::{Component, Func, Instance, InstancePre, TypedFunc, Val};

use self::exports::{Exports, Fails, Function};
use crate::LoadError;
use crate::columns::{self, Columns};
use crate::host::Host;
use crate::instance::{self, Options, State};
use crate::program::{Fault, Invocation};
use crate::signature::Signature;
use crate::values::{self, Shape};

/// A component that is compiled.
pub(crate) struct Compiled {
    pub component: Component,
    functions: Vec<Callable>,
    signatures: Vec<Signature>,
    /// Functions that cannot be called, and why.
    left_out: Vec<String>,
}

pub(crate) struct Program {
    pre: InstancePre<State>,
    functions: Vec<Callable>,
    signatures: Vec<Signature>,
    left_out: Vec<String>,
}

#[derive(Clone)]
struct Callable {
    function: Function,
    /// The number of its loop.
    loop_number: Option<usize>,
}

type Nodes = Vec<(u32, u32)>;
type Buffers = Vec<Vec<u8>>;
type Loop = TypedFunc<(u32, &'static [&'static [u8]]), (Result<(Nodes, Buffers), (u32, String)>,)>;

pub(crate) struct Running {
    pub store: Store<State>,
    functions: Vec<(Func, Callable, Option<Loop>)>,
}

impl Compiled {
    pub fn new(host: &Host, wasm: &[u8], exports: Exports) -> Result<Compiled, LoadError> {
        let with_loops = loops::add_to(wasm, &exports).and_then(|(wasm, numbers)| {
            let component = host.component(&wasm);
            // Such as one with a memory of 64 bits.
            let not_so = |error: &wasmtime::Error| {
                tracing::debug!(%error, "a component's functions are called one by one");
            };
            Some((component.inspect_err(not_so).ok()?, numbers))
        });
        let (component, numbers) = match with_loops {
            Some(found) => found,
            None => {
                let component = host.component(wasm).map_err(LoadError::invalid)?;
                (component, vec![None; exports.functions.len()])
            }
        };
        let (mut functions, mut signatures) = (Vec::new(), Vec::new());
        for ((function, signature), loop_number) in exports.functions.into_iter().zip(numbers) {
            functions.push(Callable { function, loop_number });
            signatures.push(signature);
        }
        Ok(Compiled { component, functions, signatures, left_out: exports.left_out })
    }

    pub fn program(self, pre: InstancePre<State>) -> Result<Program, LoadError> {
        let Compiled { functions, signatures, left_out, .. } = self;
        match functions.is_empty() {
            true => Err(LoadError::NoFunctions(left_out)),
            false => Ok(Program { pre, functions, signatures, left_out }),
        }
    }
}

impl Program {
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    pub fn start(&self, host: &Host, options: &Options) -> Result<Running, LoadError> {
        let mut store = instance::store(host, options).map_err(LoadError::Start)?;
        instance::set_deadline(&mut store, options.limits.time);
        let instance = self.pre.instantiate(&mut store).map_err(|error| {
            LoadError::Start(instance::reason(&error, store.data(), &options.limits))
        })?;
        let mut functions = Vec::with_capacity(self.functions.len());
        for callable in &self.functions {
            let Callable { function, loop_number } = callable;
            let interface = function.interface.as_deref();
            let func = exported(&mut store, &instance, interface, &function.name);
            let loop_over = match loop_number.map(loops::name) {
                Some(name) => {
                    let func = exported(&mut store, &instance, None, &name)?;
                    let typed = func.typed(&store);
                    Some(typed.map_err(|error| LoadError::Start(format!("{error:#}")))?)
                }
                None => None,
            };
            functions.push((func?, callable.clone(), loop_over));
        }
        Ok(Running { functions, store })
    }
}

fn exported(
    store: &mut Store<State>,
    instance: &Instance,
    interface: Option<&str>,
    name: &str,
) -> Result<Func, LoadError> {
    let mut find = || {
        let interface = match interface {
            Some(name) => Some(instance.get_export_index(&mut *store, None, name)?),
            None => None,
        };
        let index = instance.get_export_index(&mut *store, interface.as_ref(), name)?;
        instance.get_func(&mut *store, index)
    };
    find().ok_or_else(|| LoadError::Function {
        function: name.to_owned(),
        reason: "it is not exported as a function".to_owned(),
    })
}

impl Running {
    pub fn call(&mut self, invocation: &Invocation<'_>) -> Result<Vec<ArrayRef>, Fault> {
        let (func, Callable { function, .. }, loop_over) = &self.functions[invocation.function];
        if let Some(loop_over) = loop_over {
            let mut arguments = function.parameters.iter().zip(invocation.arguments);
            if arguments.all(|(shape, array)| fits(shape, array.as_ref())) {
                return Self::by_loop(&mut self.store, loop_over, function, invocation);
            }
        }
        let mut values = match function.by_columns {
            true => Self::by_columns(&mut self.store, func, function, invocation)?,
            false => Self::by_rows(&mut self.store, func, function, invocation)?,
        };
        let data_type: &DataType = invocation.results[0];
        let array = values::array(&function.result, data_type, &mut values);
        Ok(vec![array.map_err(Fault::Wrong)?])
    }

    fn by_loop(
        store: &mut Store<State>,
        loop_over: &Loop,
        function: &Function,
        invocation: &Invocation<'_>,
    ) -> Result<Vec<ArrayRef>, Fault> {
        let columns = Columns::new(invocation.arguments);
        let rows = invocation.rows as u32;
        let (result,) = columns.with_buffers(|buffers| loop_over.call(store, (rows, buffers)))?;
        let (nodes, buffers) =
            result.map_err(|(row, reason)| Fault::Failed { row: Some(row as usize), reason })?;
        let given = nodes.first().map_or(0, |node| node.0 as usize);
        if function.by_columns {
            as_many_as_rows(given, invocation)?;
        }
        columns::of_parts(nodes, buffers, invocation.results).map_err(Fault::Wrong)
    }

    fn by_rows(
        store: &mut Store<State>,
        func: &Func,
        function: &Function,
        invocation: &Invocation<'_>,
    ) -> Result<Vec<Val>, Fault> {
        let mut values = Vec::with_capacity(invocation.rows);
        let mut arguments = Vec::with_capacity(function.parameters.len());
        let mut result = [Val::Bool(false)];
        for row in 0..invocation.rows {
            arguments.clear();
            for (shape, array) in function.parameters.iter().zip(invocation.arguments) {
                let value = values::value(shape, array.as_ref(), row);
                arguments.push(value.map_err(|reason| Fault::Failed { row: Some(row), reason })?);
            }
            func.call(&mut *store, &arguments, &mut result)?;
            let value = std::mem::replace(&mut result[0], Val::Bool(false));
            values.push(match (function.fails != Fails::Never, value) {
                (true, Val::Result(Ok(value))) => value.map_or(Val::Bool(false), |value| *value),
                (true, Val::Result(Err(error))) => {
                    let reason = error.map(|error| values::text(&error)).unwrap_or_default();
                    return Err(Fault::Failed { row: Some(row), reason });
                }
                (_, value) => value,
            });
        }
        Ok(values)
    }

    fn by_columns(
        store: &mut Store<State>,
        func: &Func,
        function: &Function,
        invocation: &Invocation<'_>,
    ) -> Result<Vec<Val>, Fault> {
        let arguments = function.parameters.iter().zip(invocation.arguments);
        let arguments = arguments.map(|(shape, array)| {
            let items = (0..invocation.rows).map(|row| {
                let value = values::value(shape, array.as_ref(), row);
                value.map_err(|reason| Fault::Failed { row: Some(row), reason })
            });
            Ok(Val::List(items.collect::<Result<_, Fault>>()?))
        });
        let arguments = arguments.collect::<Result<Vec<Val>, Fault>>()?;
        let mut result = [Val::Bool(false)];
        func.call(store, &arguments, &mut result)?;
        let [Val::List(values)] = result else {
            return Err(Fault::Wrong("its result is no list".to_owned()));
        };
        as_many_as_rows(values.len(), invocation)?;
        Ok(values)
    }
}

fn as_many_as_rows(count: usize, invocation: &Invocation<'_>) -> Result<(), Fault> {
    match count == invocation.rows {
        true => Ok(()),
        false => Err(Fault::Wrong(format!("it gave {count} values for {} rows", invocation.rows))),
    }
}

/// Whether there is no NULL but where the function knows it: who goes through the rows one by one
/// says which of them has it. What is beneath a NULL counts as well.
fn fits(shape: &Shape, array: &dyn Array) -> bool {
    match shape {
        Shape::Option(shape) => fits_within(shape, array),
        shape => array.null_count() == 0 && fits_within(shape, array),
    }
}

fn fits_within(shape: &Shape, array: &dyn Array) -> bool {
    let all = |shapes: &mut dyn Iterator<Item = &Shape>| {
        let columns = array.as_struct().columns();
        shapes.zip(columns).all(|(shape, column)| fits(shape, column.as_ref()))
    };
    match shape {
        Shape::List(item) => fits(item, array.as_list::<i32>().values().as_ref()),
        Shape::Record(fields) => all(&mut fields.iter().map(|(_, shape)| shape)),
        Shape::Tuple(shapes) => all(&mut shapes.iter()),
        _ => true,
    }
}
