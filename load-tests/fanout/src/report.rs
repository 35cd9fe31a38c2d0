//! The figures of a load, as tables and as JSON.

use std::{collections::BTreeMap, fs::File, path::Path};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{launch::Kind, tally::Tally};

/// Figures by name. The unit is part of the name.
pub type Figures = BTreeMap<&'static str, f64>;

/// One run of a load against one system.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Name of the system.
    pub system: &'static str,
    /// The figures, by name.
    pub figures: Figures,
    /// Latencies in microseconds, by quantile.
    pub latencies: Vec<(f64, f64)>,
    /// Deliveries per second, one value per [`BUCKET`](crate::tally::BUCKET).
    pub throughput: Vec<f64>,
    /// The server's memory in bytes, by seconds since the load began. Empty if the load does not sample it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<(f64, f64)>,
}

impl Run {
    /// Creates a run without figures.
    pub fn new(kind: Kind) -> Self {
        let (latencies, throughput, memory) = Default::default();
        Self { system: kind.name(), figures: Figures::new(), latencies, throughput, memory }
    }

    /// Adds what the subscribers received. Fails if there was a violation.
    pub fn take(&mut self, tally: &Tally) -> Result<()> {
        tally.verdict()?;
        self.take_latencies(&tally.latencies()?);
        self.throughput = tally.throughput();
        Ok(())
    }

    /// Adds latencies in microseconds.
    pub fn take_latencies(&mut self, latencies: &Histogram<u64>) {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64;
        self.figures.extend([("p50_us", at(0.5)), ("p90_us", at(0.9)), ("p99_us", at(0.99)), ("max_us", at(1.0))]);
        self.latencies = QUANTILES.iter().map(|quantile| (*quantile, at(*quantile))).collect();
    }
}

/// The quantiles of a latency curve.
const QUANTILES: [f64; 13] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1.0];

/// The ratio of one system's figure to another's, over all alternations.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    /// The compared system.
    pub of: &'static str,
    /// The system that it is compared with.
    pub against: &'static str,
    /// Name of the figure.
    pub figure: &'static str,
    /// The median ratio.
    pub median: f64,
    /// The lowest ratio.
    pub lowest: f64,
    /// The highest ratio.
    pub highest: f64,
}

/// A load and all its runs.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the load.
    pub verb: &'static str,
    /// Settings of the load.
    pub settings: serde_json::Value,
    /// The runs, in the order in which they ran.
    pub runs: Vec<Run>,
    /// The comparisons. Empty if only one system ran.
    pub ratios: Vec<Ratio>,
}

impl Report {
    /// Compares the hub's runs with those of every other system, pair by pair; and those of the hub with TLS and tokens with those of the plain
    /// hub, to show what TLS and tokens cost.
    pub fn compare(&mut self, figure: &'static str) {
        let of = |system: &'static str| {
            self.runs.iter().filter(move |run| run.system == system).filter_map(|run| run.figures.get(figure).copied())
        };
        let (plain, secure) = (Kind::Rialto.name(), Kind::RialtoTls.name());
        let mut others: Vec<_> = self.runs.iter().map(|run| run.system).filter(|name| *name != plain).collect();
        others.sort_unstable();
        others.dedup();
        let ratio = |other| {
            let (one, against) = if other == secure { (secure, plain) } else { (plain, other) };
            let mut ratios: Vec<_> = of(one).zip(of(against)).map(|(own, other)| own / other).collect();
            ratios.sort_unstable_by(f64::total_cmp);
            let (lowest, highest) = (*ratios.first()?, *ratios.last()?);
            // Of an even number, the mean of the two middle values.
            let (below, above) = (ratios.get((ratios.len() - 1) / 2)?, ratios.get(ratios.len() / 2)?);
            Some(Ratio { of: one, against, figure, median: f64::midpoint(*below, *above), lowest, highest })
        };
        self.ratios = others.into_iter().filter_map(ratio).collect();
    }

    /// Writes the report as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(serde_json::to_writer_pretty(file, self)?)
    }

    /// Formats the report as tables.
    pub fn tables(&self) -> String {
        let mut names: Vec<_> = self.runs.iter().flat_map(|run| run.figures.keys().copied()).collect();
        names.sort_unstable();
        names.dedup();
        // One row per figure and one column per run: there are more figures than fit into a row.
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(std::iter::once(self.verb).chain(self.runs.iter().map(|run| run.system)));
        for name in names {
            let cell = |run: &Run| run.figures.get(name).map_or_else(String::new, |figure| readable(*figure));
            table.add_row(std::iter::once(name.to_owned()).chain(self.runs.iter().map(cell)));
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        let mut text = table.to_string();
        for Ratio { of, against, figure, median, lowest, highest } in &self.ratios {
            let better = if smaller_is_better(figure) { "; smaller is better" } else { "" };
            text += &format!("\n{figure} of {of}: {median:.2} x {against} ({lowest:.2} to {highest:.2}{better})");
        }
        text
    }
}

/// Whether a figure is a cost, judged by its unit.
fn smaller_is_better(figure: &str) -> bool {
    figure.starts_with("bytes_") || figure.ends_with("_bytes") || figure.ends_with("_us")
}

/// Formats a figure with the digits that matter.
fn readable(figure: f64) -> String {
    if figure >= 100.0 || figure.fract() == 0.0 {
        let digits = format!("{figure:.0}");
        let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
        groups.join(",")
    } else {
        format!("{figure:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let run = |kind, figure| Run { figures: Figures::from([("f", figure)]), ..Run::new(kind) };
        let runs = vec![
            run(Kind::Rialto, 1.0),
            run(Kind::Tcp, 2.0),
            run(Kind::Tcp, 4.0),
            run(Kind::Rialto, 8.0),
            run(Kind::Rialto, 3.0),
            run(Kind::Tcp, 3.0),
        ];
        let mut report = Report { verb: "burst", settings: serde_json::Value::Null, runs, ratios: Vec::new() };
        report.compare("f");
        let ratios: Vec<_> = report.ratios.iter().map(|ratio| (ratio.median, ratio.lowest, ratio.highest)).collect();
        assert_eq!(ratios, [(1.0, 0.5, 2.0)]);
        assert!(report.tables().contains("f of rialto: 1.00 x tcp (0.50 to 2.00)"), "{}", report.tables());
        report.ratios.iter_mut().for_each(|ratio| ratio.figure = "bytes_per_client");
        assert!(report.tables().contains("(0.50 to 2.00; smaller is better)"), "{}", report.tables());
    }

    #[test]
    fn tls_and_tokens_are_compared_to_the_plain_hub() {
        let run = |kind, figure| Run { figures: Figures::from([("f", figure)]), ..Run::new(kind) };
        let runs = vec![run(Kind::Rialto, 4.0), run(Kind::RialtoTls, 3.0), run(Kind::Tcp, 8.0)];
        let mut report = Report { verb: "burst", settings: serde_json::Value::Null, runs, ratios: Vec::new() };
        report.compare("f");
        let ratios: Vec<_> = report.ratios.iter().map(|ratio| (ratio.of, ratio.against, ratio.median)).collect();
        assert_eq!(ratios, [("rialto-tls", "rialto", 0.75), ("rialto", "tcp", 0.5)]);
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(readable(1_234_567.8), "1,234,568");
        assert_eq!(readable(12.345), "12.35");
        assert_eq!(readable(7.0), "7");
    }
}
