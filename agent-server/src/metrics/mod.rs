//! Prometheus metrics in base units: runs, steps, requests. Labels are route patterns, names of agents, models and tools, and
//! status codes, never values that callers send.
//!
//! Written by hand: the labels are bounded here (`GRAPHS`, `VALUES`), which a registry crate does not do, and the text
//! format itself is the 49 lines of `exposition`.

mod route;
mod histogram;
mod exposition;
mod custom;
mod model;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use agent_core::{
    event::{JournalNotice, JournalNoticeKind},
    model::Usage,
    run::BudgetUsage,
};
use parking_lot::Mutex;

use self::histogram::{Durations, entry};

pub(crate) use custom::{CustomMetric, check as check_custom};
pub(crate) use exposition::Page;
pub(crate) use model::MeteredModel;
pub(crate) use route::RouteMetrics;

/// Maximum number of graphs with their own label value.
const GRAPHS: usize = 200;
/// Label value of all other graphs.
const OTHERS: &str = "others";
/// Statuses with which runs end.
const ENDS: [&str; 3] = ["completed", "failed", "stopped"];

/// Counters of a process.
#[derive(Default)]
pub(crate) struct Metrics {
    started: Mutex<BTreeMap<String, u64>>,
    ended: Mutex<BTreeMap<String, [u64; ENDS.len()]>>,
    entries: AtomicU64,
    steps: AtomicU64,
    model_calls: AtomicU64,
    model_failures: AtomicU64,
    model_ms: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    cost_micros: AtomicU64,
    tool_calls: AtomicU64,
    tool_failures: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
    webhooks: AtomicU64,
    webhook_failures: AtomicU64,
    run_times: Durations,
    model_times: Durations,
    tool_times: Durations,
    models: Mutex<BTreeMap<String, ModelCounts>>,
    tool_errors: Mutex<BTreeMap<String, u64>>,
}

/// Counters of one model.
#[derive(Debug, Clone, Default)]
struct ModelCounts {
    failures: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_micros: u64,
}

impl Metrics {
    /// Counts the end of a run.
    pub(crate) fn ended(&self, graph: &str, status: &'static str) {
        let Some(how) = ENDS.iter().position(|end| *end == status) else { return };
        let mut ended = self.ended.lock();
        match ended.get_mut(graph) {
            Some(counts) => counts[how] += 1,
            None => {
                let graph = if ended.len() < GRAPHS { graph } else { OTHERS };
                ended.entry(graph.to_owned()).or_default()[how] += 1;
            }
        }
    }

    /// Counts a webhook delivery.
    pub(crate) fn webhook(&self, taken: bool) {
        let count = if taken { &self.webhooks } else { &self.webhook_failures };
        count.fetch_add(1, Relaxed);
    }

    /// Writes the counters that others replace: in units that are not base units.
    pub(crate) fn write_replaced(&self, page: &mut Page) {
        let counters = [
            ("agent_model_milliseconds_total", "Time spent in model calls.", &self.model_ms),
            (
                "agent_model_cost_micros_total",
                "Cost of models in millionths of the currency.",
                &self.cost_micros,
            ),
        ];
        for (name, help, count) in counters {
            page.family(name, "counter", help);
            page.line(name, &[], count.load(Relaxed));
        }
    }

    /// Writes the histograms, and the counters by model and tool.
    fn write_by_name(&self, page: &mut Page) {
        self.run_times.write(page, "agent_run_duration_seconds", "agent", "Active time of completed runs.");
        self.model_times.write(
            page,
            "agent_model_call_duration_seconds",
            "model",
            "Duration of model calls.",
        );
        self.tool_times.write(page, "agent_tool_call_duration_seconds", "tool", "Duration of tool calls.");
        let models = self.models.lock().clone();
        page.family("agent_model_errors_total", "counter", "Model calls that failed, by model.");
        for (model, counts) in &models {
            page.line("agent_model_errors_total", &[("model", model)], counts.failures);
        }
        page.family("agent_model_tokens_total", "counter", "Tokens read and written by models.");
        for (model, counts) in &models {
            for (kind, count) in [("input", counts.input_tokens), ("output", counts.output_tokens)] {
                page.line("agent_model_tokens_total", &[("model", model), ("type", kind)], count);
            }
        }
        page.family("agent_model_cost_total", "counter", "Cost of models in the currency of their prices.");
        for (model, counts) in &models {
            let micros = Duration::from_micros(counts.cost_micros);
            page.line("agent_model_cost_total", &[("model", model)], micros.as_secs_f64());
        }
        page.family("agent_tool_errors_total", "counter", "Tool calls that failed, by tool.");
        for (tool, count) in &*self.tool_errors.lock() {
            page.line("agent_tool_errors_total", &[("tool", tool)], *count);
        }
    }

