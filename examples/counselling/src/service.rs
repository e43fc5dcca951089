//! The service: routes on a server of the library, and what they share.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use agent_core::{
    Graph, Runtime, SessionError,
    ids::SessionId,
    journal::JournalStore,
    memory::{MemoryError, MemoryStore, Namespace, Put},
    model::Model,
};
use agent_server::{
    Server, ServerBuilder, SlidingWindow, TaskAgent,
    auth::Subject,
    custom_routes::{Body, LatestConnections, PathParams, SocketRoute},
};
use bytes::Bytes;
use hyper::{Method, Request, Response, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::{
    Conversations, Settings, connection,
    crisis::HelpLines,
    desk::{Desk, Inner},
    history::HistoryError,
    model::Sampling,
    page,
    protocol::Refusal,
    safety::Rules,
    saver,
    turn::{self, GRAPH, Turn},
};

/// Capacity of the queue of sessions with unsaved exchanges.
const UNSAVED: usize = 1_024;

/// The stores of the service.
#[derive(Clone)]
pub struct Stores {
    /// Journals of the runs.
    pub journal: Arc<dyn JournalStore>,
    /// Limits and owners of sessions.
    pub memory: Arc<dyn MemoryStore>,
    /// Conversations.
    pub conversations: Conversations,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("conversations", &self.conversations).finish_non_exhaustive()
    }
}

/// The service cannot be assembled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The graph is invalid.
    #[error(transparent)]
    Graph(#[from] agent_core::graph::BuildError),
    /// The limit cannot be created.
    #[error(transparent)]
    Limit(#[from] MemoryError),
}

/// The counselling service.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use agent_core::{journal::InMemoryJournal, memory::InMemoryStore, model::Model};
/// use counselling::{Conversations, Counselling, Language, Settings, Stores, offline::OfflineCounsellor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let memory = Arc::new(InMemoryStore::new());
/// let stores = Stores {
///     journal: Arc::new(InMemoryJournal::new()),
///     memory: memory.clone(),
///     conversations: Conversations::embedded(memory),
/// };
/// let model = Model::new(OfflineCounsellor::new(Language::Korean));
/// let service = Counselling::new(Settings::default(), stores, model)?;
/// let server = service.server().bind("127.0.0.1:0").await?;
/// service.serve(server, async {}).await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Counselling {
    shared: Arc<Shared>,
    unsaved: Arc<tokio::sync::Mutex<mpsc::Receiver<String>>>,
}

/// What connections share.
pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) graph: Graph<Turn>,
    pub(crate) desk: Desk,
    pub(crate) limit: SlidingWindow,
    pub(crate) connections: LatestConnections,
    memory: Arc<dyn MemoryStore>,
    /// Owners of sessions, as far as they were read.
    owners: Mutex<HashMap<String, String>>,
}

/// Owners that are cached.
const OWNERS: usize = 10_000;

