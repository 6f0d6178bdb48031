//! `millstream links`: Kafka's commands by their own names.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, classic};

#[derive(Debug, Args)]
#[command(after_help = "Example:
  millstream links ~/.local/bin
  kafka-topics.sh --list")]
pub struct LinksArgs {
    /// Where the links are made, such as a directory of your PATH
    dir: PathBuf,
}

pub fn links(args: &LinksArgs) -> Result<(), Failure> {
    let failed = |path: &std::path::Path, error: std::io::Error| {
        Failure::running(format!("{}: {error}", path.display()))
    };
    let program = std::env::current_exe().map_err(|error| failed(&args.dir, error))?;
    std::fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, error))?;
    let mut made = 0;
    for name in classic::names().flat_map(|name| [name.to_owned(), format!("{name}.sh")]) {
        let link = args.dir.join(name);
        match std::fs::read_link(&link) {
            Ok(target) if target == program => continue,
            // An older link of this kind; anything else is not ours to remove.
            Ok(target) if target.file_name() == program.file_name() => {
                std::fs::remove_file(&link).map_err(|error| failed(&link, error))?;
            }
            _ => {}
        }
        std::os::unix::fs::symlink(&program, &link).map_err(|error| failed(&link, error))?;
        made += 1;
    }
    let dir = args.dir.display();
    eprintln!(
        "made {made} links in {dir}: Kafka's commands, with and without .sh; those that are not here \
         say why"
    );
    Ok(())
}
