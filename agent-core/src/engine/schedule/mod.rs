//! The schedule of a graph: due tasks, joins and deferred nodes. Pure: no await, no clock, no lock, no I/O.

mod dataflow;
mod stored;

use std::{mem, sync::Arc};

use serde_json::value::RawValue;

use self::dataflow::TasksInFlight;
use crate::{
    graph::{
        ParentTargets,
        topology::{NodeIx, NodeSet, Topology},
    },
    journal::entry::DueNodes,
    util::push_first,
};

/// One activation that is due.
#[derive(Debug, Clone)]
pub(crate) struct Activation {
    /// Counts activations of the session (of the parent task in a subgraph); never used twice.
    pub(crate) number: u64,
    pub(crate) node: NodeIx,
    pub(crate) input: Option<Arc<RawValue>>,
}

/// Result of [`Schedule::advance`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// Tasks are due.
    Superstep,
    /// Nothing is due, yet these joins wait for sources that wait for them.
    Stuck { joins: Vec<String> },
    /// Nothing is due and nothing waits.
    Done,
}

/// Schedule of a graph.
#[derive(Debug)]
pub(crate) struct Schedule {
    topology: Arc<Topology>,
    /// Supersteps that were begun in this run.
    pub(crate) superstep: u64,
    next_number: u64,
    pub(crate) due: Vec<Activation>,
    next: Vec<Activation>,
    /// Activations of deferred nodes, until nothing else is due.
    deferred: Vec<Activation>,
    /// Arrivals by join; empty while none.
    arrived: Vec<NodeSet>,
    waiting: Vec<u32>,
    /// Joins that fired before all of their sources arrived: later arrivals activate nothing. Also in `waiting`.
    fired: Vec<u32>,
    /// Targets in the parent graph that were selected in this superstep: the subgraph ends. Boxed, because most graphs
    /// have none.
    parent: Option<Box<ParentTargets>>,
    /// By node: the superstep for which it already has a plain activation.
    marks: Vec<u64>,
    /// In dataflow mode.
    in_flight: Option<Box<TasksInFlight>>,
}

impl Schedule {
    /// A schedule with nothing due. `first_number` is the number of its first activation.
    pub(crate) fn new(topology: Arc<Topology>, first_number: u64) -> Self {
        let marks = vec![0; topology.nodes()];
        let arrived = topology.joins.iter().map(|j| NodeSet::with_capacity(j.sources.len())).collect();
        let in_flight = topology.dataflow.then(Box::default);
        Self {
            topology,
            superstep: 0,
            next_number: first_number,
            due: Vec::new(),
            next: Vec::new(),
            deferred: Vec::new(),
            arrived,
            waiting: Vec::new(),
            fired: Vec::new(),
            parent: None,
            marks,
            in_flight,
        }
    }

    /// Activates the targets of every edge of `node`, which has just finished.
    #[inline]
    pub(crate) fn fire(&mut self, node: NodeIx) {
        // By index: a clone of the shared topology would cost more than the activation.
        let node = node as usize;
        for at in 0..self.topology.out[node].edges.len() {
            self.activate(self.topology.out[node].edges[at]);
        }
        for at in 0..self.topology.out[node].joins.len() {
            let (join, place) = self.topology.out[node].joins[at];
            if !self.waiting.contains(&join) {
                self.waiting.push(join);
            }
            self.arrived[join as usize].insert(place);
        }
    }

    /// Activates a node without an input, once a superstep.
    #[inline]
    pub(crate) fn activate(&mut self, node: NodeIx) {
        if self.topology.deferred[node as usize] {
            if self.deferred.iter().all(|deferred| deferred.node != node || deferred.input.is_some()) {
                let activation = self.number(node, None);
                self.deferred.push(activation);
            }
            return;
        }
        // The mark of superstep n is n + 1, so that 0 is "never".
        let mark = self.superstep + 1;
        if mem::replace(&mut self.marks[node as usize], mark) != mark {
            let activation = self.number(node, None);
            push_first(&mut self.next, activation);
        }
    }

    /// Activates a node with an input. Each send is a separate activation.
    pub(crate) fn send(&mut self, node: NodeIx, input: Arc<RawValue>) {
        let activation = self.number(node, Some(input));
        if self.topology.deferred[node as usize] {
            self.deferred.push(activation)
        } else {
            self.next.push(activation)
        }
    }

    /// Ends the subgraph, with targets for its parent: nothing else is due, except tasks in flight in dataflow mode.
    pub(crate) fn leave_to(&mut self, targets: ParentTargets) {
        self.next.truncate(self.in_flight.as_ref().map_or(0, |in_flight| in_flight.count));
        self.deferred.clear();
        self.waiting.clear();
        self.fired.clear();
        self.arrived.iter_mut().for_each(NodeSet::clear);
        let parent = self.parent.get_or_insert_default();
        parent.goto.extend(targets.goto);
        parent.sends.extend(targets.sends);
    }

