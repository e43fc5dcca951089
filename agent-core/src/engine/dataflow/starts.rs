//! States from which the tasks in flight of a stored run start.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    engine::{
        RunError,
        schedule::Schedule,
        stored_state::{apply_stored, read_base, read_state, read_update},
    },
    graph::Graph,
    ids::NodeName,
    journal::projection::FrameProjection,
    state::State,
};

/// For each field that was replaced: the version of the state since then, and the node.
pub(super) type Claims = HashMap<&'static str, (u64, NodeName)>;

/// States by version, and the fields that were replaced since the oldest of them.
#[derive(Debug)]
pub(crate) struct Starts<S> {
    pub(super) states: HashMap<u64, Arc<S>>,
    pub(super) claims: Claims,
}

impl<S> Default for Starts<S> {
    fn default() -> Self {
        Self { states: HashMap::new(), claims: Claims::new() }
    }
}

/// The present state of a frame, and in dataflow mode those of its tasks in flight.
type FrameStates<S> = (Arc<S>, Option<Box<Starts<S>>>);

/// Reads the present state of a graph, and those that its tasks in flight read.
pub(crate) fn read_frame<S: State>(
    graph: &Graph<S>,
    projection: &FrameProjection,
    schedule: &Schedule,
) -> Result<FrameStates<S>, RunError> {
    let Some(copy) = graph.0.dataflow else { return Ok((Arc::new(read_state(projection)?), None)) };
    let versions = schedule.due.iter().filter_map(|task| Some(schedule.start_of(task.number)?.version));
    // By version, whether it was found.
    let mut needed: BTreeMap<u64, bool> = versions.map(|version| (version, false)).collect();
    let oldest = needed.keys().next().copied().unwrap_or(u64::MAX);
    let (mut states, mut claims) = (HashMap::new(), Claims::new());
    let mut at_end = Vec::new();
    let mut state: S = read_base(projection)?;
    let mut stored_versions = projection.versions.iter().peekable();
    for at in 0..=projection.updates.len() {
        while let Some(known) = stored_versions.next_if(|known| known.updates == at) {
            let Some(found) = needed.get_mut(&known.version) else { continue };
            *found = true;
            if at == projection.updates.len() {
                at_end.push(known.version);
            } else {
                states.insert(known.version, Arc::new(copy(&state)));
            }
        }
        let Some((version, stored)) = projection.updates.get(at) else { break };
        let update = read_update::<S>(*version, &stored.json, &stored.form)?;
        if let Some(known) = stored_versions.peek()
            && known.updates == at + 1
            && known.version > oldest
            && let Some(task) = &known.task
        {
            S::claims(&update, &mut |field| {
                claims.insert(field, (known.version, Arc::clone(task.node())));
            });
        }
        apply_stored(&mut state, update)?;
    }
    let state = Arc::new(state);
    // Without a commit or an edit since, the tasks read the present state.
    let present = needed.iter().filter(|(version, found)| !**found && **version == schedule.version());
    at_end.extend(present.map(|(version, _)| *version));
    states.extend(at_end.into_iter().map(|version| (version, Arc::clone(&state))));
    if let Some(missing) = needed.keys().find(|version| !states.contains_key(*version)) {
        let reason =
            format!("version {missing} of the state, which tasks in flight read, is not in the journal");
        return Err(RunError::StoredState { reason });
    }
    Ok((state, Some(Box::new(Starts { states, claims }))))
}
