//! A graph as SVG: layers from the start down, subgraphs as boxes in boxes. Pure.

use std::{collections::HashMap, fmt::Write};

use agent_core::graph::{EdgeKind as Line, NodeKind, Outline};
use unicode_width::UnicodeWidthStr;

const COLUMN: f64 = 8.0;
const HEIGHT: f64 = 36.0;
const ROUND: f64 = 22.0;
const ACROSS: f64 = 28.0;
const DOWN: f64 = 46.0;
const PAD: f64 = 18.0;
const TITLE: f64 = 22.0;

const STYLE: &str = "\
text{font:14px system-ui,'Noto Sans KR',sans-serif;fill:#1f2430;text-anchor:middle;dominant-baseline:central}\
.n{fill:#eef2ff;stroke:#4f5bd5}.b{fill:none;stroke:#9aa3b5;stroke-dasharray:2 3}.o{fill:#1f2430}\
.w{fill:none;stroke:#5b6475;stroke-width:1.4}.branch,.goto{stroke-dasharray:6 4}.join{stroke-width:2.6}.error{stroke:#c62828;stroke-dasharray:3 3}\
.p{fill:#fff}.t{font-size:12px;fill:#5b6475}\
@media(prefers-color-scheme:dark){.p{fill:#14161c}text{fill:#e8eaf0}.n{fill:#23284a;stroke:#8c96ff}.o{fill:#e8eaf0}.w{stroke:#aab2c5}.t{fill:#aab2c5}}";

/// The graph as a whole SVG document.
pub(super) fn draw(outline: &Outline) -> String {
    let picture = Picture::of(outline, None);
    let (width, height) = (picture.width + 2.0 * PAD, picture.height + 2.0 * PAD);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path class=\"o\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n<rect class=\"p\" width=\"100%\" height=\"100%\"/>\n",
        escaped(&outline.name)
    );
    picture.write(PAD, PAD, &mut text);
    text.push_str("</svg>\n");
    text
}

/// What stands in one place of the layers.
enum Shape {
    Start,
    End,
    Node(String),
    Box(String, Picture),
    /// A place that a long way passes through, as high as its layer.
    Bend(f64),
}

impl Shape {
    fn size(&self) -> (f64, f64) {
        match self {
            Self::Start | Self::End => (ROUND, ROUND),
            Self::Node(name) => (name.width() as f64 * COLUMN + 28.0, HEIGHT),
            Self::Box(name, inner) => {
                let title = name.width() as f64 * COLUMN + 28.0;
                (inner.width.max(title) + 2.0 * PAD, inner.height + 2.0 * PAD + TITLE)
            }
            Self::Bend(height) => (8.0, *height),
        }
    }
}

/// A graph with a place for everything. Places are the middle of the shapes.
struct Picture {
    width: f64,
    height: f64,
    shapes: Vec<(Shape, f64, f64)>,
    /// The points of a way and its kind.
    ways: Vec<(Vec<usize>, Line)>,
    /// Ways against the direction of the layers, and those to themselves: drawn round the right side.
    back: Vec<(usize, usize, Line)>,
}

impl Picture {
    /// The outermost graph, or the one inside the node `parent`.
    fn of(outline: &Outline, parent: Option<&str>) -> Self {
        let mut shapes = Vec::new();
        let mut at: HashMap<&str, usize> = HashMap::new();
        for node in outline.nodes.iter().filter(|node| node.parent.as_deref() == parent) {
            at.insert(&node.id, shapes.len());
            shapes.push(match node.kind {
                NodeKind::Start => Shape::Start,
                NodeKind::End => Shape::End,
                NodeKind::Subgraph => Shape::Box(node.label.clone(), Self::of(outline, Some(&node.id))),
                _ => Shape::Node(node.label.clone()),
            });
        }
        let lines: Vec<(usize, usize, Line)> = outline
            .edges
            .iter()
            .filter_map(|edge| Some((*at.get(&*edge.from)?, *at.get(&*edge.to)?, edge.kind)))
            .collect();
        let (forward, back) = directions(shapes.len(), &lines);
        let mut rank = ranks(shapes.len(), &forward);
        // A long way passes the layers between its ends, so that it does not run through what stands there.
        let mut ways = Vec::new();
        for (from, to, line) in forward {
            let mut points = vec![from];
            for layer in rank[from] + 1..rank[to] {
                points.push(shapes.len());
                shapes.push(Shape::Bend(0.0));
                rank.push(layer);
            }
            points.push(to);
            ways.push((points, line));
        }
        let layers = order(&rank, &ways);
        place(shapes, &layers, ways, back)
    }

