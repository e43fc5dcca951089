//! `wide_state_AxB`, `wide_dict_AxB`, `wide_pydantic_AxB`: fifteen fields, large values, a loop of six nodes.
//!
//! As in the other project, values are shared, not copied (`Shared` and `Arc` here, references there). `wide_state` is a struct
//! with a derived update; `wide_dict` is a map from field names to dynamic values, with reducers found by name at
//! run time; `wide_pydantic` is the struct with every update validated value by value before the merge.

use std::{collections::BTreeMap, sync::Arc};

use agent_core::{Context, END, Graph, START, State, graph::GraphBuilder, state::ApplyError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Result, Times, case::Case, measure::Report, sequential::runs};

type Inner = BTreeMap<String, Vec<Value>>;
type Record = BTreeMap<String, Arc<Inner>>;
type Shared = agent_core::state::Shared<Record>;

/// Kind of the state.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Typed,
    Map,
    Validated,
}

/// The size of a case: `25x300` is 5 × 5 keys and a limit of 300.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    outer: usize,
    inner: usize,
    pub(crate) limit: usize,
    loops: u64,
    /// Messages at the end.
    messages: usize,
}

/// `wide_state_25x300`, and the suite's own name `pydantic_state_25x300`.
pub(crate) fn parse(family: &str) -> Option<(Kind, Size)> {
    let kinds = [
        ("wide_state_", Kind::Typed),
        ("wide_dict_", Kind::Map),
        ("wide_pydantic_", Kind::Validated),
        ("pydantic_state_", Kind::Validated),
    ];
    let (size, kind) = kinds.iter().find_map(|(name, kind)| Some((family.strip_prefix(name)?, *kind)))?;
    let size = match size {
        "25x300" => Size { outer: 5, inner: 5, limit: 300, loops: 6, messages: 595 },
        "15x600" => Size { outer: 3, inner: 5, limit: 600, loops: 7, messages: 1_873 },
        "9x1200" => Size { outer: 3, inner: 3, limit: 1_200, loops: 7, messages: 1_873 },
        _ => return None,
    };
    Some((kind, size))
}

fn first_message(size: Size) -> Record {
    let leaf =
        |_| [json!("hi?".repeat(10)), json!(true), json!(1), json!(6_327_816_386_138_u64), Value::Null];
    let key = |at: usize| at.to_string().repeat(10);
    let inner: Inner = (0..size.inner).map(|at| (key(at), (0..5).flat_map(leaf).collect())).collect();
    (0..size.outer).map(|at| (key(at), Arc::new(inner.clone()))).collect()
}

fn letters(count: usize) -> String {
    (0..count).map(|_| fastrand::lowercase()).collect()
}

/// Reducers without validation.
mod free {
    use std::sync::Arc;

    use super::{Inner, Shared};
    use agent_core::state::ApplyError;

    pub(super) fn list(list: &mut Vec<Shared>, more: Vec<Shared>) -> Result<(), ApplyError> {
        list.extend(more);
        Ok(())
    }

    pub(super) fn merge(
        map: &mut std::collections::BTreeMap<String, Arc<Inner>>,
        more: std::collections::BTreeMap<String, Arc<Inner>>,
    ) -> Result<(), ApplyError> {
        map.extend(more);
        Ok(())
    }

    pub(super) fn newest<T>(old: &mut Option<T>, new: Option<T>) -> Result<(), ApplyError> {
        if new.is_some() {
            *old = new;
        }
        Ok(())
    }

    pub(super) fn newest_text(old: &mut Option<String>, new: Option<String>) -> Result<(), ApplyError> {
        newest(old, new)
    }

    pub(super) fn text(old: &mut String, new: String) -> Result<(), ApplyError> {
        *old = new;
        Ok(())
    }

    pub(super) fn last(old: &mut Option<Shared>, new: Option<Shared>) -> Result<(), ApplyError> {
        *old = new;
        Ok(())
    }

