//! A password from whoever sits at the terminal, or from what is piped in.

use std::io::{self, BufRead, IsTerminal};

/// The first line of stdin, without its end. A terminal does not show what is typed.
pub fn read_line(prompt: &str) -> io::Result<String> {
    let stdin = io::stdin();
    let hidden = if stdin.is_terminal() {
        eprint!("{prompt}: ");
        Some(Hidden::new()?)
    } else {
        None
    };
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if hidden.is_some() {
        // The end of the line was not shown either.
        eprintln!();
    }
    read?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// Whether there is somebody to ask twice.
pub fn is_typed() -> bool {
    io::stdin().is_terminal()
}

/// A terminal that does not show what is typed, until it is dropped.
#[cfg(unix)]
struct Hidden {
    before: libc::termios,
}

#[cfg(unix)]
impl Hidden {
    fn new() -> io::Result<Hidden> {
        // SAFETY: a struct of numbers, of which all zeroes are a value.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: it writes to the struct that it is given.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, &mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut hidden = before;
        hidden.c_lflag &= !(libc::ECHO | libc::ECHOE | libc::ECHOK | libc::ECHONL);
        set(&hidden)?;
        Ok(Hidden { before })
    }
}

#[cfg(unix)]
impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        _ = set(&self.before);
    }
}

/// What was typed ahead is thrown away, since it was shown.
#[cfg(unix)]
fn set(settings: &libc::termios) -> io::Result<()> {
    // SAFETY: it reads the struct that it is given.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, settings) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(unix))]
struct Hidden;

#[cfg(not(unix))]
impl Hidden {
    fn new() -> io::Result<Hidden> {
        eprintln!("(it is shown; `< FILE` keeps it from the screen)");
        Ok(Hidden)
    }
}
