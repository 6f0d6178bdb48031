//! `millstream udf new`: a folder with a function in the language that one likes.
//!
//! - [`language`]: the languages, and the files of each, which are in the binary;
//! - [`name`]: what a function can be called, and how languages spell that.

mod language;
mod name;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use self::language::{File, Language};
use self::name::Name;
use crate::cli::Failure;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream udf new --lang rust email_domain
  millstream udf new --lang c++ functions/slug
  cd slug && millstream udf new --lang python .

The folder has a function to begin with, a command that builds it, a pipeline file that calls it and
has its tests, and a README.md that says what to install. Nothing there is overwritten.")]
pub struct NewArgs {
    /// The language
    #[arg(long)]
    lang: Option<Language>,
    /// The function's name, or the directory that is named after it
    #[arg(value_name = "NAME_OR_DIR", default_value = name::EXAMPLE)]
    dir: PathBuf,
}

pub fn new(args: &NewArgs) -> Result<(), Failure> {
    let language = args.lang.ok_or_else(|| {
        let known: Vec<_> = Language::value_variants().iter().map(|of| of.word()).collect();
        Failure::usage("in which language?").with_help(format!("--lang {}", known.join("|")))
    })?;
    let name = name_of(&args.dir, language)?;
    let files: Vec<File> = language.files().into_iter().map(|file| file.of(&name)).collect();
    refuse_to_overwrite(&args.dir, &files)?;
    for file in &files {
        let path = args.dir.join(&file.path);
        write(&path, file).map_err(|error| {
            Failure::running(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    tell(&args.dir, language, &files);
    Ok(())
}

/// The name of a function in this directory.
fn name_of(dir: &Path, language: Language) -> Result<Name, Failure> {
    let given = match dir.file_name() {
        Some(last) => last.to_owned(),
        // `.` and its like.
        None => {
            let found = dir.canonicalize().map_err(|error| {
                Failure::usage(format!("cannot find {}: {error}", dir.display()))
            })?;
            found.file_name().unwrap_or_default().to_owned()
        }
    };
    Name::of(&given.to_string_lossy(), language)
}

fn refuse_to_overwrite(dir: &Path, files: &[File]) -> Result<(), Failure> {
    let is_there = |file: &&File| dir.join(&file.path).symlink_metadata().is_ok();
    let there: Vec<&str> = files.iter().filter(is_there).map(|file| file.path.as_str()).collect();
    if there.is_empty() {
        return Ok(());
    }
    let message = format!("{} has {} already", dir.display(), there.join(", "));
    let help = "nothing was written: name another directory, or move those away";
    Err(Failure::usage(message).with_help(help))
}

fn write(path: &Path, file: &File) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // Nor is one overwritten that has come in the meantime.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if file.is_executable {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o755);
    }
    options.open(path)?.write_all(file.text.as_bytes())
}

/// What was made, and what comes next.
fn tell(dir: &Path, language: Language, files: &[File]) {
    eprintln!("made a function in {} in {}:", language.title(), dir.display());
    for file in files {
        eprintln!("  {}", file.path);
    }
    eprintln!("README.md says what to install; then");
    if dir.file_name().is_some() {
        eprintln!("  cd {}", quoted(&dir.display().to_string()));
    }
    if files.iter().any(|file| file.path == language::BUILD) {
        eprintln!("  ./{}", language::BUILD);
    }
    eprintln!("  millstream test pipeline.toml");
}

/// As a shell takes it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    match path.chars().all(is_plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}
