//! Bar charts as SVG.

use anyhow::{Error, Result};
use plotters::prelude::*;
use std::path::Path;

/// A group of bars, with the value of each server.
pub struct Group {
    pub name: String,
    pub values: Vec<(&'static str, f64)>,
}

const SIZE: (u32, u32) = (960, 420);
const COLOURS: [(&str, RGBColor); 3] =
    [("outrigger", RGBColor(31, 119, 180)), ("before", RGBColor(190, 190, 190)), ("floor", RGBColor(110, 180, 110))];

/// Writes a plot; `unit` is the unit of the values.
pub fn bars(path: &Path, title: &str, unit: &str, groups: &[Group]) -> Result<()> {
    draw(path, title, unit, groups).map_err(|error| Error::msg(error.to_string()))
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few groups")]
fn draw(path: &Path, title: &str, unit: &str, groups: &[Group]) -> Result<(), Box<dyn std::error::Error>> {
    let most = groups.iter().flat_map(|group| &group.values).map(|(_, value)| *value).fold(0.0, f64::max);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(-0.5..groups.len() as f64 - 0.5, 0.0..most * 1.15)?;
    let name = |x: &f64| match groups.get(x.round().max(0.0) as usize) {
        Some(group) if (x - x.round()).abs() < 1e-6 => group.name.clone(),
        _ => String::new(),
    };
    chart.configure_mesh().disable_x_mesh().x_labels(2 * groups.len()).x_label_formatter(&name).y_desc(unit).draw()?;
    for (place, (program, colour)) in COLOURS.into_iter().enumerate() {
        let width = 0.8 / COLOURS.len() as f64;
        let bars = groups.iter().enumerate().filter_map(|(index, group)| {
            let (_, value) = group.values.iter().find(|(name, _)| *name == program)?;
            let left = index as f64 - 0.4 + width * place as f64;
            Some(Rectangle::new([(left, 0.0), (left + width * 0.9, *value)], colour.filled()))
        });
        let bars: Vec<_> = bars.collect();
        if bars.is_empty() {
            continue;
        }
        chart
            .draw_series(bars)?
            .label(program)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).background_style(WHITE).draw()?;
    root.present()?;
    Ok(())
}