    pub(super) fn last_list(old: &mut Vec<Shared>, new: Vec<Shared>) -> Result<(), ApplyError> {
        *old = new;
        Ok(())
    }
}

/// Reducers with validation of all input.
mod checked {
    use std::{collections::BTreeMap, sync::Arc};

    use super::{Inner, Record, Shared, Value, free};
    use agent_core::state::ApplyError;

    const LONGEST: usize = 10_000;

    fn check_text(text: &str) -> Result<(), ApplyError> {
        if text.len() <= LONGEST { Ok(()) } else { Err(ApplyError::new("(text)", "it is too long")) }
    }

    fn check_value(value: &Value) -> Result<(), ApplyError> {
        match value {
            Value::Null | Value::Bool(_) => Ok(()),
            Value::Number(number) if number.is_i64() => Ok(()),
            Value::String(text) => check_text(text),
            _ => Err(ApplyError::new("(value)", "it is no text, integer, boolean or null")),
        }
    }

    fn check(record: &Record) -> Result<(), ApplyError> {
        for (key, inner) in record {
            check_text(key)?;
            for (key, values) in &**inner {
                check_text(key)?;
                values.iter().try_for_each(check_value)?;
            }
        }
        Ok(())
    }

    fn check_all(list: &[Shared]) -> Result<(), ApplyError> {
        list.iter().try_for_each(|record| check(record))
    }

    pub(super) fn list(list: &mut Vec<Shared>, more: Vec<Shared>) -> Result<(), ApplyError> {
        check_all(&more)?;
        free::list(list, more)
    }

    pub(super) fn merge(
        map: &mut BTreeMap<String, Arc<Inner>>,
        more: BTreeMap<String, Arc<Inner>>,
    ) -> Result<(), ApplyError> {
        check(&more)?;
        free::merge(map, more)
    }

    pub(super) fn newest(old: &mut Option<Shared>, new: Option<Shared>) -> Result<(), ApplyError> {
        new.as_deref().map_or(Ok(()), check)?;
        free::newest(old, new)
    }

    pub(super) fn newest_text(old: &mut Option<String>, new: Option<String>) -> Result<(), ApplyError> {
        new.as_deref().map_or(Ok(()), check_text)?;
        free::newest(old, new)
    }

    pub(super) fn text(old: &mut String, new: String) -> Result<(), ApplyError> {
        check_text(&new)?;
        free::text(old, new)
    }

    pub(super) fn last(old: &mut Option<Shared>, new: Option<Shared>) -> Result<(), ApplyError> {
        new.as_deref().map_or(Ok(()), check)?;
        free::last(old, new)
    }

    pub(super) fn last_list(old: &mut Vec<Shared>, new: Vec<Shared>) -> Result<(), ApplyError> {
        check_all(&new)?;
        free::last_list(old, new)
    }
}