    /// Takes the targets in the parent graph that ended the subgraph.
    pub(crate) fn take_parent_targets(&mut self) -> Option<Box<ParentTargets>> {
        self.parent.take()
    }

    #[inline]
    fn number(&mut self, node: NodeIx, input: Option<Arc<RawValue>>) -> Activation {
        let number = self.next_number;
        self.next_number += 1;
        Activation { number, node, input }
    }

    /// Ends the superstep: activated nodes become due, joins fire that are complete or can no longer be reached, and deferred
    /// nodes become due if nothing else is.
    #[inline]
    pub(crate) fn advance(&mut self) -> Advance {
        self.due.clear();
        if !self.waiting.is_empty() {
            self.fire_joins();
        }
        if self.next.is_empty() && !self.deferred.is_empty() {
            mem::swap(&mut self.next, &mut self.deferred);
        }
        if !self.next.is_empty() {
            mem::swap(&mut self.due, &mut self.next);
            self.superstep += 1;
            return Advance::Superstep;
        }
        if self.waiting.is_empty() {
            return Advance::Done;
        }
        // Nothing is due. A join that still waits can never fire, so this is an error and not the end.
        Advance::Stuck { joins: self.waiting.iter().map(|&join| self.topology.join_label(join)).collect() }
    }

    /// Fires every join with sources that have all arrived or can no longer be reached from anything alive (dead-path
    /// elimination). Alive: what is due next, what is deferred, and the targets of other waiting joins.
    fn fire_joins(&mut self) {
        let topology = Arc::clone(&self.topology);
        let count = |arrived: &NodeSet, join: u32| {
            let places = 0..topology.joins[join as usize].sources.len();
            places.filter(|place| arrived.contains(*place as u32)).count()
        };
        loop {
            // Judged together against one picture of what is alive, so that the order of joins does not matter.
            let ready: Vec<(u32, bool)> = {
                let mut alive = NodeSet::with_capacity(topology.nodes() + 1);
                for activation in self.next.iter().chain(&self.deferred) {
                    alive.insert(activation.node);
                }
                let lives = |join: u32| {
                    let def = &topology.joins[join as usize];
                    let arrived = &self.arrived[join as usize];
                    let mut others = alive.clone();
                    let will_fire = |other: &&u32| **other != join && !self.fired.contains(other);
                    for &other in self.waiting.iter().filter(will_fire) {
                        if let Some(target) = topology.joins[other as usize].target {
                            others.insert(target);
                        }
                    }
                    def.upstream.iter().enumerate().any(|(place, upstream)| {
                        !arrived.contains(place as u32) && upstream.intersects(&others)
                    })
                };
                // In dataflow mode a source may still be in flight after it has arrived, because sends activate it several
                // times: a join waits for all of them.
                let arrives_again = |join: u32| {
                    let upstream = &topology.joins[join as usize].upstream;
                    topology.dataflow && upstream.iter().any(|upstream| upstream.intersects(&alive))
                };
                self.waiting
                    .iter()
                    .copied()
                    .filter_map(|join| {
                        let def = &topology.joins[join as usize];
                        let count = count(&self.arrived[join as usize], join);
                        let is_complete = count == def.sources.len();
                        if is_complete && !arrives_again(join) {
                            return Some((join, false));
                        }
                        let lives = is_complete || lives(join) || arrives_again(join);
                        let has_quorum = count >= def.need && def.need < def.sources.len();
                        ((has_quorum && !self.fired.contains(&join)) || !lives).then_some((join, lives))
                    })
                    .collect()
            };
            if ready.is_empty() {
                return;
            }
            self.waiting.retain(|join| ready.iter().all(|(ready, _)| ready != join));
            for (join, more_may_arrive) in ready {
                let def = &topology.joins[join as usize];
                let had_fired = self.fired.contains(&join);
                if had_fired {
                    self.fired.retain(|fired| *fired != join);
                } else if let Some(target) = def.target {
                    self.activate(target);
                }
                if !had_fired && more_may_arrive {
                    // It waits on, without an effect, until no source can arrive.
                    self.fired.push(join);
                    self.waiting.push(join);
                } else {
                    self.arrived[join as usize].clear();
                }
            }
            if self.waiting.is_empty() {
                return;
            }
        }
    }

    /// Removes the due activations of `node`: an edit in the name of the node replaces them.
    fn drop_due(&mut self, node: NodeIx) {
        self.due.retain(|activation| activation.node != node);
    }

    /// Returns the due tasks to the next superstep, so that routing and [`advance`](Schedule::advance) add to them.
    fn requeue_due(&mut self) {
        let due = mem::take(&mut self.due);
        self.superstep = self.superstep.saturating_sub(u64::from(!due.is_empty()));
        for activation in &due {
            if activation.input.is_none() {
                self.marks[activation.node as usize] = self.superstep + 1;
            }
        }
        self.next = due;
    }

