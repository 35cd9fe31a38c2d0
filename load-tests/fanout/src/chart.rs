//! Draws a report: latency by percentile, throughput over time, and memory over time where a load samples it.

mod axis;

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow, ensure};
use plotters::{
    backend::SVGBackend,
    chart::ChartBuilder,
    coord::Shift,
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Circle, PathElement, Text},
    series::LineSeries,
    style::{Color, IntoFont, RGBColor, TRANSPARENT, TextStyle, WHITE},
};

use crate::{
    report::{Report, Run},
    tally::BUCKET,
};
use axis::{Axis, logarithm, nines, number};

/// Pixels.
const WIDTH: u32 = 880;
const HEAD: u32 = 76;
const PANEL: u32 = 280;

const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const PALE: RGBColor = RGBColor(0x77, 0x77, 0x77);
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);

/// Points of a curve; more could not be distinguished.
const MOST_POINTS: usize = 200;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Curve = Vec<(f64, f64)>;

/// One chart.
struct Panel {
    title: &'static str,
    x: Axis,
    x_title: &'static str,
    y: Axis,
    systems: Vec<System>,
}

/// One system's runs, and their median.
struct System {
    name: &'static str,
    runs: Vec<Curve>,
    middle: Curve,
}

/// Draws every run, in one colour per system.
pub fn draw(report: &Report, path: &Path) -> Result<()> {
    fs::write(path, svg(report)?).with_context(|| format!("{} cannot be written", path.display()))
}

fn svg(report: &Report) -> Result<String> {
    let panels: Vec<_> = [latency(report), throughput(report), memory(report)].into_iter().flatten().collect();
    ensure!(!panels.is_empty(), "{} has no curves to draw: its table has all figures", report.verb);
    let mut image = String::new();
    let height = HEAD + PANEL * u32::try_from(panels.len())?;
    let root = SVGBackend::with_string(&mut image, (WIDTH, height)).into_drawing_area();
    let drawn = || {
        root.fill(&WHITE)?;
        let (head, mut rest) = root.split_vertically(HEAD);
        title(&head, report)?;
        for panel in &panels {
            let (here, below) = rest.split_vertically(PANEL);
            panel.draw(&here)?;
            rest = below;
        }
        root.present()
    };
    drawn().map_err(|error| anyhow!("drawing failed: {error}"))?;
    drop(root);
    Ok(image)
}

fn latency(report: &Report) -> Option<Panel> {
    let curve = |run: &Run| run.latencies.iter().map(|(part, time)| (nines(*part), logarithm(*time))).collect();
    let systems = systems(report, curve)?;
    let times = || report.runs.iter().flat_map(|run| &run.latencies).map(|(_, time)| *time);
    let (lowest, highest) = (times().fold(f64::MAX, f64::min), times().fold(0.0, f64::max));
    let (x, y) = (Axis::nines(), Axis::microseconds(lowest, highest));
    let title = "Latency by percentile";
    Some(Panel { title, x, x_title: "of the deliveries took at most this long", y, systems })
}

fn throughput(report: &Report) -> Option<Panel> {
    let curve = |run: &Run| {
        let together = run.throughput.len().div_ceil(MOST_POINTS).max(1);
        let point = |(nth, rates): (usize, &[f64])| {
            let middle = (nth * together) as f64 + rates.len() as f64 / 2.0;
            (middle * BUCKET.as_secs_f64(), rates.iter().sum::<f64>() / rates.len() as f64)
        };
        run.throughput.chunks(together).enumerate().map(point).collect()
    };
    let systems = systems(report, curve)?;
    let y = Axis::from_zero(highest(&systems), 1.0, number);
    Some(Panel { title: "Deliveries per second", x: seconds(&systems), x_title: "seconds", y, systems })
}

fn memory(report: &Report) -> Option<Panel> {
    let systems = systems(report, |run| run.memory.clone())?;
    let y = Axis::from_zero(highest(&systems), 1024.0 * 1024.0, |value| format!("{} MiB", number(value)));
    Some(Panel { title: "Memory of the server", x: seconds(&systems), x_title: "seconds", y, systems })
}

/// Groups the curves by system. `None` if no run has one.
fn systems(report: &Report, curve: impl Fn(&Run) -> Curve) -> Option<Vec<System>> {
    let mut systems: Vec<System> = Vec::new();
    for run in &report.runs {
        let curve = curve(run);
        if curve.is_empty() {
            continue;
        }
        match systems.iter_mut().find(|system| system.name == run.system) {
            Some(system) => system.runs.push(curve),
            None => systems.push(System { name: run.system, runs: vec![curve], middle: Curve::new() }),
        }
    }
    systems.iter_mut().for_each(|system| system.middle = middle(&system.runs));
    (!systems.is_empty()).then_some(systems)
}

/// The median at each point that all runs have.
fn middle(runs: &[Curve]) -> Curve {
    let points = runs.iter().map(Vec::len).min().unwrap_or(0);
    let at = |nth: usize| {
        let mut values: Vec<_> = runs.iter().filter_map(|run| run.get(nth)).copied().collect();
        values.sort_unstable_by(|(_, one), (_, other)| one.total_cmp(other));
        values.get(values.len() / 2).copied()
    };
    (0..points).filter_map(at).collect()
}

