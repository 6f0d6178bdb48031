//! What guests are built with, and whether it is there; for the tests of `millstream udf new` too.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Succeeds where the tools of a language are found, run in a folder with a function in it.
fn found_by(language: &str) -> &'static str {
    match language {
        "assemblyscript" => "test -d node_modules/assemblyscript",
        "c" => {
            "command -v wasm-ld && \
             echo '#include <string.h>' | clang --target=wasm32-wasi -fsyntax-only -xc -"
        }
        "cpp" => {
            "command -v wasm-ld && \
             echo '#include <string_view>' | clang++ --target=wasm32-wasi -fsyntax-only -xc++ -"
        }
        "go" => r"go env GOVERSION | grep -E '^go1\.(2[4-9]|[3-9][0-9])'",
        "javascript" => "test -d node_modules/@bytecodealliance/componentize-js",
        "python" => "test -x .venv/bin/componentize-py",
        "rust" => "test -d \"$(rustc --print target-libdir --target wasm32-unknown-unknown)\"",
        "wat" => "true",
        "zig" => ".venv/bin/python -m ziglang version",
        _ => panic!("nobody has said how the tools of {language} are found"),
    }
}

/// Whether a language has to be built here: `MILLSTREAM_UDF_TOOLCHAINS` is 1, or names it.
pub fn is_forced(language: &str) -> bool {
    let named = std::env::var("MILLSTREAM_UDF_TOOLCHAINS").unwrap_or_default();
    named == "1" || named.split_whitespace().any(|word| word == language)
}

/// Whether a language can be built in this folder, or why not. Tools of npm and pip that
/// `tests/all.sh` has installed are linked to it.
pub fn find(language: &str, folder: &Path) -> Result<(), String> {
    if let Some(tools) = std::env::var_os("MILLSTREAM_TEST_TOOLS").map(PathBuf::from) {
        let languages = [("node_modules", ["assemblyscript", "javascript"])];
        let languages = languages.into_iter().chain([(".venv", ["python", "zig"])]);
        for (name, of) in languages {
            let link = folder.join(name);
            let target = tools.join(name.trim_start_matches('.'));
            if of.contains(&language) && target.is_dir() && link.symlink_metadata().is_err() {
                std::os::unix::fs::symlink(&target, &link).unwrap();
                // Without this language's tools it is in the way of what installs them.
                if succeed(&mut bash(folder, found_by(language))).is_err() {
                    std::fs::remove_file(&link).unwrap();
                }
            }
        }
    }
    succeed(&mut bash(folder, found_by(language))).map(drop)
}

/// Whether a folder of `millstream udf new` is to be built. Its build command may install the tools,
/// if it has to be.
pub fn is_to_be_built(language: &str, folder: &Path) -> bool {
    // In any case, for what it links there.
    let is_found = find(language, folder).is_ok();
    if !is_found && !is_forced(language) {
        // Past the harness, which shows what a test prints only if it fails.
        writeln!(std::io::stderr(), "{language}: it is skipped, its tools are not found").unwrap();
    }
    is_found || is_forced(language)
}

/// A script, such as of a README, by bash.
pub fn bash(folder: &Path, script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(folder);
    command.env_remove("CARGO_TARGET_DIR");
    command
}

/// What it printed, or what went wrong.
pub fn succeed(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let [printed, said] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    match output.status.success() {
        true => Ok(printed),
        false => Err(format!("{command:?}: {}: {said}{printed}", output.status)),
    }
}