    /// Returns the superstep that was closed, and the nodes that it made due. In dataflow mode, a superstep is one commit.
    pub(crate) fn due_nodes(&self) -> DueNodes {
        let superstep = match &self.in_flight {
            Some(in_flight) => in_flight.version,
            None => self.superstep - u64::from(!self.due.is_empty() && self.superstep > 0),
        };
        let next = self.new_due().iter().map(|task| self.topology.name(task.node).to_owned()).collect();
        DueNodes { superstep, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::topology::{JoinDef, OutEdges},
        journal::stored_schedule::StoredSchedule,
    };

    /// a, b, c, d = 0, 1, 2, 3; START = 4; join [a, b] -> c; edges given.
    fn schedule(edges: &[(NodeIx, NodeIx)], upstream_b: &[NodeIx]) -> Schedule {
        let set = |nodes: &[NodeIx]| {
            let mut set = NodeSet::with_capacity(5);
            for &node in nodes {
                set.insert(node);
            }
            set
        };
        let mut out = vec![OutEdges::default(); 5];
        for &(from, to) in edges {
            out[from as usize].edges.push(to);
        }
        out[0].joins.push((0, 0));
        out[1].joins.push((0, 1));
        Schedule::new(
            Arc::new(Topology {
                out,
                joins: vec![JoinDef {
                    sources: vec![0, 1],
                    need: 2,
                    target: Some(2),
                    upstream: vec![set(&[0, 4]), set(upstream_b)],
                }],
                deferred: vec![false; 4],
                dataflow: false,
                names: ["a", "b", "c", "d"].map(Into::into).to_vec(),
            }),
            1,
        )
    }

    fn due(schedule: &Schedule) -> Vec<NodeIx> {
        schedule.due.iter().map(|a| a.node).collect()
    }

    #[test]
    fn a_join_waits_for_a_source_that_something_alive_can_reach() {
        let mut schedule = schedule(&[(4, 0), (4, 3), (3, 1)], &[1, 3, 4]);
        schedule.fire(4);
        assert_eq!(schedule.advance(), Advance::Superstep);
        schedule.fire(0);
        schedule.fire(3);
        assert_eq!(schedule.advance(), Advance::Superstep);
        assert_eq!(due(&schedule), [1], "c waits for b");
        schedule.fire(1);
        assert_eq!(schedule.advance(), Advance::Superstep);
        assert_eq!(due(&schedule), [2]);
        assert_eq!(schedule.advance(), Advance::Done);
    }

    #[test]
    fn a_join_fires_without_a_source_on_a_path_not_taken() {
        let mut schedule = schedule(&[(4, 0)], &[1, 3]);
        schedule.fire(4);
        assert_eq!(schedule.advance(), Advance::Superstep);
        schedule.fire(0);
        assert_eq!(schedule.advance(), Advance::Superstep);
        assert_eq!(due(&schedule), [2]);
    }

    #[test]
    fn a_quorum_fires_once_and_ignores_later_arrivals_also_after_a_restart() {
        let mut schedule = schedule(&[(4, 0), (4, 3), (3, 1)], &[1, 3, 4]);
        Arc::get_mut(&mut schedule.topology).unwrap().joins[0].need = 1;
        schedule.fire(4);
        assert_eq!(schedule.advance(), Advance::Superstep);
        schedule.fire(0);
        schedule.fire(3);
        assert_eq!(schedule.advance(), Advance::Superstep);
        let mut both = due(&schedule);
        both.sort_unstable();
        assert_eq!(both, [1, 2], "c does not wait for b");
        let stored = serde_json::to_string(&schedule.stored()).unwrap();
        let projection: StoredSchedule = serde_json::from_str(&stored).unwrap();
        let back = Schedule::restore(Arc::clone(&schedule.topology), &projection).unwrap();
        for mut schedule in [schedule, back] {
            schedule.fire(1);
            assert_eq!(schedule.advance(), Advance::Done, "c does not run again");
        }
    }

    #[test]
    fn a_stored_plan_comes_back_the_same() {
        let mut schedule = schedule(&[(4, 0), (4, 3), (3, 1)], &[1, 3, 4]);
        schedule.fire(4);
        assert_eq!(schedule.advance(), Advance::Superstep);
        schedule.fire(0);
        schedule.fire(3);
        schedule.send(1, RawValue::from_string("{\"x\":\"한\"}".into()).unwrap().into());
        assert_eq!(schedule.advance(), Advance::Superstep);
        let stored = serde_json::to_string(&schedule.stored()).unwrap();
        let projection: StoredSchedule = serde_json::from_str(&stored).unwrap();
        let back = Schedule::restore(Arc::clone(&schedule.topology), &projection).unwrap();
        assert_eq!(serde_json::to_string(&back.stored()).unwrap(), stored);
        let unencoded = serde_json::to_string(&schedule.to_stored()).unwrap();
        assert_eq!(unencoded, serde_json::to_string(&projection).unwrap(), "without encoding it");
        assert_eq!(back.due[1].input.as_ref().unwrap().get(), "{\"x\":\"한\"}");
    }
}
