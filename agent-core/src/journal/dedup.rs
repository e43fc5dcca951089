//! Deduplication of updates: parts that equal the result of a recorded step are stored as references and restored when
//! the update is read.
//!
//! An answer of a model or tool is in the journal as the result of its step before the update of the node repeats it, so
//! each long text would be stored twice. Compression in a store would not see both, because they are separate entries.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    JournalStore, StoreError,
    entry::{Entry, Fact, Raw},
};
use crate::ids::{Seq, SessionId};

/// Shorter parts are not deduplicated.
const MIN_DEDUP_BYTES: usize = 512;
/// Length of the prefix that is searched for before a part is compared as a whole.
const PREFIX_BYTES: usize = 64;
/// Text in place of an extracted part.
const PLACEHOLDER: &str = "null";

/// Reference to a step result in place of a part of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepRef {
    /// Position in the deduplicated text, in bytes.
    at: usize,
    /// The entry of the step.
    pub(crate) seq: Seq,
    /// The field of the result; `None` for the whole result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// Replaces parts that equal results of `steps` by references. Returns `None` if there is no such part.
pub(crate) fn extract<'a>(
    whole: &RawValue,
    steps: impl IntoIterator<Item = (Seq, &'a RawValue)>,
) -> Option<(Raw, Vec<StepRef>)> {
    let text = whole.get();
    if text.len() < MIN_DEDUP_BYTES {
        return None;
    }
    let mut found: Vec<(usize, usize, StepRef)> = Vec::new();
    for (seq, step) in steps {
        if step.get().len() < MIN_DEDUP_BYTES {
            continue;
        }
        if let Some(at) = find(text, step.get()) {
            found.push((at, step.get().len(), StepRef { at: 0, seq, field: None }));
            continue;
        }
        let Ok(fields) = serde_json::from_str::<HashMap<String, &RawValue>>(step.get()) else { continue };
        for (name, field) in fields {
            if field.get().len() >= MIN_DEDUP_BYTES
                && let Some(at) = find(text, field.get())
            {
                found.push((at, field.get().len(), StepRef { at: 0, seq, field: Some(name) }));
            }
        }
    }
    found.sort_by_key(|(at, ..)| *at);
    let (mut kept, mut holes, mut done) = (String::new(), Vec::with_capacity(found.len()), 0);
    for (at, len, mut hole) in found {
        if at < done {
            continue;
        }
        kept.push_str(&text[done..at]);
        hole.at = kept.len();
        kept.push_str(PLACEHOLDER);
        holes.push(hole);
        done = at + len;
    }
    if holes.is_empty() {
        return None;
    }
    kept.push_str(&text[done..]);
    // A match inside of a JSON string would break the surrounding JSON: then nothing is deduplicated.
    Some((RawValue::from_string(kept).ok()?.into(), holes))
}

fn find(text: &str, part: &str) -> Option<usize> {
    // A short prefix is cheap to search for; the rest is compared at once.
    let probe = &part[..part.floor_char_boundary(PREFIX_BYTES)];
    text.match_indices(probe).map(|(at, _)| at).find(|at| text[*at..].starts_with(part))
}

/// Restores the full text. Returns `None` if a step result is missing or different.
pub(crate) fn restore<'a>(
    kept: &RawValue,
    holes: &[StepRef],
    step: impl Fn(Seq) -> Option<&'a RawValue>,
) -> Option<Raw> {
    let text = kept.get();
    let (mut whole, mut done) = (String::with_capacity(text.len()), 0);
    for hole in holes {
        let end = hole.at.checked_add(PLACEHOLDER.len())?;
        if text.get(hole.at..end)? != PLACEHOLDER {
            return None;
        }
        whole.push_str(text.get(done..hole.at)?);
        let value = step(hole.seq)?;
        match &hole.field {
            None => whole.push_str(value.get()),
            Some(name) => {
                let fields: HashMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
                whole.push_str(fields.get(name)?.get());
            }
        }
        done = end;
    }
    whole.push_str(text.get(done..)?);
    RawValue::from_string(whole).ok().map(Raw::from)
}

/// Reads entries with full updates (except updates that refer to trimmed steps).
pub(crate) async fn read_entries(
    store: &dyn JournalStore,
    session: &SessionId,
    after: Seq,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let records = store.read(session, after, Seq(u64::MAX >> 1), limit).await?;
    let mut entries = Vec::with_capacity(records.len());
    let mut steps: HashMap<Seq, Raw> = HashMap::new();
    for record in &records {
        let mut entry = Entry::decode(session, record)?;
        if let Fact::StepRecorded(step) = &entry.fact
            && let Some(value) = step.value.as_ref().filter(|value| value.get().len() >= MIN_DEDUP_BYTES)
        {
            steps.insert(entry.seq, value.clone());
        }
        if let Fact::TaskFinished(finished) = &mut entry.fact {
            for hole in &finished.holes {
                if hole.seq > after || steps.contains_key(&hole.seq) {
                    continue;
                }
                let before = Seq(hole.seq.0.saturating_sub(1));
                let found = store.read(session, before, hole.seq, 1).await?;
                if let Some(record) = found.first()
                    && let Fact::StepRecorded(step) = Entry::decode(session, record)?.fact
                    && let Some(value) = step.value
                {
                    steps.insert(hole.seq, value);
                }
            }
            finished.restore_update(|seq| steps.get(&seq).map(|raw| &**raw));
            for hole in &finished.holes {
                steps.remove(&hole.seq);
            }
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: String) -> Raw {
        RawValue::from_string(text).unwrap().into()
    }

    #[test]
    fn what_is_left_out_comes_back_to_the_byte() {
        let long = "긴 글 \\\" ".repeat(100);
        let message = format!(r#"{{"id":"m","content":"{long}"}}"#);
        let step = raw(format!(r#"{{"message":{message},"usage":null}}"#));
        let plain = raw(format!(r#"["{long}"]"#));
        let whole = raw(format!(r#"{{"a":null,"messages":[{message}],"n":1,"list":["{long}"]}}"#));
        let steps = [(Seq(3), &*step), (Seq(7), &*plain)];
        let (kept, holes) = extract(&whole, steps).unwrap();
        assert!(kept.get().len() < 64, "{kept}");
        let found = |seq| steps.iter().find(|(at, _)| *at == seq).map(|(_, raw)| *raw);
        assert_eq!(restore(&kept, &holes, found).unwrap().get(), whole.get());
        assert!(restore(&kept, &holes, |_| None).is_none());
    }

    #[test]
    fn short_and_strange_results_stay_where_they_are() {
        let text = raw(format!(r#"["{}"]"#, "x".repeat(600)));
        assert!(extract(&text, [(Seq(1), &*raw("\"x\"".into()))]).is_none());
        let other = raw(format!(r#"["{}"]"#, "y".repeat(600)));
        assert!(extract(&text, [(Seq(1), &*other)]).is_none());
    }
}
