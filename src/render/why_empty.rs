//! Why a query has written nothing, on stderr.

use std::io::{self, IsTerminal};

use engine::describe::empty::{Line, WhyEmpty};

struct Colors {
    bold: &'static str,
    red: &'static str,
    dim: &'static str,
    reset: &'static str,
}

const PLAIN: Colors = Colors { bold: "", red: "", dim: "", reset: "" };
const COLORED: Colors =
    Colors { bold: "\x1b[1m", red: "\x1b[31m", dim: "\x1b[2m", reset: "\x1b[0m" };

pub fn print(query: &str, why: &WhyEmpty) {
    eprint!("{}", text(query, why, io::stderr().is_terminal()));
}

fn text(query: &str, why: &WhyEmpty, color: bool) -> String {
    let Colors { bold, red, dim, reset } = if color { COLORED } else { PLAIN };
    let mut out = format!("{bold}query '{query}' has written nothing: {}{reset}\n", why.verdict);
    for Line { text, place, is_reason, is_detail } in &why.lines {
        let mark = match (is_reason, is_detail) {
            (true, false) => format!("{red}✗{reset}"),
            _ => " ".to_owned(),
        };
        let indent = if *is_detail { "    " } else { "" };
        let place = place.as_ref().map(|place| {
            let (line, _) = place.line_column();
            format!("  {dim}{}:{line}{reset}", place.file.path.display())
        });
        out.push_str(&format!("  {mark} {indent}{text}{}\n", place.unwrap_or_default()));
    }
    out
}