    fn write(&self, left: f64, top: f64, text: &mut String) {
        let place = |at: usize| (left + self.shapes[at].1, top + self.shapes[at].2);
        let half = |at: usize| self.shapes[at].0.size().1 / 2.0;
        for (points, line) in &self.ways {
            let (x, y) = place(points[0]);
            let mut before = (x, y + half(points[0]));
            let mut path = format!("M{:.1} {:.1}", before.0, before.1);
            for &point in &points[1..] {
                let (x, y) = place(point);
                let y = y - half(point);
                let middle = f64::midpoint(before.1, y);
                put(&mut path, format_args!("C{:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}", before.0));
                before = (x, y);
                if let Shape::Bend(height) = self.shapes[point].0 {
                    before.1 += height;
                    put(&mut path, format_args!("V{:.1}", before.1));
                }
            }
            way(text, &path, *line);
        }
        for (number, &(from, to, line)) in self.back.iter().enumerate() {
            let ((x1, y1), (x2, y2)) = (place(from), place(to));
            let (x1, x2) = (x1 + self.shapes[from].0.size().0 / 2.0, x2 + self.shapes[to].0.size().0 / 2.0);
            let out = left + self.width - 6.0 - (number as f64) * 8.0;
            // A way to itself leaves and comes back at different heights.
            let (y1, y2) = if from == to { (y1 + 8.0, y2 - 8.0) } else { (y1, y2) };
            let path = format!("M{x1:.1} {y1:.1}C{out:.1} {y1:.1} {out:.1} {y2:.1} {x2:.1} {y2:.1}");
            way(text, &path, line);
        }
        for (shape, x, y) in &self.shapes {
            let (x, y) = (left + x, top + y);
            let (width, height) = shape.size();
            let (corner_x, corner_y) = (x - width / 2.0, y - height / 2.0);
            match shape {
                Shape::Start => {
                    put(
                        text,
                        format_args!(
                            "<circle class=\"o\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"><title>start</title></circle>\n"
                        ),
                    );
                }
                Shape::End => put(
                    text,
                    format_args!(
                        "<circle class=\"w\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"10\"/><circle class=\"o\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\"><title>end</title></circle>\n"
                    ),
                ),
                Shape::Node(name) => put(
                    text,
                    format_args!(
                        "<rect class=\"n\" x=\"{corner_x:.1}\" y=\"{corner_y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"8\"/>\
                         <text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n",
                        escaped(name)
                    ),
                ),
                Shape::Box(name, inner) => {
                    put(
                        text,
                        format_args!(
                            "<rect class=\"b\" x=\"{corner_x:.1}\" y=\"{corner_y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"10\"/>\
                             <text class=\"t\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n<g>\n",
                            corner_y + TITLE / 2.0 + 4.0,
                            escaped(name)
                        ),
                    );
                    inner.write(x - inner.width / 2.0, corner_y + TITLE + PAD, text);
                    text.push_str("</g>\n");
                }
                Shape::Bend(_) => {}
            }
        }
    }
}

type Lines = Vec<(usize, usize, Line)>;

/// Parts the ways into those that lead on and those that lead back, by a walk from the start.
fn directions(count: usize, lines: &Lines) -> (Lines, Lines) {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let mut seen = vec![Seen::No; count];
    let mut back = vec![false; lines.len()];
    for root in 0..count {
        if seen[root] != Seen::No {
            continue;
        }
        seen[root] = Seen::Open;
        let mut walk = vec![(root, 0)];
        while let Some((node, next)) = walk.last_mut() {
            let Some(at) = (*next..lines.len()).find(|at| lines[*at].0 == *node) else {
                seen[*node] = Seen::Done;
                walk.pop();
                continue;
            };
            *next = at + 1;
            let to = lines[at].1;
            match seen[to] {
                Seen::No => {
                    seen[to] = Seen::Open;
                    walk.push((to, 0));
                }
                Seen::Open => back[at] = true,
                Seen::Done => {}
            }
        }
    }
    let pick = |wanted: bool| {
        lines.iter().zip(&back).filter(|(_, back)| **back == wanted).map(|(line, _)| *line).collect()
    };
    (pick(false), pick(true))
}

