//! How a program is called.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::config::{ConfigProblem, ConnectorConfig, Settings};

/// The words of a command: separated by blanks, unless within quotes. Within double quotes, and
/// outside of any, a backslash stands before a letter that is meant as it is.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (_, Some(open)) if letter == open => quote = None,
            ('\\', None | Some('"')) => {
                let next = letters.next().ok_or("a backslash at the end stands before nothing")?;
                word.get_or_insert_default().push(next);
            }
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (' ' | '\t' | '\n' | '\r', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    match quote {
        Some(open) => Err(format!("a {open} has no partner")),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

/// Everything to start a program with.
#[derive(Clone, Debug)]
pub struct Call {
    words: Vec<String>,
    directory: PathBuf,
    environment: Vec<(String, String)>,
}

impl Call {
    pub fn new(config: &ConnectorConfig) -> Result<Call, String> {
        let settings = config.settings();
        let words = words(settings.text("process.command"))?;
        let key = "process.directory";
        let directory = match settings.optional_text(key) {
            Some(_) => config.path(key),
            None => config.base_dir().to_owned(),
        };
        Ok(Call { words, directory, environment: environment(settings)? })
    }

    /// The program's name, for messages: arguments may hold secrets.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Why it cannot be started: the program or the directory may not be there, and the system
    /// says the same of both.
    pub fn refusal(&self, error: &std::io::Error) -> String {
        let directory = self.directory.display();
        match self.directory.as_os_str().is_empty() || self.directory.is_dir() {
            true => format!("cannot be started: {error}"),
            false => format!("cannot be started in '{directory}', which is no directory"),
        }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program());
        command.args(self.words.iter().skip(1));
        // The directory of a file that was named without one is the one that we are in.
        if !self.directory.as_os_str().is_empty() {
            command.current_dir(&self.directory);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A Ctrl-C at the terminal is for us: we ask it to end, in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }
}

fn environment(settings: &Settings) -> Result<Vec<(String, String)>, String> {
    let one = |item: &String| match item.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("each is NAME=value".to_owned()),
    };
    settings.list("process.environment").iter().map(one).collect()
}

pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    let command = words(settings.text("process.command"));
    let command = command.and_then(|words| match words.is_empty() {
        true => Err("it names no program".to_owned()),
        false => Ok(()),
    });
    let environment = environment(settings).map(|_| ());
    for (key, result) in [("process.command", command), ("process.environment", environment)] {
        if let Err(mistake) = result {
            let message = format!("`{key}`: {mistake}");
            let (value, help) = (None, None);
            problems.push(ConfigProblem { key: key.to_owned(), value, message, help });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_would() {
        let all = |text: &str| words(text).map(|words| words.join("|"));
        assert_eq!(all(" a  b\tc ").unwrap(), "a|b|c");
        assert_eq!(all(r#"a 'b  "c' "d 'e" f'g'h"#).unwrap(), r#"a|b  "c|d 'e|fgh"#);
        assert_eq!(all(r#"a\ b "c\"d" '\e' ''"#).unwrap(), r#"a b|c"d|\e|"#);
        assert_eq!(all("a 'b").unwrap_err(), "a ' has no partner");
        assert!(all("a \\").is_err());
    }

    /// `millstream run feed.toml` took the directory of `feed.toml`, which is empty, for one, and
    /// no program could be started in it.
    #[test]
    fn a_file_named_without_a_directory_is_in_the_one_that_we_are_in() {
        let command = |base: &str| {
            let properties =
                [("connector.class", "process-source"), ("topic", "t"), ("process.command", "a b")];
            let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let config = crate::validate("c", &properties.into(), base.as_ref()).unwrap();
            Call::new(&config).unwrap().command()
        };
        assert_eq!(command("").get_current_dir(), None);
        assert_eq!(command("/x").get_current_dir(), Some("/x".as_ref()));
    }
}
