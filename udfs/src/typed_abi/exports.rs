//! What a component exports, read from its bytes before it is compiled, and how its functions are
//! lifted from those of its core modules.

use wasmparser::component_types::{ComponentEntityType, ComponentFuncType, ComponentFuncTypeId};
use wasmparser::types::{Types, TypesRef};
use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ExternalKind, Parser, Payload,
    ValidPayload, Validator, WasmFeatures,
};

use crate::signature::{Argument, Kind, Signature, sql_name};
use crate::values::{self, Shape};

/// A function that is exported, and can be called.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// The interface that it is in, unless it is in none.
    pub interface: Option<String>,
    pub name: String,
    /// Of the values of its parameters, and of its result.
    pub parameters: Vec<Shape>,
    pub result: Shape,
    /// What its result says that it can fail with.
    pub fails: Fails,
    /// Whether it takes all rows at once.
    pub by_columns: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fails {
    Never,
    /// With an error that says nothing, a text, or something else.
    Silently,
    WithText,
    WithValue,
}

/// A core function that becomes one of the component.
#[derive(Clone, Debug)]
pub(crate) struct Lift {
    pub core_function: u32,
    pub memory: Option<u32>,
    pub realloc: Option<u32>,
    pub post_return: Option<u32>,
}

/// How many there are of each, which is the index of what comes next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub modules: u32,
    pub core_instances: u32,
    pub core_functions: u32,
    pub memories: u32,
    pub types: u32,
    pub functions: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Exports {
    /// Of all that it exports.
    pub names: Vec<String>,
    pub functions: Vec<(Function, Signature)>,
    /// What becomes each of the functions, where that is known and as usual: of one memory, with
    /// text in UTF-8.
    pub lifts: Vec<Option<Lift>>,
    /// Functions that cannot be called, and why.
    pub left_out: Vec<String>,
    pub counts: Counts,
}

impl Exports {
    /// # Errors
    ///
    /// If it is no component. Bodies of functions are not looked at.
    pub fn read(component: &[u8]) -> wasmparser::Result<Exports> {
        let mut seen = Seen::default();
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut types = None;
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload?;
            seen.payload(&payload)?;
            if let ValidPayload::End(end) = validator.payload(&payload)? {
                types = Some(end);
            }
        }
        let Some(types) = types.filter(|_| !seen.is_core) else {
            return Ok(Exports::default());
        };
        Ok(seen.exports(&types))
    }

    fn add(&mut self, types: TypesRef<'_>, seen: &Seen<'_>, place: Place<'_>) {
        let Place { interface, name, ty } = place;
        let (function, signature) = match function(types, interface, name, &types[ty]) {
            Ok(found) => found,
            Err(reason) => return self.left_out.push(format!("'{name}': {reason}")),
        };
        let core_name = match interface {
            Some(interface) => format!("{interface}#{name}"),
            None => name.to_owned(),
        };
        let lift = seen.lift(types, &core_name, &function);
        self.functions.push((function, signature));
        self.lifts.push(lift);
    }
}

struct Place<'a> {
    interface: Option<&'a str>,
    name: &'a str,
    ty: ComponentFuncTypeId,
}

/// What is in the outermost component.
#[derive(Default)]
struct Seen<'a> {
    depth: usize,
    is_core: bool,
    names: Vec<&'a str>,
    /// Under which name each of its core functions is exported, where it is.
    core_functions: Vec<Option<&'a str>>,
    lifts: Vec<(u32, u32, Box<[CanonicalOption]>)>,
}

