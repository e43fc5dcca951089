//! A reference interpreter that shares no code with the engine.

use super::*;

#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) at: usize,
    pub(super) input: Option<i64>,
    /// The handler, for this failed node.
    pub(super) handles: Option<usize>,
}

/// Interprets `spec` in the plainest way. `Err`: the code of the error that ends it.
pub(super) fn reference(spec: &Spec) -> Result<Model, &'static str> {
    let mut state = Model::default();
    let mut due = vec![Due { at: 0, input: None, handles: None }];
    let mut held: Vec<Due> = Vec::new();
    // In the order in which the first source of each finished.
    let mut waiting: Vec<(usize, BTreeSet<usize>)> = Vec::new();
    let mut supersteps = 0;
    if spec.nodes[0].deferred {
        held.clear();
    }
    while !due.is_empty() {
        supersteps += 1;
        if supersteps > 400 {
            return Err("superstep_limit");
        }
        // All tasks see the state from before the superstep.
        let before = state.clone();
        let mut claims = 0;
        let mut done = Vec::new();
        for task in &due {
            if let Some(failed) = task.handles {
                state.log.push(format!("handled n{failed}"));
                continue;
            }
            let node = &spec.nodes[task.at];
            if spec.handled(task.at) {
                done.push((task.clone(), None));
                continue;
            }
            for inner in if node.nested { &["x", "y"][..] } else { &[""][..] } {
                let input = task.input.map(|n| format!("({n})")).unwrap_or_default();
                state.log.push(format!("n{}{inner}{input}", task.at));
                for n in 0..node.steps {
                    state.log.push(format!("+{}", n + 1));
                }
                for n in 0..node.asks {
                    state.log.push(answer_to(&format!("n{}{inner}?{n}", task.at)));
                }
                state.sum += 1;
            }
            if node.replaces {
                state.last = Some(format!("n{}", task.at));
                claims += 1;
            }
            if let (Some(which), false) = (node.hostile, node.nested) {
                let (key, value) = hostile(which);
                state.values.insert(key, value);
            }
            done.push((task.clone(), Some(before.clone())));
        }
        if claims > 1 {
            return Err("write_conflict");
        }
        let mut next: Vec<Due> = Vec::new();
        let add = |next: &mut Vec<Due>, held: &mut Vec<Due>, new: Due| {
            let list = if new.handles.is_none() && spec.nodes[new.at].deferred { held } else { next };
            let is_plain = new.input.is_none() && new.handles.is_none();
            if is_plain && list.iter().any(|d| d.at == new.at && d.input.is_none() && d.handles.is_none()) {
                return;
            }
            list.push(new);
        };
        for (task, before) in &done {
            let at = task.at;
            let plain = |at| Due { at, input: None, handles: None };
            let Some(before) = before else {
                next.push(Due { at: usize::MAX, input: None, handles: Some(at) });
                continue;
            };
            if spec.nodes[at].mode == Mode::Edges {
                for child in spec.children(at) {
                    add(&mut next, &mut held, plain(child));
                }
            }
            for join in spec.joins_of(at) {
                match waiting.iter_mut().find(|(known, _)| *known == join) {
                    Some((_, arrived)) => {
                        arrived.insert(at);
                    }
                    None => waiting.push((join, BTreeSet::from([at]))),
                }
            }
            match spec.nodes[at].mode {
                Mode::Branch { .. } => {
                    if let Some(chosen) = spec.choice(at, &state) {
                        add(&mut next, &mut held, plain(chosen));
                    }
                }
                Mode::Goto { .. } => {
                    if let Some(chosen) = spec.choice(at, before) {
                        add(&mut next, &mut held, plain(chosen));
                    }
                }
                Mode::Sends(count) => {
                    for child in spec.children(at) {
                        for n in 0..i64::from(count) {
                            add(&mut next, &mut held, Due { at: child, input: Some(n), handles: None });
                        }
                    }
                }
                Mode::Edges => {}
            }
        }
        // Joins: all sources finished, or the missing ones can no longer finish.
        loop {
            let mut fire = Vec::new();
            for (join, arrived) in &waiting {
                let join = *join;
                let mut alive: BTreeSet<usize> =
                    next.iter().chain(&held).filter(|d| d.handles.is_none()).map(|d| d.at).collect();
                alive.extend(waiting.iter().map(|(other, _)| *other).filter(|&other| other != join));
                let reachable = closure(spec, alive);
                let missing = spec.nodes[join].joins.iter().filter(|source| !arrived.contains(source));
                if !missing.into_iter().any(|source| reachable.contains(source)) {
                    fire.push(join);
                }
            }
            if fire.is_empty() {
                break;
            }
            waiting.retain(|(join, _)| !fire.contains(join));
            for join in fire {
                add(&mut next, &mut held, Due { at: join, input: None, handles: None });
            }
        }
        if next.is_empty() {
            next = std::mem::take(&mut held);
        }
        due = next;
    }
    if waiting.is_empty() { Ok(state) } else { Err("join_never_filled") }
}
