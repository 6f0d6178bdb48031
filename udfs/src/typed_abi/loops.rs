//! Components with loops over rows, so that a batch is one call of theirs.
//!
//! A call from the host into a component costs some hundred nanoseconds, and one among core modules
//! a few. So the host adds a module to the component, beside those that it has, with a loop for
//! each function ([`loop_text`]): it is what calls the guest's core functions, and it is called
//! with whole columns. Nothing that is in the component changes.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentSection, ComponentTypeSection, ComponentValType, ExportKind,
    InstanceSection, ModuleArg, PrimitiveValType, RawSection,
};

use super::exports::{Exports, Function, Lift};
use super::loop_text;

/// What the loops are exported as; a number follows.
const EXPORT_PREFIX: &str = "millstream-loop";
/// The section of a component that has a core module.
const MODULE_SECTION: u8 = 1;

/// The name of a loop.
pub(super) fn name(index: usize) -> String {
    format!("{EXPORT_PREFIX}{index}")
}

/// The component with loops; the functions that have one, by the number of the loop.
pub(super) fn add_to(component: &[u8], exports: &Exports) -> Option<(Vec<u8>, Vec<Option<usize>>)> {
    let mut loops: Vec<(&Function, &Lift)> = Vec::new();
    let numbers = exports.functions.iter().zip(&exports.lifts).map(|((function, _), lift)| {
        let lift = lift.as_ref().filter(|_| loop_text::has_loop(function))?;
        loops.push((function, lift));
        Some(loops.len() - 1)
    });
    let numbers: Vec<Option<usize>> = numbers.collect();
    if loops.is_empty() {
        return None;
    }
    let module = match wat::parse_str(loop_text::module(&loops)) {
        Ok(module) => module,
        Err(error) => {
            tracing::debug!(%error, "a component's functions are called one by one");
            return None;
        }
    };
    let lifts: Vec<&Lift> = loops.iter().map(|(_, lift)| *lift).collect();
    let mut bytes = component.to_vec();
    append(&mut bytes, exports, &module, &lifts);
    Some((bytes, numbers))
}

fn append(bytes: &mut Vec<u8>, exports: &Exports, module: &[u8], lifts: &[&Lift]) {
    let counts = exports.counts;
    RawSection { id: MODULE_SECTION, data: module }.append_to_component(bytes);

    let mut items = Vec::new();
    for (index, lift) in lifts.iter().enumerate() {
        items.push((format!("f{index}"), ExportKind::Func, lift.core_function));
        items.extend(lift.memory.map(|at| (format!("m{index}"), ExportKind::Memory, at)));
        items.extend(lift.realloc.map(|at| (format!("r{index}"), ExportKind::Func, at)));
        items.extend(lift.post_return.map(|at| (format!("p{index}"), ExportKind::Func, at)));
    }
    let mut instances = InstanceSection::new();
    instances.export_items(items);
    let guest = ModuleArg::Instance(counts.core_instances);
    instances.instantiate(counts.modules, [("guest", guest)]);
    instances.append_to_component(bytes);

    let instance = counts.core_instances + 1;
    let mut aliases = ComponentAliasSection::new();
    let mut alias = |kind, name: &str| {
        aliases.alias(Alias::CoreInstanceExport { instance, kind, name });
    };
    alias(ExportKind::Memory, "memory");
    alias(ExportKind::Func, "realloc");
    alias(ExportKind::Func, "done");
    for index in 0..lifts.len() {
        alias(ExportKind::Func, &format!("call{index}"));
    }
    aliases.append_to_component(bytes);

    let (types, function_type) = types(counts.types);
    types.append_to_component(bytes);

    let [realloc, done, first] = [0, 1, 2].map(|after| counts.core_functions + after);
    let options = [
        CanonicalOption::UTF8,
        CanonicalOption::Memory(counts.memories),
        CanonicalOption::Realloc(realloc),
        CanonicalOption::PostReturn(done),
    ];
    let mut functions = CanonicalFunctionSection::new();
    let mut exported = ComponentExportSection::new();
    for (index, number) in (0..lifts.len()).zip(0..) {
        functions.lift(first + number, function_type, options);
        let kind = ComponentExportKind::Func;
        exported.export(&*name(index), kind, counts.functions + number, None);
    }
    functions.append_to_component(bytes);
    exported.append_to_component(bytes);
}

/// `func(rows: u32, buffers: list<list<u8>>)
/// -> result<tuple<list<tuple<u32, u32>>, list<list<u8>>>, tuple<u32, string>>`
fn types(next: u32) -> (ComponentTypeSection, u32) {
    let primitive = ComponentValType::Primitive;
    let number = primitive(PrimitiveValType::U32);
    let ty = |at: u32| ComponentValType::Type(next + at);
    let mut types = ComponentTypeSection::new();
    types.ty().defined_type().list(primitive(PrimitiveValType::U8));
    types.ty().defined_type().list(ty(0));
    types.ty().defined_type().tuple([number, number]);
    types.ty().defined_type().list(ty(2));
    types.ty().defined_type().tuple([ty(3), ty(1)]);
    types.ty().defined_type().tuple([number, primitive(PrimitiveValType::String)]);
    types.ty().defined_type().result(Some(ty(4)), Some(ty(5)));
    let mut function = types.ty().function();
    function.params([("rows", number), ("buffers", ty(1))]).result(Some(ty(6)));
    (types, next + 7)
}