impl<'a> Seen<'a> {
    fn payload(&mut self, payload: &Payload<'a>) -> wasmparser::Result<()> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.is_core |= self.depth == 0 && *encoding == wasmparser::Encoding::Module;
                self.depth += 1;
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            _ if self.depth != 1 => {}
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    self.names.push(export?.name.name);
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    if let ComponentAlias::CoreInstanceExport {
                        kind: ExternalKind::Func | ExternalKind::FuncExact,
                        name,
                        ..
                    } = alias?
                    {
                        self.core_functions.push(Some(name));
                    }
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions.clone() {
                    match function? {
                        CanonicalFunction::Lift { core_func_index, type_index, options } => {
                            self.lifts.push((core_func_index, type_index, options));
                        }
                        _ => self.core_functions.push(None),
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn exports(&self, types: &Types) -> Exports {
        let types = types.as_ref();
        let mut exports = Exports {
            names: self.names.iter().map(|name| (*name).to_owned()).collect(),
            counts: Counts {
                modules: types.module_count(),
                core_instances: types.core_instance_count(),
                core_functions: types.function_count(),
                memories: types.memory_count(),
                types: types.component_type_count(),
                functions: types.component_function_count(),
            },
            ..Exports::default()
        };
        for name in &self.names {
            match types.component_item_for_export(name).map(|item| &item.ty) {
                Some(ComponentEntityType::Func(ty)) => {
                    exports.add(types, self, Place { interface: None, name, ty: *ty });
                }
                Some(ComponentEntityType::Instance(instance)) => {
                    let interface = Some(*name);
                    for (name, item) in &types[*instance].exports {
                        if let ComponentEntityType::Func(ty) = item.ty {
                            exports.add(types, self, Place { interface, name, ty });
                        }
                    }
                }
                _ => {}
            }
        }
        exports
    }

    /// What becomes the function whose core function has this name, as tools call them, and which
    /// has the same type.
    fn lift(&self, types: TypesRef<'_>, core_name: &str, function: &Function) -> Option<Lift> {
        let core_name_of = |index: u32| self.core_functions.get(index as usize).copied().flatten();
        let mut named = self.lifts.iter().filter(|lift| core_name_of(lift.0) == Some(core_name));
        let (core_function, ty, options) = named.next().filter(|_| named.next().is_none())?;
        let ty = match types.component_any_type_at(*ty) {
            wasmparser::component_types::ComponentAnyTypeId::Func(ty) => &types[ty],
            _ => return None,
        };
        let (lifted, _) = self::function(types, None, core_name, ty).ok()?;
        let is_same = lifted.parameters == function.parameters
            && lifted.result == function.result
            && (lifted.fails, lifted.by_columns) == (function.fails, function.by_columns);
        let mut lift =
            Lift { core_function: *core_function, memory: None, realloc: None, post_return: None };
        for option in options {
            match option {
                CanonicalOption::UTF8 => {}
                CanonicalOption::Memory(memory) => lift.memory = Some(*memory),
                CanonicalOption::Realloc(realloc) => lift.realloc = Some(*realloc),
                CanonicalOption::PostReturn(done) => lift.post_return = Some(*done),
                _ => return None,
            }
        }
        is_same.then_some(lift)
    }
}

/// How a function is called, or why it cannot be.
fn function(
    types: TypesRef<'_>,
    interface: Option<&str>,
    name: &str,
    ty: &ComponentFuncType,
) -> Result<(Function, Signature), String> {
    if ty.async_ {
        return Err("it is async".to_owned());
    }
    let result = ty.result.ok_or("it has no result")?;
    let (result, fails) = match values::result(types, &result) {
        Some((ok, fails)) => (ok.ok_or("it has no result")?, fails),
        None => (result, Fails::Never),
    };
    let result = Shape::new(types, &result)?;
    let mut parameters = Vec::new();
    for (name, ty) in &ty.params {
        let shape = Shape::new(types, ty);
        parameters.push(shape.map_err(|error| format!("parameter '{name}': {error}"))?);
    }
    let all = || parameters.iter().chain([&result]);
    let by_columns = !parameters.is_empty()
        && fails == Fails::Never
        && all().all(|shape| shape.optional_item().is_some());
    let item = |shape: Shape| match by_columns {
        true => shape.optional_item().cloned().expect("it was looked at"),
        false => shape,
    };
    let result = item(result);
    let parameters: Vec<Shape> = parameters.into_iter().map(item).collect();
    let arguments = ty.params.iter().zip(&parameters).map(|((name, _), shape)| Argument {
        name: sql_name(name.as_str()),
        data_type: shape.data_type(),
        nullable: shape.is_option(),
        default: None,
    });
    let signature = Signature {
        name: sql_name(name),
        kind: Kind::Scalar,
        arguments: arguments.collect(),
        returns: result.data_type(),
        deterministic: true,
    };
    let interface = interface.map(str::to_owned);
    let function =
        Function { interface, name: name.to_owned(), parameters, result, fails, by_columns };
    Ok((function, signature))
}
