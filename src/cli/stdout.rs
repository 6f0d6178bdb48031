//! What commands print for others to read.

use std::io::{self, Write};

use super::Failure;

/// Prints text. A reader that has gone, as in `… | head`, is nothing wrong.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::running(format!("stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Prints values as JSON, one a line.
pub fn print_json<'a>(
    values: impl IntoIterator<Item = &'a serde_json::Value>,
) -> Result<(), Failure> {
    let mut text = String::new();
    for value in values {
        text.push_str(&value.to_string());
        text.push('\n');
    }
    print(&text)
}
