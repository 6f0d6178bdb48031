//! Where boxes stand: in layers from the top down, each below all that feed it (Sugiyama, Tagawa
//! and Toda 1981).
//!
//! ```text
//! ranks (longest path) ─► places for arrows that pass layers ─► order in each layer (barycentres,
//! the fewest crossings of some sweeps) ─► x (least squares under that order) ─► y
//! ```

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    pub width: f64,
    pub height: f64,
    pub edge: Edge,
}

/// Whether something must stand in the first or the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    None,
    Top,
    Bottom,
}

/// An arrow between two items, which ends so far to the right of the middle of each.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub from: usize,
    pub to: usize,
    pub from_offset: f64,
    pub to_offset: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

#[derive(Clone, Debug, Default)]
pub struct Laid {
    /// The middle of each item's upper edge.
    pub items: Vec<Point>,
    /// Of each link: where it begins, passes and ends.
    pub routes: Vec<Vec<Point>>,
    pub width: f64,
    pub height: f64,
}

/// Between things beside each other.
const GAP_X: f64 = 28.0;
/// Between layers, for arrows and what is written beside them.
const GAP_Y: f64 = 46.0;
/// The same where nothing but arrows stands in one of them.
const GAP_EDGE: f64 = 26.0;
const SWEEPS: usize = 12;

/// An item, or a place where an arrow passes a layer.
struct Vertex {
    width: f64,
    height: f64,
    rank: usize,
    x: f64,
}

/// A part of a link from one layer to the next.
struct Hop {
    above: usize,
    below: usize,
    above_offset: f64,
    below_offset: f64,
}

struct Layers {
    vertices: Vec<Vertex>,
    hops: Vec<Hop>,
    order: Vec<Vec<usize>>,
}

pub fn lay_out(items: &[Item], links: &[Link]) -> Laid {
    if items.is_empty() {
        return Laid::default();
    }
    let ranks = ranks(items, links);
    let mut vertices: Vec<Vertex> = items
        .iter()
        .zip(&ranks)
        .map(|(item, rank)| Vertex { width: item.width, height: item.height, rank: *rank, x: 0.0 })
        .collect();
    let mut hops = Vec::new();
    let mut passes: Vec<Vec<usize>> = Vec::new();
    for link in links {
        let mut through = vec![link.from];
        for rank in ranks[link.from] + 1..ranks[link.to] {
            vertices.push(Vertex { width: 8.0, height: 0.0, rank, x: 0.0 });
            through.push(vertices.len() - 1);
        }
        through.push(link.to);
        for (at, pair) in through.windows(2).enumerate() {
            hops.push(Hop {
                above: pair[0],
                below: pair[1],
                above_offset: if at == 0 { link.from_offset } else { 0.0 },
                below_offset: if at + 2 == through.len() { link.to_offset } else { 0.0 },
            });
        }
        passes.push(through);
    }
    let count = ranks.iter().max().map_or(0, |rank| rank + 1);
    let mut order = vec![Vec::new(); count];
    for (index, vertex) in vertices.iter().enumerate() {
        order[vertex.rank].push(index);
    }
    let mut layers = Layers { vertices, hops, order };
    layers.sort();
    layers.place();
    layers.laid(links, &passes)
}

