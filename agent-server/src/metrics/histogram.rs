//! Histograms of durations with a label: calls of a model or tool, runs of an agent.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;

use super::{OTHERS, Page};

/// Upper bounds of the buckets, in milliseconds and as text.
const BUCKETS: [(u64, &str); 12] = [
    (10, "0.01"),
    (50, "0.05"),
    (100, "0.1"),
    (250, "0.25"),
    (500, "0.5"),
    (1_000, "1"),
    (2_500, "2.5"),
    (5_000, "5"),
    (10_000, "10"),
    (30_000, "30"),
    (120_000, "120"),
    (600_000, "600"),
];
/// Maximum number of values of the label. Further ones are counted together.
const VALUES: usize = 200;

/// Durations by the value of one label.
#[derive(Debug, Default)]
pub(super) struct Durations(Mutex<BTreeMap<String, Counts>>);

#[derive(Debug, Clone, Default)]
struct Counts {
    /// The last bucket has no upper bound.
    buckets: [u64; BUCKETS.len() + 1],
    ms: u64,
}

impl Durations {
    /// Counts a duration.
    pub(super) fn count(&self, value: &str, ms: u64) {
        let mut all = self.0.lock();
        let counts = entry(&mut all, value);
        counts.buckets[BUCKETS.partition_point(|(bound, _)| *bound < ms)] += 1;
        counts.ms = counts.ms.saturating_add(ms);
    }

    /// Writes the histogram.
    pub(super) fn write(&self, page: &mut Page, name: &str, label: &str, help: &str) {
        page.family(name, "histogram", help);
        let all = self.0.lock().clone();
        for (value, counts) in &all {
            let mut sum = 0;
            let bounds = BUCKETS.iter().map(|(_, text)| *text).chain(["+Inf"]);
            for (bound, count) in bounds.zip(counts.buckets) {
                sum += count;
                page.line(&format!("{name}_bucket"), &[(label, value), ("le", bound)], sum);
            }
            page.line(&format!("{name}_count"), &[(label, value)], sum);
            page.line(
                &format!("{name}_sum"),
                &[(label, value)],
                Duration::from_millis(counts.ms).as_secs_f64(),
            );
        }
    }
}

/// Returns the entry of a label value; that of all others beyond the limit.
pub(super) fn entry<'a, T: Default>(all: &'a mut BTreeMap<String, T>, value: &str) -> &'a mut T {
    let value = match (value.is_empty(), all.contains_key(value) || all.len() < VALUES) {
        (true, _) => "unknown",
        (false, true) => value,
        (false, false) => OTHERS,
    };
    if !all.contains_key(value) {
        all.insert(value.to_owned(), T::default());
    }
    all.get_mut(value).expect("it was inserted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_its_bucket_and_all_larger_ones() {
        let durations = Durations::default();
        for ms in [10, 11, 700_000] {
            durations.count("m", ms);
        }
        durations.count("", 1);
        let mut page = Page::default();
        durations.write(&mut page, "x_seconds", "model", "X.");
        let text = page.into_text();
        for line in [
            "# TYPE x_seconds histogram\n",
            "x_seconds_bucket{model=\"m\",le=\"0.01\"} 1\n",
            "x_seconds_bucket{model=\"m\",le=\"0.05\"} 2\n",
            "x_seconds_bucket{model=\"m\",le=\"600\"} 2\n",
            "x_seconds_bucket{model=\"m\",le=\"+Inf\"} 3\n",
            "x_seconds_count{model=\"m\"} 3\n",
            "x_seconds_sum{model=\"m\"} 700.021\n",
            "x_seconds_count{model=\"unknown\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn the_number_of_label_values_is_bounded() {
        let durations = Durations::default();
        (0..2 * VALUES).for_each(|at| durations.count(&at.to_string(), 1));
        assert_eq!(durations.0.lock().len(), VALUES + 1);
    }
}
