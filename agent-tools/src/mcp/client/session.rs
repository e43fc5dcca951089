//! The shared session of a client: opened on demand, monitored, and reopened with growing waits.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rmcp::{
    ClientHandler, Peer, RoleClient,
    model::{
        ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
        ElicitationCapability, ErrorData, FormElicitationCapability, Implementation,
        ProgressNotificationParam, ProgressToken, ProtocolVersion, RequestId, UrlElicitationCapability,
    },
    service::{InboundStreamOrigin, NotificationContext, RequestContext, RunningService},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{ClientBuilder, McpError, Questions, RemoteTool, connect::OpenSession, list, process::Process};

/// Timeout for a server to exit.
const GRACE: Duration = Duration::from_secs(2);
/// A session that ends sooner counts as a failed attempt.
const SHORT: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Maximum number of sessions for single calls; further calls wait.
const EXTRA: usize = 8;
/// Maximum number of queued notifications of a call. Further progress is dropped.
const INBOX: usize = 32;

/// State that all clones of a client and all its tools share.
pub(super) struct Shared {
    settings: ClientBuilder,
    live: tokio::sync::Mutex<Live>,
    tools: Mutex<Option<Listed>>,
    changed: watch::Sender<u64>,
    /// The permit of the shared session, if questions cannot be attributed to calls, and permits of sessions for
    /// single calls.
    turn: Semaphore,
    extra: Semaphore,
}

type Tools = Arc<[Arc<RemoteTool>]>;

/// Listed tools, and the change counter at that time.
struct Listed {
    change: u64,
    tools: Tools,
}

#[derive(Default)]
struct Live {
    session: Option<Arc<Session>>,
    failures: u32,
    not_before: Option<Instant>,
    closed: bool,
}

