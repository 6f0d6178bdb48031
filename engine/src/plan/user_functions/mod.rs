//! Functions of users as DataFusion's planner and expressions see them.
//!
//! The rule: a call takes the overload whose arguments its own fit best, and casts them; which one
//! that is, and whether there is one, is known when the file is checked.

pub(crate) mod aggregate;
pub(crate) mod calls;
mod scalar;
mod slot;

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::{AggregateUDF, ScalarUDF, Signature, Volatility};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;
use udfs::http::Fetch;
use udfs::{Host, Kind, LoadError, Module};

use super::context::is_function;
use crate::pipeline::draft::Named;
use crate::pipeline::functions::{self, DraftFunction};
use crate::pipeline::tokens::DIALECT;
use crate::pipeline::{Diagnostic, SourceFile, Span};
pub use slot::Functions;
use slot::Slot;

/// Where compiled modules are kept; nowhere until it is said.
static CACHE: OnceLock<PathBuf> = OnceLock::new();

/// What sends requests of functions; nobody until it is said.
static FETCH: OnceLock<Arc<dyn Fetch>> = OnceLock::new();

static HOST: LazyLock<Result<Arc<Host>, String>> = LazyLock::new(|| {
    let host = Host::new(CACHE.get().cloned())?;
    if let Some(fetch) = FETCH.get() {
        host.fetch_by(fetch.clone());
    }
    Ok(host)
});

/// Keeps compiled modules in a directory, so that a large one is compiled once. Has no effect after
/// the first function was loaded.
pub fn keep_compiled_in(directory: PathBuf) {
    let _ = CACHE.set(directory);
}

/// Lets functions to which that is granted send requests. Has no effect after the first function
/// was loaded.
pub fn fetch_by(fetch: Arc<dyn Fetch>) {
    let _ = FETCH.set(fetch);
}

/// The engine of all modules in this process.
///
/// # Errors
///
/// Where this machine cannot run it.
pub fn host() -> Result<Arc<Host>, LoadError> {
    HOST.clone().map_err(LoadError::Host)
}

/// Whether SQL has a function of this name, so that none of a user can have it.
pub fn is_built_in(name: &str) -> bool {
    is_function(&name.to_ascii_lowercase())
}

/// A function as DataFusion has it.
#[derive(Clone)]
pub(crate) enum Loaded {
    Scalar(Arc<ScalarUDF>),
    /// Its value is the list of its rows.
    Table(Arc<ScalarUDF>),
    Aggregate(Arc<AggregateUDF>),
}

impl Loaded {
    fn overloads(&self) -> &Overloads {
        let found = match self {
            Loaded::Scalar(function) | Loaded::Table(function) => {
                function.inner().downcast_ref::<scalar::Scalar>().map(|of| &of.0)
            }
            Loaded::Aggregate(function) => {
                function.inner().downcast_ref::<aggregate::Aggregate>().map(|of| &of.0)
            }
        };
        found.expect("it was made of them")
    }
}

/// Loads a function, or says what is wrong with it where it is declared.
pub(super) fn load(draft: &DraftFunction) -> Result<Loaded, Diagnostic> {
    let name = draft.name.text.to_ascii_lowercase();
    if is_function(&name) {
        let message = format!("there is a function '{name}' already");
        let help = "give this one another name; `function` says what the module calls it";
        return Err(Diagnostic::error(message, draft.name.span.clone()).help(help));
    }
    let module = open(draft)?;
    let found = find(draft, &module)?;
    let kind = found[0].1.kind;
    // What it can see of the world may change between two calls, whatever it says of itself.
    let grants = &draft.options.grants;
    let is_alone =
        !grants.clock && !grants.random && grants.directories.is_empty() && grants.http.is_empty();
    let said = || is_alone && found.iter().all(|(_, signature)| signature.deterministic);
    let volatility = match draft.deterministic.unwrap_or_else(said) {
        true => Volatility::Immutable,
        false => Volatility::Volatile,
    };
    let signature = Signature::user_defined(volatility);
    let slot = Arc::new(Slot::new(&name, draft, module, found));
    let overloads = Overloads { slot, signature };
    Ok(match kind {
        Kind::Scalar => Loaded::Scalar(Arc::new(ScalarUDF::from(scalar::Scalar(overloads)))),
        Kind::Table => Loaded::Table(Arc::new(ScalarUDF::from(scalar::Scalar(overloads)))),
        Kind::Aggregate { .. } => {
            Loaded::Aggregate(Arc::new(AggregateUDF::from(aggregate::Aggregate(overloads))))
        }
    })
}