/// The layer of each: one below the lowest that leads to it.
fn ranks(count: usize, forward: &Lines) -> Vec<usize> {
    let mut rank = vec![0; count];
    // Without circles, a path has at most `count` ways.
    for _ in 0..count {
        let mut changed = false;
        for &(from, to, _) in forward {
            if rank[to] <= rank[from] {
                rank[to] = rank[from] + 1;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    rank
}

/// The layers, each in an order in which few ways cross.
fn order(rank: &[usize], ways: &[(Vec<usize>, Line)]) -> Vec<Vec<usize>> {
    let mut layers = vec![Vec::new(); rank.iter().max().map_or(0, |most| most + 1)];
    for (shape, rank) in rank.iter().enumerate() {
        layers[*rank].push(shape);
    }
    let steps: Vec<(usize, usize)> =
        ways.iter().flat_map(|(points, _)| points.windows(2).map(|pair| (pair[0], pair[1]))).collect();
    let mut place = vec![0.0; rank.len()];
    for sweep in 0..6 {
        let down = sweep % 2 == 0;
        for step in 0..layers.len() {
            let layer = if down { step } else { layers.len() - 1 - step };
            let mut keyed: Vec<(f64, usize)> = layers[layer]
                .iter()
                .enumerate()
                .map(|(at, &shape)| {
                    let near: Vec<f64> = steps
                        .iter()
                        .filter_map(|&(from, to)| match down {
                            true => (to == shape).then_some(place[from]),
                            false => (from == shape).then_some(place[to]),
                        })
                        .collect();
                    let mean = near.iter().sum::<f64>() / near.len() as f64;
                    (if near.is_empty() { at as f64 } else { mean }, shape)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            layers[layer] = keyed.into_iter().map(|(_, shape)| shape).collect();
            let middle = layers[layer].len() as f64 / 2.0;
            for (at, &shape) in layers[layer].iter().enumerate() {
                place[shape] = at as f64 - middle;
            }
        }
    }
    layers
}

/// Gives everything its place: each layer in the middle.
fn place(
    mut shapes: Vec<Shape>,
    layers: &[Vec<usize>],
    ways: Vec<(Vec<usize>, Line)>,
    back: Lines,
) -> Picture {
    let sizes: Vec<(f64, f64)> = shapes.iter().map(Shape::size).collect();
    let wide = |layer: &Vec<usize>| {
        layer.iter().map(|&shape| sizes[shape].0).sum::<f64>() + ACROSS * (layer.len().max(1) - 1) as f64
    };
    let inner = layers.iter().map(wide).fold(0.0, f64::max);
    let margin = if back.is_empty() { 0.0 } else { 30.0 + 8.0 * back.len() as f64 };
    let mut places = vec![(0.0, 0.0); shapes.len()];
    let mut y = 0.0;
    for (at, layer) in layers.iter().enumerate() {
        let height = layer.iter().map(|&shape| sizes[shape].1).fold(0.0, f64::max);
        if at > 0 {
            y += DOWN;
        }
        let mut x = (inner - wide(layer)) / 2.0;
        for &shape in layer {
            places[shape] = (x + sizes[shape].0 / 2.0, y + height / 2.0);
            x += sizes[shape].0 + ACROSS;
            if let Shape::Bend(whole) = &mut shapes[shape] {
                *whole = height;
            }
        }
        y += height;
    }
    let shapes = shapes.into_iter().zip(places).map(|(shape, (x, y))| (shape, x, y)).collect();
    Picture { width: inner + margin, height: y, shapes, ways, back }
}

fn way(text: &mut String, path: &str, line: Line) {
    let kind = match line {
        Line::Branch => "branch",
        Line::Join => "join",
        Line::Goto => "goto",
        Line::Error => "error",
        _ => "edge",
    };
    put(text, format_args!("<path class=\"w {kind}\" d=\"{path}\" marker-end=\"url(#a)\"/>\n"));
}

fn put(text: &mut String, args: std::fmt::Arguments<'_>) {
    text.write_fmt(args).expect("writing to a string cannot fail");
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use agent_core::{
        Context, END, Graph, START, State,
        graph::{Outline, Route},
    };
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(State, Default, Serialize, Deserialize)]
    struct Empty {}

    /// A loop, a join, a long way past other nodes, a name that is no plain XML.
    fn outline() -> Outline {
        let node = async |_: &Empty, _: &Context| Ok(Empty::update());
        let graph = Graph::<Empty>::builder("<graph>")
            .node("가 & \"나\"", node)
            .node("left", node)
            .node("right", node)
            .node("both", node)
            .node("check", node)
            .edge(START, "가 & \"나\"")
            .edge("가 & \"나\"", "left")
            .edge("가 & \"나\"", "right")
            .join(["left", "right"], "both")
            .edge("both", "check")
            .branch("check", |_: &Empty| Route::to(END), ["가 & \"나\"", END])
            .build();
        graph.unwrap().outline()
    }

    #[test]
    fn no_two_shapes_cover_each_other_and_all_are_inside_the_picture() {
        let picture = Picture::of(&outline(), None);
        assert!(!picture.back.is_empty(), "the loop leads back");
        let boxes: Vec<[f64; 4]> = picture
            .shapes
            .iter()
            .map(|(shape, x, y)| {
                let (width, height) = shape.size();
                [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
            })
            .collect();
        for (at, a) in boxes.iter().enumerate() {
            assert!(a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= picture.width && a[3] <= picture.height, "{a:?}");
            for b in &boxes[at + 1..] {
                assert!(a[2] < b[0] || b[2] < a[0] || a[3] < b[1] || b[3] < a[1], "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn every_way_is_drawn_and_names_are_only_text() {
        let outline = outline();
        let text = draw(&outline);
        assert_eq!(text.matches("marker-end").count(), outline.edges.len());
        assert!(text.contains("가 &amp; &quot;나&quot;") && text.contains("<title>&lt;graph&gt;</title>"));
    }
}