/// Defines the struct and its graph with the reducers of a module.
macro_rules! wide {
    ($module:ident, $reducers:ident) => {
        mod $module {
            use super::$reducers as reducers;
            use super::*;

            #[derive(State, Default, Debug, Serialize, Deserialize)]
            pub(crate) struct Wide {
                #[state(reduce = reducers::list)]
                pub(super) messages: Vec<Shared>,
                #[state(reduce = reducers::list)]
                trigger_events: Vec<Shared>,
                #[state(reduce = reducers::text)]
                primary_issue_medium: String,
                #[state(reduce = reducers::last)]
                autoresponse: Option<Shared>,
                #[state(reduce = reducers::newest)]
                issue: Option<Shared>,
                #[state(reduce = reducers::last_list)]
                relevant_rules: Vec<Shared>,
                #[state(reduce = reducers::last_list)]
                memory_docs: Vec<Shared>,
                #[state(reduce = reducers::list)]
                categorizations: Vec<Shared>,
                #[state(reduce = reducers::list)]
                responses: Vec<Shared>,
                #[state(reduce = reducers::newest)]
                user_info: Option<Shared>,
                #[state(reduce = reducers::newest)]
                crm_info: Option<Shared>,
                #[state(reduce = reducers::newest_text)]
                email_thread_id: Option<String>,
                #[state(reduce = reducers::merge)]
                slack_participants: Record,
                #[state(reduce = reducers::text)]
                bot_id: String,
                #[state(reduce = reducers::merge)]
                notified_assignees: Record,
            }

            pub(crate) fn builder(limit: usize) -> GraphBuilder<Wide> {
                Graph::builder("wide")
                    .node("one", async move |s: &Wide, _: &Context| {
                        Ok(Wide::update()
                            .trigger_events(s.messages.clone())
                            .primary_issue_medium(letters(limit)))
                    })
                    .node("two", async |s: &Wide, _: &Context| {
                        let last = s.trigger_events.last().cloned();
                        Ok(Wide::update().autoresponse(last.clone()).issue(last))
                    })
                    .node("three", async |s: &Wide, _: &Context| {
                        Ok(Wide::update().relevant_rules(s.autoresponse.iter().cloned().collect::<Vec<_>>()))
                    })
                    .node("four", async |s: &Wide, _: &Context| {
                        Ok(Wide::update()
                            .categorizations(s.trigger_events.clone())
                            .responses(s.trigger_events.clone())
                            .memory_docs(s.trigger_events.clone()))
                    })
                    .node("five", async move |s: &Wide, _: &Context| {
                        let last = s.categorizations.last().cloned().unwrap_or_default();
                        Ok(Wide::update()
                            .user_info(last.clone())
                            .crm_info(last.clone())
                            .email_thread_id(letters(limit))
                            .slack_participants(Record::clone(&last))
                            .bot_id(letters(limit))
                            .notified_assignees(Record::clone(&last)))
                    })
                    .node("six", async |s: &Wide, _: &Context| {
                        Ok(Wide::update().messages(s.responses.clone()))
                    })
                    .edge(START, "one")
                    .edge("one", "two")
                    .edge("two", "three")
                    .edge("two", "four")
                    .join(["three", "four"], "five")
                    .edge("five", "six")
                    .branch(
                        "six",
                        move |s: &Wide| if s.messages.len() > limit { END } else { "one" },
                        ["one", END],
                    )
            }
        }
    };
}

wide!(plain, free);
wide!(strict, checked);

pub(crate) fn typed(limit: usize) -> GraphBuilder<plain::Wide> {
    plain::builder(limit)
}

pub(crate) fn validated(limit: usize) -> GraphBuilder<strict::Wide> {
    strict::builder(limit)
}

/// A value with dynamic type.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Field {
    List(Vec<Shared>),
    Text(String),
    One(Shared),
    Nothing(()),
}

/// A state with dynamic fields.
#[derive(Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fields(BTreeMap<String, Field>);

/// An update of a [`Fields`].
pub(crate) type FieldsUpdate = BTreeMap<String, Field>;

impl State for Fields {
    type Update = FieldsUpdate;

    fn copy_update(update: &FieldsUpdate) -> Option<FieldsUpdate> {
        Some(update.clone())
    }

    fn apply(&mut self, update: FieldsUpdate) -> Result<(), ApplyError> {
        for (name, new) in update {
            let append = matches!(&*name, "messages" | "trigger_events" | "categorizations" | "responses");
            let merge = matches!(&*name, "slack_participants" | "notified_assignees");
            let newest = matches!(&*name, "user_info" | "crm_info" | "email_thread_id" | "issue");
            match (self.0.get_mut(&name), new) {
                (Some(Field::List(list)), Field::List(more)) if append => list.extend(more),
                (Some(Field::One(map)), Field::One(more)) if merge => {
                    let mut merged = Record::clone(map);
                    merged.extend(more.iter().map(|(key, value)| (key.clone(), Arc::clone(value))));
                    *map = merged.into();
                }
                (Some(_), Field::Nothing(())) if newest => {}
                (Some(old), new) => *old = new,
                (None, new) => {
                    self.0.insert(name, new);
                }
            }
        }
        Ok(())
    }
}

