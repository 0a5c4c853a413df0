//! The graph of a mesh for Graphviz, and as SVG. Broken parts are red.

use crate::mesh_integrity::{Finding, Picture};
use anyhow::{Result, anyhow, bail};
use layout::backends::svg::SVGWriter;
use layout::gv::{DotParser, GraphBuilder};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

/// At most this many edges are laid out. A larger picture cannot be read.
const MOST_EDGES: usize = 150;

/// The picture of a mesh without edges, which needs no layout.
const EMPTY: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"220\" height=\"40\"><text x=\"10\" y=\"25\">This mesh has no routes.</text></svg>\n";

/// Returns the graph in Graphviz's language.
pub(super) fn dot(picture: &Picture, findings: &[&Finding]) -> String {
    let broken: HashSet<_> = findings
        .iter()
        .filter_map(|finding| finding.objects.first().map(|key| (key, finding.field.as_str())))
        .collect();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut text = String::from("digraph mesh {\n  rankdir=LR;\n");
    // Writing to a String cannot fail.
    for name in picture.edges.iter().flat_map(|edge| [edge.from.as_str(), edge.to.as_str()]) {
        let next = numbers.len();
        if let std::collections::btree_map::Entry::Vacant(entry) = numbers.entry(name) {
            entry.insert(next);
            let shape = if name.starts_with("VirtualService/") { "box" } else { "ellipse" };
            let _ = writeln!(text, "  n{next} [label=\"{}\", shape={shape}];", escaped(name));
        }
    }
    for edge in &picture.edges {
        let (from, to) = (numbers[edge.from.as_str()], numbers[edge.to.as_str()]);
        let is_broken = broken.contains(&(&edge.said_by.0, edge.said_by.1.as_str()));
        let _ = writeln!(text, "  n{from} -> n{to} [color={}];", if is_broken { "red" } else { "black" });
    }
    text + "}\n"
}

fn escaped(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).map(|c| if matches!(c, '"' | '\\') { '\'' } else { c }).collect()
}

/// Returns a graph as a picture.
pub(super) fn svg(dot: &str) -> Result<String> {
    let edges = dot.matches(" -> ").count();
    if edges == 0 {
        return Ok(EMPTY.to_owned());
    }
    if edges > MOST_EDGES {
        bail!("-o svg draws at most {MOST_EDGES} edges; check a part of the mesh, or take -o dot to Graphviz");
    }
    let graph = DotParser::new(dot).process().map_err(|error| anyhow!("the graph cannot be drawn: {error}"))?;
    let mut builder = GraphBuilder::new();
    builder.visit_graph(&graph);
    let mut writer = SVGWriter::new();
    builder.get().do_it(false, false, false, &mut writer);
    Ok(writer.finalize())
}
