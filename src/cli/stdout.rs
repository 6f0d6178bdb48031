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

/// Waits until nobody reads stdout any more, as after `… | head`; for ever where that cannot be
/// known, as of a file.
pub async fn reader_gone() {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        use tokio::io::Interest;
        use tokio::net::unix::pipe::Sender;
        // Nothing is written by this copy, so it may block, and be of something else than a pipe.
        if let Ok(out) = io::stdout().as_fd().try_clone_to_owned()
            && let Ok(out) = Sender::from_owned_fd_unchecked(out)
            && out.ready(Interest::ERROR).await.is_ok()
        {
            return;
        }
    }
    std::future::pending().await
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
