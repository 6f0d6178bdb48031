//! `millstream udf inspect`.

use clap::Args;
use serde_json::json;
use udfs::{Kind, Module, Signature};

use super::ModuleArgs;
use crate::cli::Failure;
use crate::cli::stdout::print;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream udf inspect email.wasm
  millstream udf inspect numbers.wat --json")]
pub struct InspectArgs {
    #[command(flatten)]
    module: ModuleArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let module = args.module.load()?;
    print(&if args.json { json_of(&module) } else { text_of(&module) })
}

fn text_of(module: &Module) -> String {
    let info = module.info();
    let mut text = format!("{}: {}, {} bytes\n", module.name(), info.abi, info.size);
    text += &format!("sha256   {}\n", info.content_hash);
    match info.imports.as_slice() {
        [] => text += "imports  nothing\n",
        [first, others @ ..] => {
            text += &format!("imports  {first}\n");
            others.iter().for_each(|import| text += &format!("         {import}\n"));
        }
    }
    for asked in module.not_granted() {
        text += &format!("can ask for {asked}\n");
    }
    text += "\n";
    for function in module.functions() {
        text += &format!("{function}\n");
        let notes = notes(function);
        if !notes.is_empty() {
            text += &format!("    {}\n", notes.join(", "));
        }
    }
    if let [first, others @ ..] = info.left_out.as_slice() {
        text += &format!("\nnot to be called: {first}\n");
        others.iter().for_each(|other| text += &format!("                  {other}\n"));
    }
    text
}

/// What is not as one expects.
fn notes(function: &Signature) -> Vec<&'static str> {
    let mut notes = Vec::new();
    match function.kind {
        Kind::Scalar => {}
        Kind::Table => notes.push("any number of rows for each row"),
        Kind::Aggregate { retracts: true } => notes.push("aggregate, takes rows back"),
        Kind::Aggregate { retracts: false } => notes.push("aggregate"),
    }
    if function.arguments.iter().any(|argument| argument.nullable) {
        notes.push("sees NULL");
    }
    if !function.deterministic {
        notes.push("not deterministic");
    }
    notes
}

fn json_of(module: &Module) -> String {
    let info = module.info();
    let functions = module.functions().iter().map(|function| {
        let arguments = function.arguments.iter().map(|argument| {
            json!({
                "name": argument.name,
                "type": udfs::types::Name(&argument.data_type).to_string(),
                "nullable": argument.nullable,
                "default": argument.default,
            })
        });
        json!({
            "name": function.name,
            "kind": function.kind.to_string(),
            "arguments": arguments.collect::<Vec<_>>(),
            "returns": udfs::types::Name(&function.returns).to_string(),
            "deterministic": function.deterministic,
        })
    });
    let all = json!({
        "file": module.name(),
        "abi": info.abi.to_string(),
        "size": info.size,
        "sha256": info.content_hash,
        "imports": info.imports,
        "not_granted": module.not_granted().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "functions": functions.collect::<Vec<_>>(),
        "left_out": info.left_out,
    });
    format!("{all}\n")
}