fn seconds(systems: &[System]) -> Axis {
    let ends = systems.iter().flat_map(|system| &system.runs).filter_map(|run| run.last()).map(|(time, _)| *time);
    Axis::from_zero(ends.fold(0.0, f64::max), 1.0, number)
}

fn highest(systems: &[System]) -> f64 {
    let values = systems.iter().flat_map(|system| &system.runs).flatten().map(|(_, value)| *value);
    values.fold(0.0, f64::max)
}

/// The colours of Okabe and Ito, which readers with colour blindness can distinguish.
fn colour(system: &str) -> RGBColor {
    match system {
        "rialto" => RGBColor(0x00, 0x72, 0xb2),
        "rialto-tls" => RGBColor(0xd5, 0x5e, 0x00),
        "tcp" => RGBColor(0xe6, 0x9f, 0x00),
        "nats" => RGBColor(0x00, 0x9e, 0x73),
        _ => RGBColor(0xcc, 0x79, 0xa7),
    }
}

fn text(size: i32, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}

type Drawn<'a> = Result<
    (),
    plotters::drawing::DrawingAreaErrorKind<<SVGBackend<'a> as plotters::prelude::DrawingBackend>::ErrorType>,
>;

/// Draws the load's name and settings, and the legend.
fn title<'a>(area: &Area<'a>, report: &Report) -> Drawn<'a> {
    area.draw(&Text::new(format!("rialto-load {}", report.verb), (16, 12), text(20, INK)))?;
    let settings = report.settings.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let settings: Vec<_> = settings.map(|(name, value)| format!("{} {value}", name.replace('_', " "))).collect();
    area.draw(&Text::new(settings.join(" · "), (16, 40), text(13, PALE)))?;
    let mut names: Vec<_> = report.runs.iter().map(|run| run.system).collect();
    names.sort_unstable();
    names.dedup();
    let mut right = 864;
    for name in names.into_iter().rev() {
        right -= 84;
        let line = [(right, 23), (right + 24, 23)];
        area.draw(&PathElement::new(line.to_vec(), colour(name).stroke_width(3)))?;
        area.draw(&Text::new(name, (right + 30, 15), text(15, INK)))?;
    }
    Ok(())
}

impl Panel {
    fn draw<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        area.draw(&Text::new(self.title, (16, 4), text(15, INK)))?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(30)
            .margin_right(36)
            .margin_bottom(6)
            .x_label_area_size(42)
            .y_label_area_size(80)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(PALE)
            .label_style(text(13, INK))
            .axis_desc_style(text(13, PALE))
            .x_desc(self.x_title)
            .draw()?;
        for system in &self.systems {
            let colour = colour(system.name);
            if system.runs.len() > 1 {
                for run in &system.runs {
                    chart.draw_series(LineSeries::new(run.iter().copied(), colour.mix(0.3)))?;
                }
            }
            chart.draw_series(LineSeries::new(system.middle.iter().copied(), colour.stroke_width(2)))?;
            // A line through one point would not be visible.
            let single = system.middle.iter().filter(|_| system.middle.len() == 1);
            chart.draw_series(single.map(|point| Circle::new(*point, 3, colour.filled())))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Kind;

    fn report(runs: Vec<Run>) -> Report {
        let settings = serde_json::json!({"rooms": 1, "most_growth": null});
        Report { verb: "churn", settings, runs, ratios: Vec::new() }
    }

    fn run(kind: Kind) -> Run {
        let (latencies, throughput) = (vec![(0.0, 0.0), (0.5, 800.0), (1.0, 9_000.0)], vec![10.0; 1_000]);
        Run { latencies, throughput, memory: vec![(0.0, 1e6), (1.0, 2e6)], ..Run::new(kind) }
    }

    #[test]
    fn everything_is_drawn_and_named() {
        let image = svg(&report(vec![run(Kind::Rialto), run(Kind::Nats), run(Kind::Rialto)])).unwrap();
        for text in
            ["rialto-load churn", "rooms 1", "nats", "99.9 %", "1 ms", "Deliveries per second", "MiB", "seconds"]
        {
            assert!(image.contains(text), "{text} is missing in {image}");
        }
        assert!(!image.contains("NaN") && !image.contains("most growth"), "{image}");
    }

    #[test]
    fn a_load_without_curves_says_so() {
        let error = svg(&report(vec![Run::new(Kind::Rialto)])).unwrap_err().to_string();
        assert!(error.contains("churn has no curves"), "{error}");
    }

    #[test]
    fn the_middle_is_the_median_as_far_as_all_go() {
        let run = |values: &[f64]| values.iter().enumerate().map(|(nth, value)| (nth as f64, *value)).collect();
        let middle = middle(&[run(&[1.0, 9.0, 5.0]), run(&[3.0, 2.0]), run(&[2.0, 4.0, 5.0])]);
        assert_eq!(middle, [(0.0, 2.0), (1.0, 4.0)]);
    }
}