/// What a function can ask for and will not get.
pub(super) fn not_granted(draft: &DraftFunction, loaded: &Loaded) -> Vec<Diagnostic> {
    let current = loaded.overloads().slot.current();
    if current.module.asks_by_itself() {
        return Vec::new();
    }
    let warning = |asked: udfs::Asked| {
        let message = format!("{} can ask for {asked}", draft.file.text);
        Diagnostic::warning(message, draft.file.span.clone())
    };
    current.module.not_granted().into_iter().map(warning).collect()
}

/// The module that a declaration names, as its file is now.
fn open(draft: &DraftFunction) -> Result<Module, Diagnostic> {
    let mut options = draft.options.clone();
    if let Some((named, path)) = &draft.wit {
        let wit = udfs::read_wit(path);
        let wit = wit.map_err(|error| Diagnostic::error(error.to_string(), named.span.clone()))?;
        options.wit = Some(wit);
    }
    let sends = !options.grants.http.is_empty();
    let module = host().and_then(|host| Module::load(&host, &draft.path, options));
    if let Ok(module) = &module
        && !sends
        && module.info().imports.iter().any(|import| import == udfs::http::INTERFACE)
    {
        let message = format!("{} sends requests, and none are granted", draft.file.text);
        let help = "name the servers that it may ask: grants.http = \"api.example.com\"";
        return Err(Diagnostic::error(message, draft.file.span.clone()).help(help));
    }
    module.map_err(|error| {
        let help = "`millstream udf inspect FILE` shows what a file has";
        Diagnostic::error(error.of_file(&draft.file.text), draft.file.span.clone()).help(help)
    })
}

/// A module that is declared elsewhere than in a pipeline, by the same properties; relative paths
/// start at `base`.
///
/// # Errors
///
/// The property at fault, and what is wrong with it.
pub fn open_by(properties: &[(String, String)], base: &Path) -> Result<Module, (String, String)> {
    // A file of the keys tells which one a mistake is of.
    let text = properties.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join("\n");
    let file = Arc::new(SourceFile { path: base.join("properties"), text });
    let mut start = 0;
    let given = properties.iter().map(|(key, value)| {
        let span = Span { file: file.clone(), start, end: start + key.len() };
        start += key.len() + 1;
        let named = |text: &String| Named { text: text.clone(), span: span.clone() };
        (named(key), named(value))
    });
    let given: Vec<(Named, Named)> = given.collect();
    let module = properties.iter().find(|(key, _)| key == "file");
    let name = module.map_or("the function", |(_, file)| file.as_str());
    let span = Span { file: file.clone(), start: 0, end: 0 };
    let name = Named { text: name.to_owned(), span };
    let mut mistakes = Vec::new();
    let draft = functions::read(name, given, &file.path, &mut mistakes);
    let opened = match mistakes.is_empty() {
        true => open(&draft),
        false => Err(mistakes.swap_remove(0)),
    };
    opened.map_err(|mistake| {
        let key = mistake.span.map(|span| file.text[span.start..span.end].to_owned());
        let key = key.filter(|key| !key.is_empty()).unwrap_or_else(|| "file".to_owned());
        let message = match mistake.help {
            Some(help) => format!("{}: {help}", mistake.message),
            None => mistake.message,
        };
        (key, message)
    })
}

