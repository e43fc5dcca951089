//! The server of meetings.

use std::process::ExitCode;

use agent_core::{
    Runtime,
    journal::InMemoryJournal,
    model::{Model, RetryModel},
    sqlite::Sqlite,
};
use agent_server::{
    Config, Server, cli,
    config::{Database, Sources},
};
use meeting::{
    agents::{Agents, Desk},
    demo_recording,
    hosted::{MinutesAgent, ModeratorAgent, TriageAgent},
    http::routes,
    principles::Principles,
    service::{Meetings, MeetingsOptions},
    settings::Settings,
    store::MeetingStore,
    transcribe::Upstream,
};

type Failure = Box<dyn std::error::Error>;

/// What the program says without a transcription.
const NEEDS: &str = "no transcription is configured: set OPENAI_API_KEY (live, OpenAI), REALTIME_API_URL (live, a compatible \
                     endpoint) or TRANSCRIPTION_URL (a local recogniser at /v1/audio/transcriptions). The demonstration on \
                     the page needs none of them.";

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            #[expect(clippy::print_stderr, reason = "the log may not be installed yet")]
            {
                eprintln!("meeting: {failure}");
            }
            ExitCode::from(2)
        }
    }
}

async fn serve() -> Result<(), Failure> {
    let sources = Sources::process();
    let config = Config::read(&sources)?;
    cli::init_log(&config);
    let settings = Settings::read(|name| sources.own(name), config.openai_key.as_ref())?;

    let agents = Agents::new()?;
    let model = config.model().map(|endpoint| endpoint.open()).transpose()?;
    let runtime = agents.register(Runtime::builder(), Desk { model: model.is_some() });
    let runtime = match &model {
        Some(model) => runtime.model(Model::new(RetryModel::new(model.clone()))),
        None => runtime,
    };
    let runtime = match config.store() {
        Database::File(path) => runtime.journal(Sqlite::open(&path)?),
        _ => runtime.journal(InMemoryJournal::new()),
    };
    let runtime = runtime.build();

    let store = MeetingStore::open(&settings.meetings)
        .map_err(|error| format!("MEETINGS_DIR {}: {error}", settings.meetings.display()))?;
    let principles = Principles::open(&settings.principles)
        .map_err(|error| format!("PRINCIPLES_DIR {}: {error}", settings.principles.display()))?;
    let transcription = match &settings.upstream {
        Upstream::Realtime(_) => "live transcription",
        Upstream::Offline(_) => "transcription by a recogniser",
        Upstream::None => "no transcription",
    };
    if matches!(settings.upstream, Upstream::None) {
        tracing::warn!("{NEEDS}");
    }
    let mut options = MeetingsOptions::new(store, principles, settings.upstream);
    options.demo = Some(demo_recording());
    let meetings = Meetings::new(options, runtime.clone(), agents);

    let server = Server::builder(runtime).agent(MinutesAgent).agent(TriageAgent).agent(ModeratorAgent);
    let server = routes(cli::configure(&config, server).await?, &meetings);
    let server = server.bind((config.host, config.port)).await?;
    let by = if model.is_some() { "agents with a model" } else { "agents with rules" };
    tracing::info!(
        "listening on http://{}, {transcription}, {by}; the page is at /meeting, the dashboard at /",
        server.address()
    );
    server.serve(cli::shutdown_signal()?).await;
    meetings.close().await;
    Ok(())
}