impl Counselling {
    /// Assembles the service.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn new(settings: Settings, stores: Stores, model: Model) -> Result<Self, StartError> {
        let (unsaved, receiver) = mpsc::channel(UNSAVED);
        let graph = turn::graph()?;
        let limit = SlidingWindow::new(
            "counselling",
            settings.requests_per_minute,
            Duration::from_secs(60),
            Arc::clone(&stores.memory),
        )?;
        let sampling = Sampling {
            temperature: settings.temperature,
            takes_top_k: Arc::new(AtomicBool::new(settings.top_k)),
            ..Sampling::default()
        };
        let desk = Desk::new(Inner {
            conversations: stores.conversations,
            model,
            sampling,
            rules: Arc::new(settings.rules.unwrap_or_else(Rules::shipped)),
            help_lines: settings.help_lines.unwrap_or_else(HelpLines::shipped),
            language: settings.language,
            pace: settings.pace,
            answer_limit: settings.answer_limit,
            unsaved,
            require_session: settings.require_session,
            process: format!("{:016x}", fastrand::u64(..)),
            links: Mutex::default(),
        });
        let runtime = Runtime::builder()
            .journal(stores.journal)
            .memory(Arc::clone(&stores.memory))
            .graph(&graph)
            .provide(desk.clone())
            .options(|options| {
                if let Some(ttl) = settings.lease_ttl {
                    options.lease_ttl = ttl;
                }
            })
            .build();
        let shared = Shared {
            runtime,
            graph,
            desk,
            limit,
            connections: LatestConnections::default(),
            memory: stores.memory,
            owners: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), unsaved: Arc::new(tokio::sync::Mutex::new(receiver)) })
    }

    /// Returns the builder of a server with the routes of the service and those of the library: dashboard, metrics,
    /// journals.
    pub fn server(&self) -> ServerBuilder {
        let (created, served, read) =
            (Arc::clone(&self.shared), Arc::clone(&self.shared), Arc::clone(&self.shared));
        let socket = SocketRoute::new("/ws/session/{session_id}", move |request, socket| {
            connection::serve(Arc::clone(&served), request, socket)
        });
        let builder = Server::builder(self.shared.runtime.clone())
            .agent(Counsellor)
            .socket_route(socket.query_token().refuse(refuse_session_id))
            .route(Method::POST, "/api/sessions", move |request| {
                let shared = Arc::clone(&created);
                async move { shared.create(&request).await }
            })
            .route(Method::GET, "/api/sessions/{session_id}/conversations", move |request| {
                let shared = Arc::clone(&read);
                async move { shared.conversations(&request).await }
            });
        page::routes(builder)
    }

    /// Serves until `shutdown` resolves, and saves exchanges again that could not be saved.
    ///
    /// # Cancel safety
    ///
    /// As [`Server::serve`].
    pub async fn serve(&self, server: Server, shutdown: impl Future<Output = ()>) {
        let saving = async {
            let mut unsaved = self.unsaved.lock().await;
            saver::run(&self.shared.runtime, &self.shared.graph, &mut unsaved).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = server.serve(shutdown) => {}
            () = saving => {}
        }
    }

    /// Returns the runtime of the service.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.shared.runtime
    }
}

impl fmt::Debug for Counselling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counselling").field("desk", &self.shared.desk.conversations).finish_non_exhaustive()
    }
}

impl Shared {
    /// Opens a session for a caller: creates it, or checks that the caller may use it.
    pub(crate) async fn open_session(&self, session: &str, subject: Option<&Subject>) -> Result<(), Refusal> {
        if self.desk.require_session {
            match self.desk.conversations.has_session(session).await {
                Ok(true) => {}
                Ok(false) => return Err(Refusal::UnknownSession),
                Err(error) => self.log(session, &error),
            }
        }
        self.claim(session, subject).await?;
        if !self.desk.require_session
            && let Err(error) = self.desk.conversations.create_session(session).await
        {
            // The session is created again before the first exchange is saved.
            self.log(session, &error);
        }
        Ok(())
    }

    /// Makes the subject the owner of a session that has none.
    async fn claim(&self, session: &str, subject: Option<&Subject>) -> Result<(), Refusal> {
        let Some(subject) = subject else { return Ok(()) };
        if let Some(owner) = self.owners.lock().get(session) {
            return if owner == subject.as_str() { Ok(()) } else { Err(Refusal::UnknownSession) };
        }
        let owner = self.stored_owner(session, subject).await;
        let owner = owner.map_err(|error| {
            tracing::error!("[AI Error] session={session}, error=its owner cannot be read: {error}");
            Refusal::UnknownSession
        })?;
        let allowed = owner == subject.as_str();
        let mut owners = self.owners.lock();
        if owners.len() >= OWNERS {
            owners.clear();
        }
        owners.insert(session.to_owned(), owner);
        if allowed { Ok(()) } else { Err(Refusal::UnknownSession) }
    }

    async fn stored_owner(&self, session: &str, subject: &Subject) -> Result<String, MemoryError> {
        let place = Namespace::new(["counselling", "owners"])?;
        if let Some(item) = self.memory.get(&place, session).await? {
            return Ok(item.value["owner"].as_str().unwrap_or_default().to_owned());
        }
        self.memory.put(Put::new(place, session, json!({"owner": subject.as_str()}))).await?;
        Ok(subject.as_str().to_owned())
    }

    /// Queues a session that has unsaved exchanges of an earlier process.
    pub(crate) async fn resave_later(&self, session: &SessionId) {
        let Ok(handle) = self.runtime.session(session.as_str()) else { return };
        match handle.state::<Turn>().await {
            Ok(turn) if !turn.unsaved.is_empty() => {
                self.desk.unsaved.try_send(session.to_string()).ok();
            }
            Ok(_) | Err(SessionError::NotFound { .. }) => {}
            Err(error) => tracing::debug!(%error, "the state of a session cannot be read"),
        }
    }

