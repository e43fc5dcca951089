//! Decoding of stored states and updates, including those of older versions.

use std::collections::BTreeMap;

use serde_json::{Value, value::to_raw_value};

use super::{RunError, contain};
use crate::{
    journal::{entry::Raw, projection::FrameProjection},
    json::{self, Form},
    state::State,
};

/// A state as it was stored.
pub(crate) fn read_state<S: State>(projection: &FrameProjection) -> Result<S, RunError> {
    let mut state = read_base(projection)?;
    for (version, stored) in &projection.updates {
        apply_stored(&mut state, read_update::<S>(*version, &stored.json, &stored.form)?)?;
    }
    Ok(state)
}

/// Applies an update that was read.
pub(super) fn apply_stored<S: State>(state: &mut S, update: S::Update) -> Result<(), RunError> {
    contain("(reducer)", || state.apply(update))?
        .map_err(|source| RunError::Update { node: "(journal)".into(), source })
}

/// A state without the updates since.
pub(super) fn read_base<S: State>(projection: &FrameProjection) -> Result<S, RunError> {
    let unreadable = |reason: String| RunError::StoredState { reason };
    match &projection.base {
        None => Ok(S::default()),
        Some((version, stored)) if *version == S::VERSION => {
            stored.read().map_err(|error| unreadable(format!("the state: {error}")))
        }
        Some((version, stored)) => {
            reject_newer_version::<S>(*version)?;
            let value = json::read(stored.json.get()).map_err(|error| unreadable(error.to_string()))?;
            let value: Value = S::migrate(*version, value).map_err(|error| unreadable(error.to_string()))?;
            json::read_stored(&value.to_string(), &stored.form)
                .map_err(|error| unreadable(format!("the migrated state: {error}")))
        }
    }
}

/// An update as it was stored, by any version of this crate.
pub(crate) fn read_update<S: State>(version: u32, raw: &Raw, form: &Form) -> Result<S::Update, RunError> {
    let unreadable =
        |error: &dyn std::fmt::Display| RunError::StoredState { reason: format!("an update: {error}") };
    if form.is_lost() {
        return Err(unreadable(&"the journal lacks a step with a result that it contains"));
    }
    let read = |text: &str| {
        // Before updates named their overwritten fields, `{"$overwrite": value}` stood inside the field.
        let old = S::MARKS_OVERWRITES && !form.has_plain_fields() && json::has_overwrite(text);
        let marked = if old { mark_overwrites::<S>(text) } else { None };
        json::read_stored(marked.as_deref().unwrap_or(text), form).map_err(|error| unreadable(&error))
    };
    if version == S::VERSION {
        return read(raw.get());
    }
    reject_newer_version::<S>(version)?;
    let value = json::read(raw.get()).map_err(|error| unreadable(&error))?;
    let value: Value = S::migrate_update(version, value).map_err(|error| unreadable(&error))?;
    read(&value.to_string())
}

/// Names the overwritten fields of an update beside its fields, where an older version wrote `{"$overwrite": value}`
/// in a field that can be overwritten with that value; `None` where it wrote none. Such an object with any other
/// content was data and stays.
fn mark_overwrites<S: State>(text: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Overwrite {
        #[serde(rename = "$overwrite")]
        value: Raw,
    }
    let object = |fields: &BTreeMap<String, Raw>, names: &[String]| {
        let mut object: BTreeMap<&str, Raw> =
            fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        object.insert("$overwrite", to_raw_value(names).ok()?.into());
        serde_json::to_string(&object).ok()
    };
    let mut fields: BTreeMap<String, Raw> = serde_json::from_str(text).ok()?;
    if fields.contains_key("$overwrite") {
        return None;
    }
    let mut names = Vec::new();
    for (name, value) in &mut fields {
        let Ok(overwrite) = serde_json::from_str::<Overwrite>(value.get()) else { continue };
        let alone = BTreeMap::from([(name.clone(), overwrite.value.clone())]);
        let alone = object(&alone, std::slice::from_ref(name))?;
        if json::read::<S::Update>(&alone).is_ok() {
            *value = overwrite.value;
            names.push(name.clone());
        }
    }
    if names.is_empty() { None } else { object(&fields, &names) }
}

fn reject_newer_version<S: State>(version: u32) -> Result<(), RunError> {
    if version > S::VERSION {
        let reason =
            format!("it has version {version}, this program knows up to {}; use a newer program", S::VERSION);
        return Err(RunError::StoredState { reason });
    }
    Ok(())
}
