//! Environment of a case: the tokio runtime of a typical application, the journal, and a new session per run.

use std::{future::Future, time::Duration};

use agent_core::{
    Event, Graph, Input, Runtime, SessionId, State,
    event::{EventBody, EventFilter, EventKind, UpdateForm},
    journal::InMemoryJournal,
    model::Model,
    run::Finished,
    run::Limits,
    secret::Secret,
    sqlite::Sqlite,
};
use agent_postgres::Postgres;
use tempfile::TempDir;

use super::{
    Result,
    case::{Case, Saver},
};

/// Environment variable with the folder for SQLite files.
const WORK: &str = "PEERS_WORK";

/// Environment variable with the address of the PostgreSQL database.
const POSTGRES: &str = "PEERS_PG";

/// Creates a folder for the files of one case, which is removed at its end.
pub(crate) fn folder() -> Result<TempDir> {
    Ok(match std::env::var_os(WORK) {
        Some(work) => tempfile::tempdir_in(work)?,
        None => tempfile::tempdir()?,
    })
}

/// Runs a case like a typical application: all measured work is inside a spawned task of the runtime of
/// `#[tokio::main]`, so that no hop between `block_on`'s thread and the workers is measured. Blocking cases run on
/// a current-thread runtime.
pub(crate) fn on_tokio<T: Send + 'static>(
    case: &Case,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let runtime = if case.blocking {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?
    } else {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?
    };
    runtime.block_on(spawned(work))
}

#[expect(clippy::disallowed_methods, reason = "the benchmark is the owner: it waits for the task at once")]
async fn spawned<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await?
}

/// A runtime with the journal of a case.
pub(crate) struct Setting {
    pub(crate) runtime: Runtime,
    saver: Saver,
    model: Option<Model>,
    case: Case,
    folder: Option<TempDir>,
}

impl Setting {
    pub(crate) async fn new(case: &Case, model: Option<Model>) -> Result<Self> {
        let folder = if case.saver == Saver::Sqlite { Some(folder()?) } else { None };
        let runtime = runtime(case, model.clone(), folder.as_ref()).await?;
        Ok(Self { runtime, saver: case.saver, model, case: case.clone(), folder })
    }

    /// Called between samples. In-memory journals are dropped, so that memory does not grow with the number of
    /// samples. A database is kept, so that its checkpoints are part of the measurement.
    pub(crate) async fn renew(&mut self) -> Result<()> {
        if matches!(self.saver, Saver::Nowhere | Saver::Memory) {
            let fresh = runtime(&self.case, self.model.clone(), None).await?;
            std::mem::replace(&mut self.runtime, fresh).shutdown(Duration::from_secs(5)).await;
        }
        Ok(())
    }

    /// Closes everything and returns the folder of the files.
    pub(crate) async fn close(self) -> Option<TempDir> {
        self.runtime.shutdown(Duration::from_secs(5)).await;
        drop(self.runtime);
        self.folder
    }
}

async fn runtime(case: &Case, model: Option<Model>, folder: Option<&TempDir>) -> Result<Runtime> {
    let mut builder =
        Runtime::builder().durability(case.durability).limits(Limits::default().supersteps(u64::MAX));
    builder = match (case.saver, folder) {
        (Saver::Memory, _) => builder.journal(InMemoryJournal::new()),
        (Saver::Sqlite, Some(folder)) => builder.journal(Sqlite::open(folder.path().join("journal.db"))?),
        (Saver::Postgres, _) => {
            let address =
                Secret::from_env(POSTGRES).ok_or("PEERS_PG has no address of a PostgreSQL database")?;
            builder.journal(Postgres::connect(&address).await?)
        }
        _ => builder,
    };
    if let Some(model) = model {
        builder = builder.model(model);
    }
    Ok(builder.build())
}

/// As the other project's `updates` stream: one event a finished node, with the typed update.
pub(crate) const UPDATES: EventFilter =
    EventFilter::none().with(EventKind::NodeFinished).updates(UpdateForm::Typed).outermost();

/// One run on a new session; reads its events to the end. Returns its status and the number of `wanted` events.
pub(crate) async fn one_run<S: State>(
    runtime: &Runtime,
    graph: &Graph<S>,
    input: S::Update,
    mut seen: impl FnMut(&Event),
) -> Result<Finished<S>> {
    let session = runtime.session_of(SessionId::random());
    let mut events = session.run(graph, Input::Update(input)).stream_of(UPDATES).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        if let EventBody::Gap(gap) = &event.body {
            return Err(format!("events were lost: {gap:?}").into());
        }
        seen(&event);
    }
    let outcome = events.outcome::<S>().await?;
    outcome.completed().ok_or_else(|| "the run did not reach its end".into())
}
