//! Stored form of a schedule: tasks and joins by name.

use std::sync::Arc;

use serde::Serialize;

use super::{Activation, Schedule};
use crate::{
    graph::{
        ParentTargets,
        topology::{NodeIx, Topology},
    },
    journal::stored_schedule::{StoredInFlight, StoredJoin, StoredSchedule, StoredTask},
};

impl Schedule {
    /// Returns the stored form.
    pub(crate) fn stored(&self) -> ScheduleRef<'_> {
        ScheduleRef { schedule: self, due: &self.due, in_flight: self.stored_in_flight() }
    }

    /// Returns the stored form after a commit in dataflow mode: with the tasks that it made due, without those in flight.
    pub(crate) fn stored_change(&self) -> ScheduleRef<'_> {
        ScheduleRef { schedule: self, due: self.new_due(), in_flight: None }
    }

    /// Returns the stored form as a value, without encoding it.
    pub(crate) fn to_stored(&self) -> StoredSchedule {
        let tasks = |list: &[Activation]| {
            let task = |task: &Activation| {
                StoredTask(task.number, self.topology.name(task.node).to_owned(), task.input.clone())
            };
            list.iter().map(task).collect()
        };
        let parent = self.parent.as_deref();
        StoredSchedule {
            superstep: self.superstep,
            next: self.next_number,
            due: tasks(&self.due),
            deferred: tasks(&self.deferred),
            joins: self.waiting.iter().map(|&join| self.stored_join(join)).collect(),
            parent: parent.map(|parent| parent.goto.clone()).unwrap_or_default(),
            parent_sends: parent.map(|parent| parent.sends.clone()).unwrap_or_default(),
            in_flight: self.stored_in_flight(),
        }
    }

    fn stored_join(&self, join: u32) -> StoredJoin {
        let def = &self.topology.joins[join as usize];
        let names = |keep: &dyn Fn(u32) -> bool| {
            let sources = def.sources.iter().enumerate().filter(|(place, _)| keep(*place as u32));
            sources.map(|(_, &source)| self.topology.name(source).to_owned()).collect()
        };
        StoredJoin {
            sources: names(&|_| true),
            target: def.target.map_or(crate::graph::END, |t| self.topology.name(t)).to_owned(),
            arrived: names(&|place| self.arrived[join as usize].contains(place)),
            fired: self.fired.contains(&join),
        }
    }

    /// Restores a stored schedule for the present graph.
    ///
    /// The error lists pending tasks and waiting joins that the graph no longer contains.
    pub(crate) fn restore(topology: Arc<Topology>, projection: &StoredSchedule) -> Result<Self, Vec<String>> {
        let mut missing = Vec::new();
        let mut schedule = Self::new(Arc::clone(&topology), projection.next);
        schedule.superstep = projection.superstep;
        if !projection.parent.is_empty() || !projection.parent_sends.is_empty() {
            let (goto, sends) = (projection.parent.clone(), projection.parent_sends.clone());
            schedule.parent = Some(Box::new(ParentTargets { goto, sends }));
        }
        let find =
            |name: &str| topology.names.iter().position(|known| &**known == name).map(|at| at as NodeIx);
        for (stored, list) in
            [(&projection.due, &mut schedule.due), (&projection.deferred, &mut schedule.deferred)]
        {
            for task in stored {
                match find(&task.1) {
                    Some(node) => {
                        list.push(Activation { number: task.0, node, input: task.2.clone() });
                    }
                    None => {
                        missing.push(format!("node `{}` (task {}#{} is waiting)", task.1, task.1, task.0))
                    }
                }
            }
        }
        for wait in &projection.joins {
            let found = topology.joins.iter().position(|def| {
                def.target.map_or(crate::graph::END, |t| topology.name(t)) == wait.target
                    && def.sources.len() == wait.sources.len()
                    && def.sources.iter().all(|&s| wait.sources.iter().any(|name| name == topology.name(s)))
            });
            match found {
                Some(join) => {
                    schedule.waiting.push(join as u32);
                    if wait.fired {
                        schedule.fired.push(join as u32);
                    }
                    for (place, &source) in topology.joins[join].sources.iter().enumerate() {
                        if wait.arrived.iter().any(|name| name == topology.name(source)) {
                            schedule.arrived[join].insert(place as u32);
                        }
                    }
                }
                None => missing.push(format!(
                    "join [{}] -> {} (filled by [{}])",
                    wait.sources.join(", "),
                    wait.target,
                    wait.arrived.join(", ")
                )),
            }
        }
        schedule.restore_in_flight(projection, &mut missing);
        if missing.is_empty() { Ok(schedule) } else { Err(missing) }
    }
}

/// Serializes a schedule as a [`StoredSchedule`] without building one.
pub(crate) struct ScheduleRef<'a> {
    schedule: &'a Schedule,
    due: &'a [Activation],
    in_flight: Option<StoredInFlight>,
}

impl Serialize for ScheduleRef<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;

        struct Tasks<'a>(&'a Topology, &'a [Activation]);
        impl Serialize for Tasks<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.1.iter().map(|a| Task(self.0, a)))
            }
        }
        struct Task<'a>(&'a Topology, &'a Activation);
        impl Serialize for Task<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let name = self.0.name(self.1.node);
                match &self.1.input {
                    Some(input) => (self.1.number, name, input).serialize(serializer),
                    // A tuple struct reads a missing last element as absent only when it is `null`.
                    None => (self.1.number, name, ()).serialize(serializer),
                }
            }
        }

        let Self { schedule, due, in_flight } = self;
        let topology = &*schedule.topology;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("s", &schedule.superstep)?;
        map.serialize_entry("n", &schedule.next_number)?;
        if !due.is_empty() {
            map.serialize_entry("due", &Tasks(topology, due))?;
        }
        if !schedule.deferred.is_empty() {
            map.serialize_entry("held", &Tasks(topology, &schedule.deferred))?;
        }
        if !schedule.waiting.is_empty() {
            let joins: Vec<StoredJoin> =
                schedule.waiting.iter().map(|&join| schedule.stored_join(join)).collect();
            map.serialize_entry("joins", &joins)?;
        }
        if let Some(parent) = &schedule.parent {
            if !parent.goto.is_empty() {
                map.serialize_entry("parent", &parent.goto)?;
            }
            if !parent.sends.is_empty() {
                map.serialize_entry("psends", &parent.sends)?;
            }
        }
        if let Some(in_flight) = in_flight {
            map.serialize_entry("flow", in_flight)?;
        }
        map.end()
    }
}