/// The longest way from what nothing feeds; that itself stands just above what it feeds.
fn ranks(items: &[Item], links: &[Link]) -> Vec<usize> {
    let mut ranks = vec![0; items.len()];
    // As often as the longest way can be long: arrows in a circle end there.
    for _ in 0..items.len() {
        let mut moved = false;
        for link in links.iter().filter(|link| link.from != link.to) {
            if ranks[link.to] < ranks[link.from] + 1 && ranks[link.from] < items.len() {
                ranks[link.to] = ranks[link.from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    for (index, item) in items.iter().enumerate() {
        let is_first = links.iter().all(|link| link.to != index);
        let fed = links.iter().filter(|link| link.from == index).map(|link| ranks[link.to]).min();
        if let (true, Edge::None, Some(fed)) = (is_first, item.edge, fed) {
            ranks[index] = fed.saturating_sub(1);
        }
    }
    let last = ranks.iter().max().copied().unwrap_or(0);
    for (rank, item) in ranks.iter_mut().zip(items) {
        if item.edge == Edge::Bottom {
            *rank = last;
        }
    }
    ranks
}

impl Layers {
    /// The order in each layer: every vertex near the middle of those that it is linked with.
    fn sort(&mut self) {
        let mut best = (self.crossings(), self.order.clone());
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            let count = self.order.len();
            let ranks: Vec<usize> =
                if down { (0..count).collect() } else { (0..count).rev().collect() };
            for rank in ranks {
                let places = self.places();
                let mut layer: Vec<(f64, usize)> = self.order[rank]
                    .iter()
                    .map(|&vertex| {
                        // Links that end beside each other at one thing keep that order.
                        let beside = self.linked(vertex, down);
                        let beside = beside.map(|(other, by)| places[other] + by / 1e5);
                        (mean(beside).unwrap_or(places[vertex]), vertex)
                    })
                    .collect();
                layer.sort_by(|(one, _), (other, _)| one.total_cmp(other));
                self.order[rank] = layer.into_iter().map(|(_, vertex)| vertex).collect();
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.order.clone());
            }
        }
        self.order = best.1;
    }

    /// How far right each vertex is, between 0 and 1.
    fn places(&self) -> Vec<f64> {
        let mut places = vec![0.0; self.vertices.len()];
        for layer in &self.order {
            for (at, vertex) in layer.iter().enumerate() {
                places[*vertex] = (at as f64 + 0.5) / layer.len() as f64;
            }
        }
        places
    }

    /// What a vertex is linked with above or below, and how far from the middle of that the link
    /// would be straight.
    fn linked(&self, vertex: usize, above: bool) -> impl Iterator<Item = (usize, f64)> {
        self.hops.iter().filter_map(move |hop| match above {
            true if hop.below == vertex => Some((hop.above, hop.above_offset - hop.below_offset)),
            false if hop.above == vertex => Some((hop.below, hop.below_offset - hop.above_offset)),
            _ => None,
        })
    }

    fn crossings(&self) -> usize {
        let places = self.places();
        let mut crossings = 0;
        for (index, one) in self.hops.iter().enumerate() {
            let rank = self.vertices[one.above].rank;
            let others = self.hops[index + 1..].iter();
            for other in others.filter(|other| self.vertices[other.above].rank == rank) {
                let above = |hop: &Hop| places[hop.above] + hop.above_offset / 1e5;
                let below = |hop: &Hop| places[hop.below] + hop.below_offset / 1e5;
                let above = above(one).total_cmp(&above(other));
                let below = below(one).total_cmp(&below(other));
                crossings += usize::from(above != below && above.is_ne() && below.is_ne());
            }
        }
        crossings
    }

    /// Across: as near as the order allows to where links would be straight.
    fn place(&mut self) {
        for rank in 0..self.order.len() {
            self.place_layer(rank, &|_| None);
        }
        for sweep in 0..2 * SWEEPS {
            let down = sweep % 2 == 0;
            let count = self.order.len();
            for step in 0..count {
                let rank = if down { step } else { count - 1 - step };
                let xs: Vec<f64> = self.vertices.iter().map(|vertex| vertex.x).collect();
                let wanted: Vec<Option<f64>> = (0..self.vertices.len())
                    .map(|vertex| {
                        let one_way = self.linked(vertex, down);
                        let last = sweep + 2 >= 2 * SWEEPS;
                        let both = self.linked(vertex, !down).filter(move |_| last);
                        mean(one_way.chain(both).map(|(other, offset)| xs[other] + offset))
                    })
                    .collect();
                self.place_layer(rank, &|vertex| wanted[vertex]);
            }
        }
    }

    /// Least squares under the order and the gaps, by pooling neighbours that would overlap.
    fn place_layer(&mut self, rank: usize, wanted: &dyn Fn(usize) -> Option<f64>) {
        let layer = &self.order[rank];
        let mut shift = 0.0;
        let mut shifts = Vec::new();
        let mut before: Option<usize> = None;
        for &vertex in layer {
            if let Some(before) = before {
                let widths = self.vertices[before].width + self.vertices[vertex].width;
                shift += widths / 2.0 + GAP_X;
            }
            shifts.push(shift);
            before = Some(vertex);
        }
        // (sum, count) of runs that stand as close together as they may.
        let mut runs: Vec<(f64, usize)> = Vec::new();
        for (&vertex, shift) in layer.iter().zip(&shifts) {
            let x = wanted(vertex).unwrap_or(self.vertices[vertex].x);
            runs.push((x - shift, 1));
            while let [.., (sum, count), (next_sum, next_count)] = runs[..]
                && sum / count as f64 > next_sum / next_count as f64
            {
                runs.truncate(runs.len() - 2);
                runs.push((sum + next_sum, count + next_count));
            }
        }
        let means =
            runs.iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / *count as f64, *count));
        let placed: Vec<(usize, f64)> = layer
            .iter()
            .zip(means.zip(&shifts))
            .map(|(vertex, (x, by))| (*vertex, x + by))
            .collect();
        for (vertex, x) in placed {
            self.vertices[vertex].x = x;
        }
    }

    fn laid(&self, links: &[Link], passes: &[Vec<usize>]) -> Laid {
        let left = self.vertices.iter().map(|vertex| vertex.x - vertex.width / 2.0);
        let left = left.fold(f64::INFINITY, f64::min);
        let right = self.vertices.iter().map(|vertex| vertex.x + vertex.width / 2.0);
        let right = right.fold(f64::NEG_INFINITY, f64::max);
        let heights: Vec<f64> = self
            .order
            .iter()
            .map(|layer| layer.iter().map(|of| self.vertices[*of].height).fold(0.0, f64::max))
            .collect();
        let mut tops = Vec::new();
        let mut y = 0.0;
        for (rank, &height) in heights.iter().enumerate() {
            tops.push((y, height));
            let below = heights.get(rank + 1).copied().unwrap_or(0.0);
            // Ports have only to lead in and out.
            y += height + if height == 0.0 || below == 0.0 { GAP_EDGE } else { GAP_Y };
        }
        let point = |vertex: usize| {
            let of = &self.vertices[vertex];
            let (top, height) = tops[of.rank];
            Point { x: of.x - left, y: top + (height - of.height) / 2.0 }
        };
        let count = self.vertices.len() - passes.iter().map(|of| of.len() - 2).sum::<usize>();
        let items: Vec<Point> = (0..count).map(point).collect();
        let routes = links.iter().zip(passes).map(|(link, through)| {
            let mut route = Vec::new();
            let from = point(link.from);
            let bottom = from.y + self.vertices[link.from].height;
            route.push(Point { x: from.x + link.from_offset, y: bottom });
            for &pass in &through[1..through.len() - 1] {
                let (top, height) = tops[self.vertices[pass].rank];
                let x = self.vertices[pass].x - left;
                // Straight past all that stands in this layer.
                route.extend([Point { x, y: top }, Point { x, y: top + height }]);
            }
            let to = point(link.to);
            route.push(Point { x: to.x + link.to_offset, y: to.y });
            route
        });
        let routes = routes.collect();
        let height = tops.last().map_or(0.0, |(top, height)| top + height);
        Laid { items, routes, width: right - left, height }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator of numbers below a bound: the same ones each time.
    fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |below| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below.max(1)
        }
    }

    fn item(width: usize, height: usize) -> Item {
        Item { width: width as f64, height: height as f64, edge: Edge::None }
    }

    fn link(from: usize, to: usize) -> Link {
        Link { from, to, from_offset: 0.0, to_offset: 0.0 }
    }

    #[test]
    fn nothing_overlaps_and_arrows_go_down() {
        for seed in 0..200 {
            let mut number = numbers(seed);
            let count = 1 + number(20);
            let items: Vec<Item> =
                (0..count).map(|_| item(20 + number(200), 10 + number(80))).collect();
            let links: Vec<Link> = (0..number(30))
                .map(|_| (number(count), number(count)))
                .filter(|(from, to)| from < to)
                .map(|(from, to)| link(from, to))
                .collect();
            let laid = lay_out(&items, &links);
            for (one, (at, item)) in laid.items.iter().zip(&items).enumerate() {
                let (left, right) = (at.x - item.width / 2.0, at.x + item.width / 2.0);
                assert!(left > -0.01 && right < laid.width + 0.01, "seed {seed}: {at:?}");
                assert!(at.y > -0.01 && at.y + item.height < laid.height + 0.01, "seed {seed}");
                for (other, of) in laid.items.iter().zip(&items).skip(one + 1) {
                    let apart_x = (other.x - at.x).abs() - (item.width + of.width) / 2.0;
                    let apart_y = (other.y - at.y - item.height).max(at.y - other.y - of.height);
                    assert!(apart_x > -0.01 || apart_y > -0.01, "seed {seed}: they overlap");
                }
            }
            for (link, route) in links.iter().zip(&laid.routes) {
                assert!(route.windows(2).all(|pair| pair[0].y < pair[1].y + 0.01), "seed {seed}");
                assert_eq!(route[0].x, laid.items[link.from].x);
                assert_eq!(route[route.len() - 1].y, laid.items[link.to].y);
            }
        }
    }

    #[test]
    fn a_circle_ends() {
        let items = [item(10, 10), item(10, 10), item(10, 10)];
        let laid = lay_out(&items, &[link(0, 1), link(1, 2), link(2, 0), link(1, 1)]);
        assert!(laid.items.iter().all(|at| at.x.is_finite() && at.y.is_finite()));
    }

    #[test]
    fn two_pairs_do_not_cross() {
        let items = [item(50, 10), item(50, 10), item(50, 10), item(50, 10)];
        let laid = lay_out(&items, &[link(0, 3), link(1, 2)]);
        let x = |at: usize| laid.items[at].x;
        assert_eq!(x(0) < x(1), x(3) < x(2));
        assert_eq!(x(0), x(3));
    }
}