/// The functions of a module that a declaration names, with their numbers: all of one kind, and
/// one at least.
fn find(
    draft: &DraftFunction,
    module: &Module,
) -> Result<Vec<(usize, udfs::Signature)>, Diagnostic> {
    let functions = module.functions();
    let wanted = draft.export.text.to_ascii_lowercase().replace('-', "_");
    let mut indices: Vec<usize> =
        (0..functions.len()).filter(|index| functions[*index].name == wanted).collect();
    let is_named = draft.export.span != draft.name.span;
    // The only one has the name that it is given.
    if indices.is_empty() && functions.len() == 1 && !is_named {
        indices = vec![0];
    }
    if indices.is_empty() {
        let message = match module.why_left_out(&wanted) {
            Some(reason) => format!("{}: {reason}", draft.file.text),
            None => format!("{} has no function '{wanted}'", draft.file.text),
        };
        let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
        let help = format!("it has {}; say which by 'function'", names.join(", "));
        let mistake = Diagnostic::error(message, draft.export.span.clone()).help(help);
        return Err(mistake.did_you_mean(&wanted, names));
    }
    let mut found: Vec<(usize, udfs::Signature)> =
        indices.into_iter().map(|index| (index, functions[index].clone())).collect();
    if let Some(named) = &draft.arguments {
        name_arguments(named, &mut found)?;
    }
    for (_, signature) in &found {
        let kinds = [&found[0].1, signature].map(|of| std::mem::discriminant(&of.kind));
        if kinds[0] != kinds[1] {
            let message =
                format!("'{wanted}' is of kind {}, and {}", found[0].1.kind, signature.kind);
            let help = "functions of one name are of one kind";
            return Err(Diagnostic::error(message, draft.export.span.clone()).help(help));
        }
        for argument in &signature.arguments {
            let Some(default) = &argument.default else { continue };
            if let Err(error) = default_value(default, &argument.data_type) {
                let message = format!(
                    "'{wanted}': the default of '{}' is no {}: {}",
                    argument.name,
                    udfs::types::Name(&argument.data_type),
                    error.strip_backtrace()
                );
                return Err(Diagnostic::error(message, draft.file.span.clone()));
            }
        }
    }
    Ok(found)
}

/// Gives arguments the names and defaults that the declaration has for them.
fn name_arguments(
    named: &Named,
    functions: &mut [(usize, udfs::Signature)],
) -> Result<(), Diagnostic> {
    let wrong = |message: String| {
        let help = "such as \"text, separator = ','\": a name for each, perhaps with a default";
        Diagnostic::error(message, named.span.clone()).help(help)
    };
    let parsed = Parser::new(&DIALECT).try_with_sql(&named.text).and_then(|mut parser| {
        let arguments = parser.parse_comma_separated(|parser| {
            let name = parser.parse_identifier()?.value;
            let default = match parser.consume_token(&Token::Eq) {
                true => Some(parser.parse_expr()?.to_string()),
                false => None,
            };
            Ok((name, default))
        })?;
        parser.expect_token(&Token::EOF)?;
        Ok(arguments)
    });
    let arguments = parsed.map_err(|error| wrong(format!("'arguments': {error}")))?;
    let fitting = functions.iter_mut().filter(|(_, of)| of.arguments.len() == arguments.len());
    let mut fits = false;
    for (_, signature) in fitting {
        fits = true;
        for (argument, (name, default)) in signature.arguments.iter_mut().zip(&arguments) {
            argument.name.clone_from(name);
            if default.is_some() {
                argument.default.clone_from(default);
            }
        }
    }
    if fits {
        return Ok(());
    }
    let known: Vec<String> = functions.iter().map(|(_, of)| of.to_string()).collect();
    Err(wrong(format!("{} arguments are named, and it is {}", arguments.len(), known.join(" or "))))
}

/// What an argument is that is left out, once.
///
/// # Errors
///
/// Where its default is none of its type, in words.
pub fn default_of(argument: &udfs::Argument) -> Result<ArrayRef, String> {
    let default = argument.default.as_deref().unwrap_or("NULL");
    let value = default_value(default, &argument.data_type).and_then(|value| value.to_array());
    value.map_err(|error| error.strip_backtrace())
}

fn default_value(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("null") {
        return ScalarValue::try_from(data_type);
    }
    let text = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(text);
    ScalarValue::try_from_string(text.replace("''", "'"), data_type)
}

/// A name and the functions of a module that have it.
#[derive(Clone, Debug)]
struct Overloads {
    slot: Arc<Slot>,
    signature: Signature,
}

impl PartialEq for Overloads {
    fn eq(&self, other: &Overloads) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot)
    }
}