impl Shared {
    pub(super) fn new(settings: ClientBuilder) -> Arc<Self> {
        Arc::new(Self {
            settings,
            live: tokio::sync::Mutex::default(),
            tools: Mutex::default(),
            changed: watch::Sender::new(0),
            turn: Semaphore::new(1),
            extra: Semaphore::new(EXTRA),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(super) const fn settings(&self) -> &ClientBuilder {
        &self.settings
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) async fn is_connected(&self) -> bool {
        self.live.lock().await.session.as_ref().is_some_and(|session| session.alive())
    }

    /// Returns the session for a call: the shared one, or a session for this call only if questions cannot be
    /// attributed and another call uses the shared one. The permit is held until the call ends.
    pub(super) async fn session_for_call(
        &self,
    ) -> Result<(Arc<Session>, Option<SemaphorePermit<'_>>), McpError> {
        let alone =
            self.settings.questions == Questions::Asked && !self.settings.endpoint.tells_calls_apart();
        if !alone {
            return Ok((self.session().await?, None));
        }
        if let Ok(turn) = self.turn.try_acquire() {
            return Ok((self.session().await?, Some(turn)));
        }
        let closed = || McpError::Closed { server: self.settings.name.clone() };
        let place = self.extra.acquire().await.map_err(|_| closed())?;
        if self.live.lock().await.closed {
            return Err(closed());
        }
        let limit = self.settings.limits.connect;
        match tokio::time::timeout(limit, self.connect()).await {
            Ok(made) => Ok((Arc::new(made?), Some(place))),
            Err(_) => Err(McpError::TooSlow { server: self.settings.name.clone(), limit }),
        }
    }

    /// Returns the shared session, opening it if necessary.
    pub(super) async fn session(&self) -> Result<Arc<Session>, McpError> {
        let mut live = self.live.lock().await;
        let server = || self.settings.name.clone();
        if live.closed {
            return Err(McpError::Closed { server: server() });
        }
        if let Some(session) = &live.session {
            if session.alive() {
                return Ok(Arc::clone(session));
            }
            let lasted = session.since.elapsed();
            live.session = None;
            if lasted < SHORT {
                live.failed();
            } else {
                live.failures = 0;
            }
        }
        let now = Instant::now();
        if let Some(then) = live.not_before.filter(|then| *then > now) {
            return Err(McpError::Waiting { server: server(), wait: then - now });
        }
        let limit = self.settings.limits.connect;
        let made = match tokio::time::timeout(limit, self.connect()).await {
            Ok(made) => made,
            Err(_) => Err(McpError::TooSlow { server: server(), limit }),
        };
        match made {
            Ok(session) => {
                let session = Arc::new(session);
                live.session = Some(Arc::clone(&session));
                live.not_before = None;
                self.changed.send_modify(|changes| *changes += 1);
                Ok(session)
            }
            Err(error) => {
                live.failed();
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Session, McpError> {
        let routes = Arc::new(Routes::default());
        let handler = Handler {
            routes: Arc::clone(&routes),
            questions: self.settings.questions,
            changed: self.changed.clone(),
        };
        let opened = self.settings.endpoint.open(&self.settings.name, &self.settings.limits, handler).await?;
        let OpenSession { running, process, gone } = opened;
        Ok(Session {
            peer: running.peer().clone(),
            running: Mutex::new(Some(running)),
            process,
            gone,
            routes,
            since: Instant::now(),
        })
    }

    /// Returns the tools, listing them again if they may have changed.
    pub(super) async fn listed(this: &Arc<Self>) -> Result<Tools, McpError> {
        let session = this.session().await?;
        let change = *this.changed.borrow();
        if let Some(listed) = &*this.tools.lock()
            && listed.change == change
        {
            return Ok(Arc::clone(&listed.tools));
        }
        let limit = this.settings.limits.connect;
        let listing = list::list(&session.peer, &this.settings);
        let tools = match tokio::time::timeout(limit, listing).await {
            Ok(listed) => listed?,
            Err(_) => return Err(McpError::TooSlow { server: this.settings.name.clone(), limit }),
        };
        let tools: Tools = tools.into_iter().map(Arc::new).collect();
        *this.tools.lock() = Some(Listed { change, tools: Arc::clone(&tools) });
        Ok(tools)
    }

    pub(super) async fn close(&self) {
        let session = {
            let mut live = self.live.lock().await;
            live.closed = true;
            live.session.take()
        };
        if let Some(session) = session {
            session.close().await;
        }
    }
}

impl Live {
    fn failed(&mut self) {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        self.not_before = Some(Instant::now() + doubled.min(LONGEST_WAIT));
    }
}

/// A session with a server. Dropping it ends the session and kills a started process.
pub(super) struct Session {
    pub(super) peer: Peer<RoleClient>,
    running: Mutex<Option<RunningService<RoleClient, Handler>>>,
    process: Option<Process>,
    pub(super) gone: CancellationToken,
    pub(super) routes: Arc<Routes>,
    since: Instant,
}

impl Session {
    fn alive(&self) -> bool {
        !self.gone.is_cancelled() && !self.peer.is_transport_closed()
    }

    async fn close(&self) {
        let running = self.running.lock().take();
        if let Some(mut running) = running
            && let Err(error) = running.close_with_timeout(GRACE).await
        {
            tracing::debug!(%error, "closing the session of an MCP server failed");
        }
        if let Some(process) = &self.process {
            process.ended(GRACE).await;
        }
    }
}

/// Notification of the server about a call in progress.
pub(super) enum Note {
    Progress(ProgressNotificationParam),
    Question { asked: ElicitRequestParams, reply: oneshot::Sender<ElicitResult> },
}

/// Routes notifications to calls.
#[derive(Default)]
pub(super) struct Routes {
    /// Held while a call is sent, because a server may respond before the route is registered.
    pub(super) sending: tokio::sync::Mutex<()>,
    calls: Mutex<HashMap<RequestId, Route>>,
}

#[derive(Clone)]
struct Route {
    token: ProgressToken,
    inbox: mpsc::Sender<Note>,
}

impl Routes {
    pub(super) fn open(&self, id: RequestId, token: ProgressToken) -> mpsc::Receiver<Note> {
        let (inbox, notes) = mpsc::channel(INBOX);
        self.calls.lock().insert(id, Route { token, inbox });
        notes
    }

    pub(super) fn close(&self, id: &RequestId) {
        self.calls.lock().remove(id);
    }

    async fn known(&self) {
        drop(self.sending.lock().await);
    }

    /// Returns the call to which a question belongs: the call with the response stream that carries it, or the only call.
    /// Otherwise the question is not asked, because it must not reach the run of another person.
    fn asks(&self, origin: Option<&InboundStreamOrigin>) -> Option<mpsc::Sender<Note>> {
        let calls = self.calls.lock();
        match origin {
            Some(InboundStreamOrigin::OutboundRequest(id)) => calls.get(id),
            _ if calls.len() == 1 => calls.values().next(),
            _ => None,
        }
        .map(|route| route.inbox.clone())
    }
}

/// Client side of the protocol.
pub(super) struct Handler {
    routes: Arc<Routes>,
    questions: Questions,
    changed: watch::Sender<u64>,
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        if self.questions == Questions::Asked {
            let both = ElicitationCapability::new()
                .with_form(FormElicitationCapability::default())
                .with_url(UrlElicitationCapability::new());
            capabilities.elicitation = Some(both);
        }
        let us = Implementation::new("agent-tools", env!("CARGO_PKG_VERSION"));
        let mut config = ClientConfig::new(capabilities, us);
        // The last version with the handshake that every server supports.
        config.protocol_version = ProtocolVersion::V_2025_11_25;
        config
    }

    async fn create_elicitation(
        &self,
        asked: ElicitRequestParams,
        cx: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        if self.questions == Questions::Refused {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        }
        self.routes.known().await;
        let (reply, answer) = oneshot::channel();
        let Some(inbox) = self.routes.asks(cx.extensions.get::<InboundStreamOrigin>()) else {
            tracing::warn!("a question of an MCP server belongs to no call");
            return Ok(ElicitResult::new(ElicitationAction::Cancel));
        };
        if inbox.send(Note::Question { asked, reply }).await.is_err() {
            return Ok(ElicitResult::new(ElicitationAction::Cancel));
        }
        drop(inbox);
        let answer = tokio::select! {
            answer = answer => answer.ok(),
            () = cx.ct.cancelled() => None,
        };
        // The call ended or was dropped before the question was answered.
        Ok(answer.unwrap_or_else(|| ElicitResult::new(ElicitationAction::Cancel)))
    }

    async fn on_progress(&self, progress: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.routes.known().await;
        let inbox = {
            let calls = self.routes.calls.lock();
            calls
                .values()
                .find(|route| route.token == progress.progress_token)
                .map(|route| route.inbox.clone())
        };
        if let Some(inbox) = inbox {
            // Progress is dropped if the queue is full.
            inbox.try_send(Note::Progress(progress)).ok();
        }
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.send_modify(|changes| *changes += 1);
    }
}
