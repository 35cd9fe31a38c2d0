//! Axes with marks at round values. Every value is given by its position on the scale, so that drawing needs no logarithms.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// An axis: its range, and its labels by position.
#[derive(Debug, Clone)]
pub struct Axis {
    range: Range<f64>,
    marks: Vec<(f64, String)>,
}

/// The position of the longest latency: 100 % would be infinitely far on this scale.
const LONGEST: f64 = 5.0;

impl Axis {
    /// An axis of quantiles by their nines: each further nine is as wide as the one before.
    pub fn nines() -> Self {
        let marks =
            [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"), (1.0, "all")];
        let marks = marks.map(|(part, label)| (nines(part), label.to_owned())).into();
        Self { range: 0.0..LONGEST, marks }
    }

    /// A logarithmic axis of times in microseconds that includes the lowest and the highest.
    pub fn microseconds(lowest: f64, highest: f64) -> Self {
        let (from, to) = (logarithm(lowest) - 0.1, logarithm(highest) + 0.1);
        let digits: &[f64] = if to - from > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let marks = (0..=9)
            .flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)))
            .map(|time| (logarithm(time), duration(time)))
            .filter(|(place, _)| (from..=to).contains(place))
            .collect();
        Self { range: from..to, marks }
    }

    /// A linear axis from 0 to the highest value, with steps that are round in this unit.
    pub fn from_zero(highest: f64, unit: f64, label: impl Fn(f64) -> String) -> Self {
        let most = if highest > 0.0 { highest / unit } else { 1.0 };
        let power = 10_f64.powf((most / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| most / step <= 5.0);
        let step = step.unwrap_or(most);
        let marks = (0..=5).map(|nth| f64::from(nth) * step).filter(|value| *value <= most * 1.05);
        let marks = marks.map(|value| (value * unit, label(value))).collect();
        Self { range: 0.0..most * unit * 1.05, marks }
    }
}

/// The position of a quantile: 90 % is at 1, 99 % at 2.
pub fn nines(part: f64) -> f64 {
    (-(1.0 - part).log10()).clamp(0.0, LONGEST)
}

/// The position of a time in microseconds. Less than one counts as one: it was not measured.
pub fn logarithm(microseconds: f64) -> f64 {
    microseconds.max(1.0).log10()
}

fn duration(microseconds: f64) -> String {
    match microseconds {
        ..1e3 => format!("{microseconds:.0} µs"),
        1e3..1e6 => format!("{:.0} ms", microseconds / 1e3),
        _ => format!("{:.0} s", microseconds / 1e6),
    }
}

/// Formats a number with a suffix for thousands or millions, and with no more decimals than it needs.
pub fn number(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => format!("{}", (value * 1e6).round() / 1e6),
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        #[expect(clippy::cast_possible_truncation, reason = "the value lies between two that fit")]
        let place = (part.clamp(0.0, 1.0) * f64::from(to - from)).round() as i32;
        from + place
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.marks.iter().map(|(place, _)| *place).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let label = self.marks.iter().find(|(place, _)| (place - value).abs() < f64::EPSILON);
        label.map_or_else(String::new, |(_, label)| label.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.marks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn marks_are_round() {
        assert_eq!(labels(&Axis::microseconds(80.0, 2_000_000.0)), ["100 µs", "1 ms", "10 ms", "100 ms", "1 s"]);
        assert_eq!(labels(&Axis::microseconds(900.0, 6_000.0)), ["1 ms", "2 ms", "5 ms"]);
        let rates = |highest| Axis::from_zero(highest, 1.0, number);
        assert_eq!(labels(&rates(1_300_000.0)), ["0", "500 k", "1 M"]);
        assert_eq!(labels(&rates(49.0)), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(labels(&rates(0.0)).len(), 6);
    }

    #[test]
    fn nines_are_even() {
        let places = [0.0, 0.9, 0.99, 0.999, 1.0].map(nines);
        for (place, expected) in places.into_iter().zip([0.0, 1.0, 2.0, 3.0, LONGEST]) {
            assert!((place - expected).abs() < 1e-9, "{place}");
        }
    }
}
