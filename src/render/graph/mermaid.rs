//! Mermaid's flowcharts, which GitHub, GitLab and many wikis draw.

use std::fmt::Write as _;

use super::{Kind, Node, Picture};

pub fn mermaid(picture: &Picture) -> String {
    let mut out = "flowchart TD\n".to_owned();
    for (index, of) in picture.nodes.iter().enumerate().filter(|(_, of)| of.frame.is_none()) {
        // Writing to a string does not fail.
        let _ = writeln!(out, "  {}", node(index, of));
    }
    for (frame, title) in picture.frames.iter().enumerate() {
        let _ = writeln!(out, "  subgraph q{frame}[\"{}\"]", escaped(title));
        let inside = picture.nodes.iter().enumerate().filter(|(_, of)| of.frame == Some(frame));
        for (index, of) in inside {
            let _ = writeln!(out, "    {}", node(index, of));
        }
        let _ = writeln!(out, "  end");
    }
    for arrow in &picture.arrows {
        let line = if arrow.dashed { "-.->" } else { "-->" };
        let label = match &arrow.label {
            Some(label) => format!("|\"{}\"|", escaped(label)),
            None => String::new(),
        };
        let _ = writeln!(out, "  n{} {line}{label} n{}", arrow.from, arrow.to);
    }
    out.push_str(
        "  classDef connector fill:#dafbe1,stroke:#4ac26b,color:#1f2328
  classDef topic fill:#ddf4ff,stroke:#54aeff,color:#1f2328
  classDef exchange fill:#fbefff,stroke:#c297ff,color:#1f2328,stroke-dasharray:4 3
  classDef state fill:#fff8c5,stroke:#d4a72c,color:#1f2328
",
    );
    out
}

fn node(index: usize, of: &Node) -> String {
    let mut text = format!("<b>{}</b>", escaped(&of.title));
    for line in of.lines.iter().chain(&of.state) {
        text.push_str("<br/>");
        text.push_str(&escaped(line));
    }
    let class = match of.kind {
        Kind::Connector => ":::connector",
        Kind::Topic => ":::topic",
        Kind::Exchange => ":::exchange",
        Kind::Step if of.state.is_empty() => "",
        Kind::Step => ":::state",
    };
    let (open, close) = match of.kind {
        Kind::Connector => ("[/", "/]"),
        Kind::Topic => ("[(", ")]"),
        Kind::Exchange => ("([", "])"),
        Kind::Step => ("[", "]"),
    };
    format!("n{index}{open}\"{text}\"{close}{class}")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '#' => out.push_str("#35;"),
            '\n' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