impl Eq for Overloads {}

impl Hash for Overloads {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.slot.name.hash(state);
    }
}

impl Overloads {
    fn name(&self) -> &str {
        &self.slot.name
    }

    /// With their places.
    fn signatures(&self) -> impl Iterator<Item = (usize, &udfs::Signature)> {
        self.slot.signatures.iter().enumerate()
    }

    /// The overload that arguments of these types fit best.
    fn best(&self, types: &[DataType]) -> Option<(usize, &udfs::Signature)> {
        let fitting = self.signatures().filter_map(|(index, signature)| {
            let (given, left_out) = signature.arguments.split_at_checked(types.len())?;
            if left_out.iter().any(|argument| argument.default.is_none()) {
                return None;
            }
            let costs = types.iter().zip(given).map(|(from, to)| cost(from, &to.data_type));
            Some((costs.sum::<Option<u32>>()?, index, signature))
        });
        let best = fitting.min_by_key(|(cost, index, _)| (*cost, *index));
        best.map(|(_, index, signature)| (index, signature))
    }

    /// What arguments of these types are cast to.
    fn coerced(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if let Some((_, signature)) = self.best(types) {
            let mut wanted = signature.argument_types();
            wanted.truncate(types.len());
            return Ok(wanted);
        }
        let given: Vec<String> = types.iter().map(|of| udfs::types::Name(of).to_string()).collect();
        let known: Vec<String> = self.signatures().map(|(_, of)| of.to_string()).collect();
        plan_err!("{}({}) does not fit {}", self.name(), given.join(", "), known.join(" or "))
    }

    fn chosen(&self, types: &[DataType]) -> Result<(usize, &udfs::Signature)> {
        match self.best(types) {
            Some(found) => Ok(found),
            None => plan_err!("{} has no such arguments", self.name()),
        }
    }

    /// The arguments that are given, and the defaults of those that are not.
    fn with_defaults(
        &self,
        signature: &udfs::Signature,
        mut given: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<Vec<ArrayRef>> {
        for argument in &signature.arguments[given.len()..] {
            let default = argument.default.as_deref().unwrap_or("NULL");
            given.push(default_value(default, &argument.data_type)?.to_array_of_size(rows)?);
        }
        Ok(given)
    }
}

/// How far a type is from another that it is cast to; `None` if it is not.
fn cost(from: &DataType, to: &DataType) -> Option<u32> {
    use DataType::{
        Binary, BinaryView, Date32, Decimal128, Float32, Float64, LargeBinary, LargeUtf8, List,
        Null, Struct, Time64, Timestamp, Utf8, Utf8View,
    };
    let bits = |of: &DataType| of.primitive_width().unwrap_or_default();
    Some(match (from, to) {
        (from, to) if from == to => 0,
        (Null, _) => 1,
        (Utf8 | LargeUtf8 | Utf8View, Utf8) | (Binary | LargeBinary | BinaryView, Binary) => 1,
        (from, to) if from.is_integer() && to.is_integer() => {
            let holds = bits(to) > bits(from)
                || bits(to) == bits(from) && from.is_signed_integer() == to.is_signed_integer();
            // A number that does not fit fails its row.
            if holds { 1 + (bits(to) - bits(from)) as u32 } else { 20 }
        }
        (from, Float64 | Float32 | Decimal128(..)) if from.is_integer() => 10,
        (Float32, Float64) => 1,
        (Float64, Float32) => 5,
        (Decimal128(..), Float64 | Float32) => 6,
        // Digits are not rounded away unless somebody says so; a number that does not fit fails
        // its row.
        (Decimal128(_, from), Decimal128(_, to)) if from <= to => 2,
        (Timestamp(..), Timestamp(..)) | (Time64(_), Time64(_)) => 2,
        (Date32, Timestamp(..)) => 4,
        (List(from), List(to)) => 1 + cost(from.data_type(), to.data_type())?,
        (Struct(from), Struct(to)) if from.len() == to.len() => {
            let fields = from.iter().zip(to);
            1 + fields
                .map(|(from, to)| cost(from.data_type(), to.data_type()))
                .sum::<Option<u32>>()?
        }
        _ => return None,
    })
}
