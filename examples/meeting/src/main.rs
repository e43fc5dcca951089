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
    demo,
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
                     the page and `meeting demo` need none of them.";

/// Usage.
const USAGE: &str = "\
Usage: meeting [demo]

  meeting         serves meetings; the page is at /meeting, the settings are in .env.example
  meeting demo    plays a shipped recording (40 s, in 4 s) and prints its transcript and minutes; needs no key

  meeting         회의 서버를 시작합니다. 페이지는 /meeting 입니다.
  meeting demo    녹음된 회의를 재생해 자막과 회의록을 보여 줍니다. 키가 필요 없습니다.
";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let play = match arguments.iter().map(|argument| &**argument).collect::<Vec<_>>()[..] {
        [] => false,
        ["demo"] => true,
        _ => {
            #[expect(clippy::print_stderr, reason = "the answer of a command line")]
            {
                eprint!("{USAGE}");
            }
            let asked = arguments.iter().any(|argument| matches!(&**argument, "-h" | "--help" | "help"));
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    match serve(play).await {
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

async fn serve(play: bool) -> Result<(), Failure> {
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
    if matches!(settings.upstream, Upstream::None) && !play {
        tracing::warn!("{NEEDS}");
    }
    let mut options = MeetingsOptions::new(store, principles, settings.upstream.clone());
    options.demo = Some(demo::recording());
    let meetings = Meetings::new(options, runtime.clone(), agents);
    if play {
        let id = demo::play(&meetings, &mut std::io::stdout()).await?;
        meetings.close().await;
        tracing::info!("the meeting is in {}", settings.meetings.join(format!("{id}.md")).display());
        return Ok(());
    }
    meetings.recover();

    let server = Server::builder(runtime).agent(MinutesAgent).agent(TriageAgent).agent(ModeratorAgent);
    let server = routes(cli::configure(&config, server).await?, &meetings);
    let server = server.bind((config.host, config.port)).await?;
    // Before the line that tools wait for, so that a signal after it is not lost.
    let shutdown = cli::shutdown_signal()?;
    let by = if model.is_some() { "agents with a model" } else { "agents with rules" };
    tracing::info!(
        "listening on http://{}, {transcription}, {by}; the page is at /meeting, the dashboard at /",
        server.address()
    );
    server.serve(shutdown).await;
    meetings.close().await;
    Ok(())
}
