//! The picture as SVG. What a query does is laid out first, as if it stood alone; its frame is then
//! laid out among topics and connectors, and arrows go in and out at fixed places of it.

use std::fmt::Write as _;

use super::layout::{Edge, Item, Laid, Link, Point, lay_out};
use super::{Arrow, Kind, Node, Picture};

const MARGIN: f64 = 16.0;
const FRAME_PADDING: f64 = 18.0;
const FRAME_TITLE: f64 = 26.0;
const PADDING_X: f64 = 14.0;
const PADDING_Y: f64 = 8.0;
const TITLE_LINE: f64 = 19.0;
const LINE: f64 = 15.5;
/// Widths of a character, on the safe side: nothing here knows the font.
const TITLE_CHAR: f64 = 7.7;
const CHAR: f64 = 6.65;
const WIDTH_MIN: f64 = 96.0;
/// Between arrows that end at one box.
const ENDS_APART: f64 = 16.0;

const STYLE: &str = r#"
    .title { font: 600 13px -apple-system, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; fill: #1f2328 }
    .line, .label { font: 11px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #57606a }
    .frame-title { font: 600 12px -apple-system, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; fill: #57606a }
    .paper { fill: #ffffff }
    .frame { fill: #f6f8fa; stroke: #d0d7de }
    .connector { fill: #dafbe1; stroke: #4ac26b }
    .topic { fill: #ddf4ff; stroke: #54aeff }
    .exchange { fill: #fbefff; stroke: #c297ff; stroke-dasharray: 4 3 }
    .step { fill: #ffffff; stroke: #8c959f }
    .state { fill: #fff8c5; stroke: #d4a72c }
    .arrow { fill: none; stroke: #6e7781; stroke-width: 1.5 }
    .dashed { stroke-dasharray: 5 4 }
    .head { fill: #6e7781 }
"#;

/// Where everything stands.
struct Placed {
    /// The middle of the upper edge of each node.
    nodes: Vec<Point>,
    frames: Vec<(Point, Size)>,
    /// By arrow.
    routes: Vec<Vec<Point>>,
    size: Size,
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    width: f64,
    height: f64,
}

pub fn svg(picture: &Picture) -> String {
    let placed = place(picture);
    let Size { width, height } = placed.size;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\">\n  <style>{STYLE}  </style>\n  <defs><marker \
         id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path class=\"head\" d=\"M0 0.5 L8 4 L0 7.5 Z\"/>\
         </marker></defs>\n  <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n"
    );
    for (title, (at, size)) in picture.frames.iter().zip(&placed.frames) {
        rect("frame", *at, *size, 10.0, &mut out);
        text("frame-title", at.x + 12.0, at.y + 18.0, "start", title, &mut out);
    }
    for (arrow, route) in picture.arrows.iter().zip(&placed.routes) {
        path(arrow, route, &mut out);
    }
    for (node, at) in picture.nodes.iter().zip(&placed.nodes) {
        draw(node, *at, &mut out);
    }
    // Above all lines.
    for (arrow, route) in picture.arrows.iter().zip(&placed.routes) {
        let (Some(label), [first, .., last]) = (&arrow.label, route.as_slice()) else { continue };
        // Beside where it stands alone: tables where they come from, answers where they go.
        let at = match arrow.dashed {
            true => Point { x: first.x + 9.0, y: first.y + 13.0 },
            false => Point { x: last.x + 9.0, y: last.y - 17.0 },
        };
        text("label", at.x, at.y, "start", label, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

fn size(node: &Node) -> Size {
    let widest = |lines: &[String]| lines.iter().map(|line| line.chars().count()).max();
    let lines = widest(&node.lines).max(widest(&node.state)).unwrap_or(0) as f64 * CHAR;
    let title = node.title.chars().count() as f64 * TITLE_CHAR;
    let rounded = if node.kind == Kind::Step { 0.0 } else { 8.0 };
    let width = (lines.max(title) + 2.0 * (PADDING_X + rounded)).max(WIDTH_MIN);
    Size { width, height: upper_height(node) + state_height(node) }
}

fn upper_height(node: &Node) -> f64 {
    TITLE_LINE + node.lines.len() as f64 * LINE + 2.0 * PADDING_Y
}

fn state_height(node: &Node) -> f64 {
    match node.state.len() {
        0 => 0.0,
        lines => lines as f64 * LINE + PADDING_Y,
    }
}

/// What is inside a frame, laid out by itself.
struct Inside {
    nodes: Vec<usize>,
    /// Nodes outside that feed it or are fed, and the item that stands for each at its edge.
    ports: Vec<(usize, Edge)>,
    laid: Laid,
    /// The link of each arrow that has one here.
    links: Vec<(usize, usize)>,
    size: Size,
}

fn inside(picture: &Picture, frame: usize) -> Inside {
    let is_inside = |node: usize| picture.nodes[node].frame == Some(frame);
    let nodes: Vec<usize> = (0..picture.nodes.len()).filter(|node| is_inside(*node)).collect();
    let mut ports: Vec<(usize, Edge)> = Vec::new();
    let mut links = Vec::new();
    let mut lines = Vec::new();
    for (index, arrow) in picture.arrows.iter().enumerate() {
        let ends = [(arrow.from, Edge::Top), (arrow.to, Edge::Bottom)];
        if !ends.iter().any(|(node, _)| is_inside(*node)) {
            continue;
        }
        let ends = ends.map(|(node, edge)| {
            if let Some(at) = nodes.iter().position(|other| *other == node) {
                return at;
            }
            let known = ports.iter().position(|port| *port == (node, edge));
            nodes.len()
                + known.unwrap_or_else(|| {
                    ports.push((node, edge));
                    ports.len() - 1
                })
        });
        lines.push(Link { from: ends[0], to: ends[1], from_offset: 0.0, to_offset: 0.0 });
        links.push((index, lines.len() - 1));
    }
    let mut items: Vec<Item> = nodes
        .iter()
        .map(|node| size(&picture.nodes[*node]))
        .map(|Size { width, height }| Item { width, height, edge: Edge::None })
        .collect();
    items.extend(ports.iter().map(|(_, edge)| Item { width: 24.0, height: 0.0, edge: *edge }));
    let laid = lay_out(&items, &lines);
    let title = picture.frames[frame].chars().count() as f64 * TITLE_CHAR + 24.0;
    let width = (laid.width + 2.0 * FRAME_PADDING).max(title);
    let height = laid.height + FRAME_TITLE;
    Inside { nodes, ports, laid, links, size: Size { width, height } }
}

impl Inside {
    /// How far right of the frame's middle a point of it is.
    fn offset(&self, point: Point) -> f64 {
        point.x - self.laid.width / 2.0
    }

    fn port(&self, node: usize, edge: Edge) -> Option<Point> {
        let at = self.ports.iter().position(|port| *port == (node, edge))?;
        Some(self.laid.items[self.nodes.len() + at])
    }
}

fn place(picture: &Picture) -> Placed {
    let insides: Vec<Inside> = (0..picture.frames.len()).map(|of| inside(picture, of)).collect();
    let outside: Vec<usize> =
        (0..picture.nodes.len()).filter(|node| picture.nodes[*node].frame.is_none()).collect();
    let item = |Size { width, height }: Size| Item { width, height, edge: Edge::None };
    let mut items: Vec<Item> =
        outside.iter().map(|node| item(size(&picture.nodes[*node]))).collect();
    items.extend(insides.iter().map(|inside| item(inside.size)));
    // Of an end of an arrow: the item, and how far right of its middle it is.
    let end = |node: usize, other: usize, edge: Edge| match picture.nodes[node].frame {
        None => (outside.iter().position(|of| *of == node).unwrap_or_default(), 0.0),
        Some(frame) => {
            let inside = &insides[frame];
            let port = inside.port(other, edge);
            (outside.len() + frame, port.map_or(0.0, |port| inside.offset(port)))
        }
    };
    let mut links: Vec<Link> = Vec::new();
    let mut link_of: Vec<Option<usize>> = Vec::new();
    for arrow in &picture.arrows {
        let frames = [arrow.from, arrow.to].map(|node| picture.nodes[node].frame);
        if frames[0].is_some() && frames[0] == frames[1] {
            link_of.push(None);
            continue;
        }
        let (from, from_offset) = end(arrow.from, arrow.to, Edge::Bottom);
        let (to, to_offset) = end(arrow.to, arrow.from, Edge::Top);
        let known = links.iter().position(|link| {
            (link.from, link.to, link.from_offset, link.to_offset)
                == (from, to, from_offset, to_offset)
        });
        link_of.push(Some(known.unwrap_or_else(|| {
            links.push(Link { from, to, from_offset, to_offset });
            links.len() - 1
        })));
    }
    let laid = lay_out(&items, &links);
    together(picture, &insides, &outside, &laid, &link_of)
}

/// Puts what is inside of frames into what is outside of them.
fn together(
    picture: &Picture,
    insides: &[Inside],
    outside: &[usize],
    laid: &Laid,
    link_of: &[Option<usize>],
) -> Placed {
    let moved = |point: &Point| Point { x: point.x + MARGIN, y: point.y + MARGIN };
    let mut nodes = vec![Point { x: 0.0, y: 0.0 }; picture.nodes.len()];
    for (node, at) in outside.iter().zip(&laid.items) {
        nodes[*node] = moved(at);
    }
    let mut routes: Vec<Vec<Point>> = Vec::new();
    for link in link_of {
        routes.push(link.map_or(Vec::new(), |link| laid.routes[link].iter().map(moved).collect()));
    }
    let mut frames = Vec::new();
    for (inside, at) in insides.iter().zip(&laid.items[outside.len()..]) {
        let at = moved(at);
        frames.push((Point { x: at.x - inside.size.width / 2.0, y: at.y }, inside.size));
        let left = at.x - inside.laid.width / 2.0;
        let into = |point: &Point| Point { x: point.x + left, y: point.y + at.y + FRAME_TITLE };
        for (node, at) in inside.nodes.iter().zip(&inside.laid.items) {
            nodes[*node] = into(at);
        }
        for (arrow, link) in &inside.links {
            let mut route: Vec<Point> = inside.laid.routes[*link].iter().map(into).collect();
            let before = std::mem::take(&mut routes[*arrow]);
            let enters = picture.nodes[picture.arrows[*arrow].from].frame.is_none();
            routes[*arrow] = if enters {
                before.into_iter().chain(route).collect()
            } else {
                route.extend(before);
                route
            };
        }
    }
    spread(picture, &nodes, &mut routes);
    let size = Size { width: laid.width + 2.0 * MARGIN, height: laid.height + 2.0 * MARGIN };
    Placed { nodes, frames, routes, size }
}

/// Arrows that end at one box end beside each other.
fn spread(picture: &Picture, nodes: &[Point], routes: &mut [Vec<Point>]) {
    for (node, at) in nodes.iter().enumerate() {
        let room = size(&picture.nodes[node]).width - 2.0 * PADDING_X;
        for incoming in [true, false] {
            let ends = picture.arrows.iter().enumerate();
            let ends = ends.filter(|(index, arrow)| {
                let end = if incoming { arrow.to } else { arrow.from };
                end == node && routes[*index].len() > 1
            });
            let mut ends: Vec<usize> = ends.map(|(index, _)| index).collect();
            let next = |route: &[Point]| {
                if incoming { route[route.len() - 2].x } else { route[1].x }
            };
            ends.sort_by(|one, other| next(&routes[*one]).total_cmp(&next(&routes[*other])));
            let gaps = ends.len().saturating_sub(1) as f64;
            let apart = if gaps > 0.0 { ENDS_APART.min(room / gaps) } else { 0.0 };
            for (place, index) in ends.into_iter().enumerate() {
                let route = &mut routes[index];
                let last = if incoming { route.len() - 1 } else { 0 };
                route[last].x = at.x + (place as f64 - gaps / 2.0) * apart;
            }
        }
    }
}

fn path(arrow: &Arrow, route: &[Point], out: &mut String) {
    let Some(first) = route.first() else { return };
    let mut d = format!("M{:.1} {:.1}", first.x, first.y);
    for pair in route.windows(2) {
        let [from, to] = pair else { continue };
        // Writing to a string does not fail.
        let _ = if (from.x - to.x).abs() < 0.5 {
            write!(d, " L{:.1} {:.1}", to.x, to.y)
        } else {
            let middle = (from.y + to.y) / 2.0;
            write!(d, " C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}", from.x, to.x, to.x, to.y)
        };
    }
    let dashed = if arrow.dashed { " dashed" } else { "" };
    let _ = writeln!(out, "  <path class=\"arrow{dashed}\" marker-end=\"url(#head)\" d=\"{d}\"/>");
}

fn draw(node: &Node, at: Point, out: &mut String) {
    let of = size(node);
    let corner = Point { x: at.x - of.width / 2.0, y: at.y };
    let (class, radius) = match node.kind {
        Kind::Connector => ("connector", 4.0),
        Kind::Topic => ("topic", of.height / 2.0),
        Kind::Exchange => ("exchange", 16.0),
        Kind::Step => ("step", 6.0),
    };
    rect(class, corner, of, radius, out);
    let (x, anchor) = match node.kind {
        Kind::Step => (corner.x + PADDING_X, "start"),
        _ => (at.x, "middle"),
    };
    let mut y = at.y + PADDING_Y + 13.0;
    text("title", x, y, anchor, &node.title, out);
    y += TITLE_LINE - LINE;
    for line in &node.lines {
        y += LINE;
        text("line", x, y, anchor, line, out);
    }
    if !node.state.is_empty() {
        let height = state_height(node);
        let strip = Point { x: corner.x, y: at.y + of.height - height };
        rect("state", strip, Size { width: of.width, height }, 6.0, out);
        for (index, line) in node.state.iter().enumerate() {
            let y = strip.y + PADDING_Y / 2.0 + 11.5 + index as f64 * LINE;
            text("line", x, y, "start", line, out);
        }
    }
}

fn rect(class: &str, at: Point, size: Size, radius: f64, out: &mut String) {
    let _ = writeln!(
        out,
        "  <rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
         rx=\"{radius:.1}\"/>",
        at.x, at.y, size.width, size.height
    );
}

fn text(class: &str, x: f64, y: f64, anchor: &str, text: &str, out: &mut String) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        out,
        "  <text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}
