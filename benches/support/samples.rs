//! Repeated measurements of one figure.

use std::fmt;

use serde::Serialize;

/// Repeated measurements, in order.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle value; of an even number of values the mean of the two in the middle; NaN without values.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            at(middle)
        } else {
            f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
        }
    }

    /// The value at a quantile; NaN without values.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the list")]
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        let sorted = self.sorted();
        let place = (quantile * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(place).copied().unwrap_or(f64::NAN)
    }

    /// The ratio of two medians.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        self.median() / other.median()
    }

    /// The median of the ratios of measurements that were made in pairs.
    pub(crate) fn paired_ratio_to(&self, other: &Self) -> f64 {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect()).median()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// The median and the range: `162k (158k – 171k)`.
impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.sorted();
        let median = figure(self.median());
        match (sorted.first(), sorted.last()) {
            (Some(least), Some(most)) if sorted.len() > 1 => {
                write!(f, "{median} ({} – {})", figure(*least), figure(*most))
            }
            _ => write!(f, "{median}"),
        }
    }
}

/// A number with three significant digits: `1.24M`, `162k`, `8.05`, `0.31`.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.2}M", value / 1e6),
        v if v >= 1e5 => format!("{:.0}k", value / 1e3),
        v if v >= 1e4 => format!("{:.1}k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
