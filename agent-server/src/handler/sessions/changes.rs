//! `GET /sessions/{session_id}/diff?from=SEQ&to=SEQ`: what changed in the state between two places.

use agent_core::ids::Seq;
use json_patch::{PatchOperation, jsonptr::Pointer};
use serde_json::{Value, json};

use crate::{
    error::{ApiError, Refusal},
    handler::refused,
    http::{
        call::Call,
        reply::{Reply, ok},
    },
};

pub(crate) async fn handle(call: Call) -> Reply {
    let session = call.session().await?;
    let query = call.query();
    let place = |name: &str| {
        let told =
            || ApiError::new(Refusal::InvalidRequest, format!("`{name}` must be the number of a place"));
        query.number(name)?.map(Seq).ok_or_else(told)
    };
    let (from, to) = (place("from")?, place("to")?);
    let refused = refused(session.id());
    let before = session.state_json_at(from).await.map_err(&refused)?;
    let after = session.state_json_at(to).await.map_err(&refused)?;
    Ok(ok(&json!({"from": from, "to": to, "changes": changes(&before, &after)})))
}

/// The changes as JSON Patch (RFC 6902), each with what was there before.
fn changes(before: &Value, after: &Value) -> Vec<Value> {
    let mut now = before.clone();
    let patch = json_patch::diff(before, after);
    let told = patch.0.iter().map(|operation| {
        let old = |path: &Pointer| path.resolve(&now).ok().cloned();
        let told = match operation {
            PatchOperation::Add(add) => json!({"op": "add", "path": add.path, "to": add.value}),
            PatchOperation::Remove(gone) => {
                json!({"op": "remove", "path": gone.path, "from": old(&gone.path)})
            }
            PatchOperation::Replace(put) => {
                json!({"op": "replace", "path": put.path, "from": old(&put.path), "to": put.value})
            }
            other => json!(other),
        };
        // Places in lists move with each step, so `from` is read from the state as it is by then.
        if json_patch::patch(&mut now, std::slice::from_ref(operation)).is_err() {
            tracing::error!("a difference of two states does not lead from one to the other");
        }
        told
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_was_there_also_behind_a_removal_in_the_same_list() {
        let (before, after) =
            (json!({"a": [1, 2, 3], "b": "가"}), json!({"a": [2, 4], "b": "나", "c": null}));
        let changes = changes(&before, &after);
        assert!(
            changes.contains(&json!({"op": "replace", "path": "/b", "from": "가", "to": "나"})),
            "{changes:?}"
        );
        assert!(changes.contains(&json!({"op": "add", "path": "/c", "to": null})), "{changes:?}");
        let mut now = before.clone();
        for change in changes {
            if change["op"] != "add" {
                let path = Pointer::parse(change["path"].as_str().unwrap()).unwrap().to_owned();
                assert_eq!(path.resolve(&now).unwrap(), &change["from"]);
            }
            let mut step = change.clone();
            step["value"] = step["to"].clone();
            let step: json_patch::Patch = serde_json::from_value(json!([step])).unwrap();
            json_patch::patch(&mut now, &step).unwrap();
        }
        assert_eq!(now, after);
    }
}
