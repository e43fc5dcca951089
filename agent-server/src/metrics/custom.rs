//! Metrics of the embedding program.

use std::fmt;

use super::Page;

/// A metric with a value that is read when the page is requested.
pub(crate) struct CustomMetric {
    name: String,
    help: String,
    kind: &'static str,
    read: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl CustomMetric {
    pub(crate) fn new(
        kind: &'static str,
        name: impl Into<String>,
        help: impl Into<String>,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), help: help.into(), kind, read: Box::new(read) }
    }

    pub(crate) fn write(&self, page: &mut Page) {
        page.family(&self.name, self.kind, &self.help);
        page.line(&self.name, &[], (self.read)());
    }
}

/// Checks the names of metrics.
///
/// # Errors
///
/// A name is invalid, is one of the server, or is used twice.
pub(crate) fn check(metrics: &[CustomMetric]) -> Result<(), String> {
    for (at, metric) in metrics.iter().enumerate() {
        let name = &*metric.name;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(word) {
            return Err(format!("`{name}` is not the name of a metric: use letters, digits and `_`"));
        }
        if name.starts_with("agent_") {
            return Err(format!(
                "the metric `{name}`: names that begin with `agent_` are those of the server"
            ));
        }
        if metric.help.contains('\n') {
            return Err(format!("the help of the metric `{name}` has more than one line"));
        }
        if metrics[..at].iter().any(|other| other.name == name) {
            return Err(format!("two metrics are named `{name}`"));
        }
    }
    Ok(())
}

impl fmt::Debug for CustomMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomMetric").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let metric = |name: &str| CustomMetric::new("gauge", name, "Help.", || 1.5);
        for name in ["", "1a", "a b", "agent_x", "a{b}"] {
            assert!(check(&[metric(name)]).is_err(), "{name}");
        }
        assert!(check(&[metric("a"), metric("a")]).is_err());
        check(&[metric("meeting_turns_total"), metric("b")]).unwrap();
        let mut page = Page::default();
        metric("b").write(&mut page);
        assert_eq!(page.into_text(), "# HELP b Help.\n# TYPE b gauge\nb 1.5\n");
    }
}