    /// Writes all counters.
    pub(crate) fn write(&self, page: &mut Page) {
        self.write_by_name(page);
        page.family("agent_runs_started_total", "counter", "Runs that began.");
        for (graph, count) in &*self.started.lock() {
            page.line("agent_runs_started_total", &[("agent", graph)], *count);
        }
        page.family("agent_runs_ended_total", "counter", "Runs that ended, by how.");
        for (graph, counts) in &*self.ended.lock() {
            for (status, count) in ENDS.iter().zip(counts).filter(|(_, count)| **count > 0) {
                page.line("agent_runs_ended_total", &[("agent", graph), ("status", status)], *count);
            }
        }
        let counters = [
            ("agent_journal_entries_total", "Entries stored in journals.", &self.entries),
            ("agent_steps_total", "Recorded steps of nodes, model and tool calls left out.", &self.steps),
            ("agent_model_calls_total", "Model calls that were recorded.", &self.model_calls),
            ("agent_model_failures_total", "Model calls that failed.", &self.model_failures),
            ("agent_model_input_tokens_total", "Tokens read by models.", &self.input_tokens),
            ("agent_model_output_tokens_total", "Tokens written by models.", &self.output_tokens),
            ("agent_tool_calls_total", "Tool calls that were recorded.", &self.tool_calls),
            ("agent_tool_failures_total", "Tool calls that failed.", &self.tool_failures),
            ("agent_questions_asked_total", "Questions that people were asked.", &self.asked),
            ("agent_questions_answered_total", "Questions that people answered.", &self.answered),
            ("agent_webhooks_total", "Webhooks that were delivered.", &self.webhooks),
            ("agent_webhook_failures_total", "Failed attempts to deliver a webhook.", &self.webhook_failures),
        ];
        for (name, help, count) in counters {
            page.family(name, "counter", help);
            page.line(name, &[], count.load(Relaxed));
        }
    }
}

impl Metrics {
    /// Counts a model call that is not part of a run.
    fn model_called(&self, model: &str, ms: u64, failed: bool, usage: Usage) {
        let mut used = BudgetUsage::default();
        (used.input_tokens, used.output_tokens) = (usage.input_tokens, usage.output_tokens);
        self.model_by_name(model, ms, failed, used);
        self.model_calls.fetch_add(1, Relaxed);
        self.model_failures.fetch_add(u64::from(failed), Relaxed);
        self.input_tokens.fetch_add(used.input_tokens, Relaxed);
        self.output_tokens.fetch_add(used.output_tokens, Relaxed);
    }

    fn model_by_name(&self, name: &str, ms: u64, failed: bool, used: BudgetUsage) {
        self.model_ms.fetch_add(ms, Relaxed);
        self.model_times.count(name, ms);
        let mut models = self.models.lock();
        let counts = entry(&mut models, name);
        counts.failures += u64::from(failed);
        counts.input_tokens += used.input_tokens;
        counts.output_tokens += used.output_tokens;
        counts.cost_micros += used.cost_micros;
    }

    /// Counts a journal entry.
    pub(crate) fn stored(&self, notice: &JournalNotice<'_>) {
        self.entries.fetch_add(1, Relaxed);
        match notice.kind {
            JournalNoticeKind::RunStarted { graph } => {
                let mut started = self.started.lock();
                match started.get_mut(graph) {
                    Some(count) => *count += 1,
                    None => {
                        let graph = if started.len() < GRAPHS { graph } else { OTHERS };
                        *started.entry(graph.to_owned()).or_default() += 1;
                    }
                }
            }
            JournalNoticeKind::RunCompleted { active_ms } => {
                if let Some(graph) = notice.graph {
                    self.run_times.count(graph, active_ms);
                }
            }
            JournalNoticeKind::Step { kind, name, ms, failed, used } => {
                let (calls, failures) = match kind {
                    "model" => {
                        self.model_by_name(name, ms, failed, used);
                        (&self.model_calls, Some(&self.model_failures))
                    }
                    "tool" => {
                        self.tool_times.count(name, ms);
                        *entry(&mut self.tool_errors.lock(), name) += u64::from(failed);
                        (&self.tool_calls, Some(&self.tool_failures))
                    }
                    _ => (&self.steps, None),
                };
                calls.fetch_add(1, Relaxed);
                if let Some(failures) = failures.filter(|_| failed) {
                    failures.fetch_add(1, Relaxed);
                }
                self.input_tokens.fetch_add(used.input_tokens, Relaxed);
                self.output_tokens.fetch_add(used.output_tokens, Relaxed);
                self.cost_micros.fetch_add(used.cost_micros, Relaxed);
            }
            JournalNoticeKind::QuestionAsked => {
                self.asked.fetch_add(1, Relaxed);
            }
            JournalNoticeKind::QuestionAnswered => {
                self.answered.fetch_add(1, Relaxed);
            }
            _ => {}
        }
    }
}