    /// `POST /api/sessions`: creates a session, with the id in the body or a new one.
    async fn create(&self, request: &Request<Bytes>) -> Response<Body> {
        let body = match request.body().iter().all(u8::is_ascii_whitespace) {
            true => Value::Null,
            false => match serde_json::from_slice::<Value>(request.body()) {
                Ok(body) => body,
                Err(_) => return refuse(StatusCode::BAD_REQUEST, "invalid_request", Refusal::NotJson),
            },
        };
        let id = match body.get("session_id") {
            None | Some(Value::Null) => {
                format!("session_{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
            }
            Some(id) => id.as_str().unwrap_or_default().to_owned(),
        };
        if id.parse::<SessionId>().is_err() {
            return refuse(StatusCode::BAD_REQUEST, "invalid_session_id", Refusal::InvalidSession);
        }
        let subject = request.extensions().get::<Subject>();
        if let Err(refusal) = self.claim(&id, subject).await {
            return refuse(StatusCode::NOT_FOUND, "session_not_found", refusal);
        }
        match self.desk.conversations.create_session(&id).await {
            Ok(new) => {
                let status = if new { StatusCode::CREATED } else { StatusCode::OK };
                respond(status, &json!({"session_id": id}))
            }
            Err(error) => self.unavailable(&id, &error),
        }
    }

    /// `GET /api/sessions/{session_id}/conversations`: the latest exchanges of a session, oldest first. A session
    /// that its first connection has yet to create has none.
    async fn conversations(&self, request: &Request<Bytes>) -> Response<Body> {
        let params = PathParams::of(request);
        let session = params.get("session_id");
        if session.parse::<SessionId>().is_err() {
            return refuse(StatusCode::BAD_REQUEST, "invalid_session_id", Refusal::InvalidSession);
        }
        let conversations = &self.desk.conversations;
        let found = match conversations.has_session(session).await {
            Ok(true) => self.claim(session, request.extensions().get::<Subject>()).await,
            Ok(false) if self.desk.require_session => Err(Refusal::UnknownSession),
            Ok(false) => return respond(StatusCode::OK, &json!({"conversations": []})),
            Err(error) => return self.unavailable(session, &error),
        };
        if let Err(refusal) = found {
            return refuse(StatusCode::NOT_FOUND, "session_not_found", refusal);
        }
        match conversations.recent(session).await {
            Ok(recent) => respond(StatusCode::OK, &json!({"conversations": recent})),
            Err(error) => self.unavailable(session, &error),
        }
    }

    fn unavailable(&self, session: &str, error: &HistoryError) -> Response<Body> {
        self.log(session, error);
        let text = "세션을 사용할 수 없습니다. 잠시 후 다시 시도해주세요";
        refuse(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", text)
    }

    fn log(&self, session: &str, error: &HistoryError) {
        tracing::error!("[AI Error] session={session}, error=the sessions cannot be used: {error}");
    }
}

fn refuse_session_id(request: &Request<()>) -> Option<Response<Body>> {
    let id = PathParams::of(request).get("session_id").parse::<SessionId>();
    id.is_err().then(|| refuse(StatusCode::BAD_REQUEST, "invalid_session_id", Refusal::InvalidSession))
}

fn refuse(status: StatusCode, code: &str, text: impl fmt::Display) -> Response<Body> {
    let text = text.to_string();
    respond(status, &json!({"detail": text, "code": code, "message": text}))
}

fn respond(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The graph as an agent of the server: the dashboard can send it a message.
struct Counsellor;

impl TaskAgent for Counsellor {
    fn graph(&self) -> &str {
        GRAPH
    }

    fn description(&self) -> &str {
        "Counsellor: answers a message with empathy. The context may have `emotion`."
    }

    fn input(&self, message: String, context: Map<String, Value>) -> Value {
        let emotion = context.get("emotion").and_then(Value::as_str);
        let request = crate::protocol::Request {
            message: crate::protocol::strip(&message).to_owned(),
            emotion: emotion.map(str::to_owned),
            timestamp: agent_core::clock::Clock::now_ms(&agent_core::clock::WallClock),
        };
        let guidance = crate::Emotion::of(emotion.unwrap_or_default());
        serde_json::to_value(Turn::begin(&request, guidance, None, "")).expect("an update is JSON")
    }

    fn response(&self, state: &Value) -> String {
        state["answer"].as_str().unwrap_or_default().to_owned()
    }
}