/// Fields that a node reads and writes, by the kind of each written field.
fn read_write(state: &Fields, read: &str, write: &[&str], limit: usize) -> FieldsUpdate {
    let value = state.0.get(read);
    let list = || match value {
        Some(Field::List(list)) => list.clone(),
        Some(Field::One(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    let single = || match value {
        Some(Field::List(list)) => list.last().map_or(Field::Nothing(()), |last| Field::One(last.clone())),
        Some(Field::One(one)) => Field::One(one.clone()),
        _ => Field::Nothing(()),
    };
    let written = |name: &str| match name {
        "messages" | "trigger_events" | "categorizations" | "responses" | "memory_docs"
        | "relevant_rules" => Field::List(list()),
        "user_info" | "crm_info" | "slack_participants" | "notified_assignees" | "autoresponse" | "issue" => {
            single()
        }
        _ => Field::Text(letters(limit)),
    };
    write.iter().map(|name| ((*name).to_owned(), written(name))).collect()
}

fn message_count(state: &Fields) -> usize {
    match state.0.get("messages") {
        Some(Field::List(list)) => list.len(),
        _ => 0,
    }
}

pub(crate) fn map(limit: usize) -> GraphBuilder<Fields> {
    type Reads = (&'static str, &'static str, &'static [&'static str]);
    const NODES: [Reads; 6] = [
        ("one", "messages", &["trigger_events", "primary_issue_medium"]),
        ("two", "trigger_events", &["autoresponse", "issue"]),
        ("three", "autoresponse", &["relevant_rules"]),
        ("four", "trigger_events", &["categorizations", "responses", "memory_docs"]),
        (
            "five",
            "categorizations",
            &[
                "user_info",
                "crm_info",
                "email_thread_id",
                "slack_participants",
                "bot_id",
                "notified_assignees",
            ],
        ),
        ("six", "responses", &["messages"]),
    ];
    let mut builder = Graph::builder("wide_dict");
    for (name, read, write) in NODES {
        builder = builder.node(name, async move |state: &Fields, _: &Context| {
            Ok(agent_core::graph::Outcome::<Fields>::update(read_write(state, read, write, limit)))
        });
    }
    builder
        .edge(START, "one")
        .edge("one", "two")
        .edge("two", "three")
        .edge("two", "four")
        .join(["three", "four"], "five")
        .edge("five", "six")
        .branch("six", move |s: &Fields| if message_count(s) > limit { END } else { "one" }, ["one", END])
}

pub(crate) fn run(case: &Case, times: Times) -> Option<Result<Report>> {
    let (kind, size) = parse(&case.family)?;
    let counts = [5 * size.loops, 6 * size.loops, 5 * size.loops];
    let first = Shared::new(first_message(size));
    Some(match kind {
        Kind::Typed => typed(size.limit).build().map_err(Into::into).and_then(|graph| {
            let input = move || plain::Wide::update().messages(vec![first.clone()]);
            runs(case, times, None, graph, counts, input, move |state| state.messages.len() == size.messages)
        }),
        Kind::Validated => validated(size.limit).build().map_err(Into::into).and_then(|graph| {
            let input = move || strict::Wide::update().messages(vec![first.clone()]);
            runs(case, times, None, graph, counts, input, move |state| state.messages.len() == size.messages)
        }),
        Kind::Map => map(size.limit).build().map_err(Into::into).and_then(|graph| {
            let input =
                move || FieldsUpdate::from([("messages".to_owned(), Field::List(vec![first.clone()]))]);
            runs(case, times, None, graph, counts, input, move |state| message_count(state) == size.messages)
        }),
    })
}
