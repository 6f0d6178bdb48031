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

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use wasmtime::Store;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Func, Instance, InstancePre, Type, Val};

use crate::LoadError;
use crate::host::Host;
use crate::instance::{self, Options, State};
use crate::program::{Fault, Invocation};
use crate::signature::{Argument, Kind, Signature, sql_name};
use crate::values::{self, Shape};

pub(crate) struct Program {
    pre: InstancePre<State>,
    functions: Vec<Function>,
    signatures: Vec<Signature>,
}

/// A function that is exported.
#[derive(Clone)]
struct Function {
    /// The interface that it is in, unless it is in none.
    interface: Option<String>,
    name: String,
    /// Of the values of its parameters, and of its result.
    parameters: Vec<Shape>,
    result: Shape,
    /// Whether its result says that it can fail.
    fails: bool,
    /// Whether it takes all rows at once.
    by_columns: bool,
}

pub(crate) struct Running {
    pub store: Store<State>,
    functions: Vec<(Func, Function)>,
}

impl Program {
    pub fn new(
        host: &Host,
        pre: InstancePre<State>,
        component: &Component,
    ) -> Result<Program, LoadError> {
        let mut program = Program { pre, functions: Vec::new(), signatures: Vec::new() };
        let mut left_out = Vec::new();
        let component_type = component.component_type();
        for (name, export) in component_type.exports(host.engine()) {
            match export.ty {
                ComponentItem::ComponentFunc(ty) => {
                    program.add(None, name, &ty, &mut left_out);
                }
                ComponentItem::ComponentInstance(interface) => {
                    for (function, export) in interface.exports(host.engine()) {
                        if let ComponentItem::ComponentFunc(ty) = export.ty {
                            program.add(Some(name), function, &ty, &mut left_out);
                        }
                    }
                }
                _ => {}
            }
        }
        match program.functions.is_empty() {
            true => Err(LoadError::NoFunctions(left_out)),
            false => Ok(program),
        }
    }

    fn add(
        &mut self,
        interface: Option<&str>,
        name: &str,
        ty: &ComponentFunc,
        left_out: &mut Vec<String>,
    ) {
        match function(interface, name, ty) {
            Ok((function, signature)) => {
                self.functions.push(function);
                self.signatures.push(signature);
            }
            Err(reason) => left_out.push(format!("'{name}': {reason}")),
        }
    }

    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    pub fn start(&self, host: &Host, options: &Options) -> Result<Running, LoadError> {
        let mut store = instance::store(host, options).map_err(LoadError::Start)?;
        instance::set_deadline(&mut store, options.limits.time);
        let instance = self.pre.instantiate(&mut store).map_err(|error| {
            LoadError::Start(instance::reason(&error, store.data(), &options.limits))
        })?;
        let functions = self.functions.iter().map(|function| {
            let found = exported(&mut store, &instance, function);
            (found.expect("it is exported"), function.clone())
        });
        Ok(Running { functions: functions.collect(), store })
    }
}

fn exported(store: &mut Store<State>, instance: &Instance, function: &Function) -> Option<Func> {
    let interface = match &function.interface {
        Some(name) => Some(instance.get_export_index(&mut *store, None, name)?),
        None => None,
    };
    let index = instance.get_export_index(&mut *store, interface.as_ref(), &function.name)?;
    instance.get_func(store, index)
}

/// How a function is called, or why it cannot be.
fn function(
    interface: Option<&str>,
    name: &str,
    ty: &ComponentFunc,
) -> Result<(Function, Signature), String> {
    let result = ty.results().next().ok_or("it has no result")?;
    let (result, fails) = match result {
        Type::Result(result) => (result.ok().ok_or("it has no result")?, true),
        result => (result, false),
    };
    let result = Shape::new(&result)?;
    let mut parameters = Vec::new();
    let mut names = Vec::new();
    for (name, ty) in ty.params() {
        parameters.push(Shape::new(&ty).map_err(|error| format!("parameter '{name}': {error}"))?);
        names.push(name.to_owned());
    }
    let all = || parameters.iter().chain([&result]);
    let by_columns = !parameters.is_empty() && !fails && all().all(|s| s.optional_item().is_some());
    if by_columns {
        let item = |shape: Shape| shape.optional_item().cloned().expect("it was looked at");
        parameters = parameters.into_iter().map(item).collect();
    }
    let value = match by_columns {
        true => result.optional_item().cloned().expect("it was looked at"),
        false => result,
    };
    let arguments = names.iter().zip(&parameters).map(|(name, shape)| Argument {
        name: sql_name(name),
        data_type: shape.data_type(),
        nullable: shape.is_option(),
        default: None,
    });
    let signature = Signature {
        name: sql_name(name),
        kind: Kind::Scalar,
        arguments: arguments.collect(),
        returns: value.data_type(),
        deterministic: true,
    };
    let function = Function {
        interface: interface.map(str::to_owned),
        name: name.to_owned(),
        parameters,
        result: value,
        fails,
        by_columns,
    };
    Ok((function, signature))
}

impl Running {
    pub fn call(&mut self, invocation: &Invocation<'_>) -> Result<Vec<ArrayRef>, Fault> {
        let (func, function) = &self.functions[invocation.function];
        let mut values = match function.by_columns {
            true => Self::by_columns(&mut self.store, func, function, invocation)?,
            false => Self::by_rows(&mut self.store, func, function, invocation)?,
        };
        let data_type: &DataType = invocation.results[0];
        let array = values::array(&function.result, data_type, &mut values);
        Ok(vec![array.map_err(Fault::Wrong)?])
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
            values.push(match (function.fails, value) {
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
        match values.len() == invocation.rows {
            true => Ok(values),
            false => Err(Fault::Wrong(format!(
                "it gave {} values for {} rows",
                values.len(),
                invocation.rows
            ))),
        }
    }
}
