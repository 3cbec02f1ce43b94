//! Percentiles and how a line of the report looks.

use std::time::Duration;

/// Every latency of one measurement.
#[derive(Debug, Default, Clone)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// One more, kept in microseconds.
    pub fn add(&mut self, latency: Duration) {
        self.0
            .push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    /// All of another measurement too.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value that `per_mille` of 1,000 do not exceed, in milliseconds.
    pub fn per_mille(&mut self, per_mille: usize) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        self.0.sort_unstable();
        let index = (self.0.len() * per_mille).div_ceil(1000).saturating_sub(1);
        f64::from(self.0[index.min(self.0.len() - 1)]) / 1000.0
    }

    /// The median, the 99th and the 99.9th percentile and the largest, in milliseconds.
    pub fn summary(&mut self) -> String {
        format!(
            "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms over {}",
            self.per_mille(500),
            self.per_mille(990),
            self.per_mille(999),
            self.per_mille(1000),
            self.count()
        )
    }
}

/// Prints one figure beside its target; tells whether it is met.
pub fn verdict(what: &str, figure: f64, is_met: bool, target: &str) -> bool {
    let word = if is_met { "met" } else { "MISSED" };
    println!("  {word:>6}  {what}: {figure:.3}  (target {target})");
    is_met
}
