//! What a handler gets: the request, what the path said, and the server. Reads bodies within their limits.

use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};

use agent_core::{
    Run, RunOptions, RunStatus, Session,
    event::{EventBody, Subscription},
    ids::SessionId,
};
use bytes::Bytes;
use futures::future::poll_immediate;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request,
    body::{Body as _, Incoming},
};

use crate::{
    auth::Subject,
    error::{ApiError, Refusal},
    http::budget::Share,
    limit::{Held, Key},
    owner::{Found, Owner, unknown},
    server::Inner,
    talk::lost,
    title::titled,
    wire::json::weight,
};

/// How much of a body that is too large is read and thrown away, so that its sender gets to read the refusal.
const THROWN_AWAY: usize = 4 * 1024 * 1024;

/// How many times the largest body its values may take up in memory.
const BLOW_UP: usize = 40;

/// A request on its way to a handler.
pub(crate) struct Call {
    pub(crate) inner: Arc<Inner>,
    pub(crate) request: Request<Incoming>,
    /// What stood in the path where its pattern has `{name}`, decoded.
    pub(crate) parts: Vec<(Box<str>, String)>,
    /// Where the request comes from, as far as that is known.
    pub(crate) peer: IpAddr,
    /// Who calls, where that is asked.
    pub(crate) subject: Option<Subject>,
    /// Memory that is reserved for the body.
    pub(crate) memory: Share,
}

impl Call {
    /// A part of the path; empty when the pattern has none of this name.
    pub(crate) fn part(&self, name: &str) -> &str {
        self.parts.iter().find(|(known, _)| **known == *name).map_or("", |(_, text)| text)
    }

    /// The session that the path names as `{session_id}`.
    ///
    /// # Errors
    ///
    /// 400 for an illegal id.
    pub(crate) fn session_id(&self) -> Result<SessionId, ApiError> {
        parse_session(self.part("session_id"))
    }

    /// The session that the path names as `{session_id}`. Where callers are known it exists and is the caller's.
    ///
    /// # Errors
    ///
    /// 400 for an illegal id, 404 for somebody else's session, and what the store says.
    pub(crate) async fn session(&self) -> Result<Session, ApiError> {
        let session = self.inner.runtime.session_of(self.session_id()?);
        match self.owner().check(&session).await? {
            Found::Own => Ok(session),
            Found::Nothing => Err(unknown(&session)),
        }
    }

    /// The session of an id, to begin a run on: it is the caller's, or does not exist yet.
    ///
    /// # Errors
    ///
    /// As [`session`](Call::session).
    pub(crate) async fn session_of(&self, id: SessionId) -> Result<Session, ApiError> {
        let session = self.inner.runtime.session_of(id);
        self.owner().check(&session).await?;
        Ok(session)
    }

    /// The options of a run that the caller begins: the session becomes the caller's. Every handler that begins one
    /// starts from these.
    pub(crate) fn run_options(&self) -> RunOptions {
        self.owner().mark(RunOptions::default())
    }

    /// The options of a run in a conversation, which is called by its first words in lists.
    pub(crate) fn run_options_of(&self, words: &str) -> RunOptions {
        let options = self.run_options();
        if self.inner.runtime.has_journal() { titled(options, words) } else { options }
    }

    /// Whose sessions the caller may use.
    pub(crate) fn owner(&self) -> Owner {
        Owner::of(&self.inner, self.subject.clone())
    }

    /// Who is counted for what the call uses.
    pub(crate) fn key(&self) -> Key {
        Key::of(self.peer, self.subject.as_ref())
    }

    /// Counts a socket or a stream, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn listen(&self) -> Result<Held, ApiError> {
        self.inner.limits.socket(self.key())
    }

    /// Whether the caller may begin a run on a session. Ask before each run that is begun.
    ///
    /// # Errors
    ///
    /// 429, and what the store says.
    pub(crate) async fn admit(&self, session: &Session) -> Result<Admission, ApiError> {
        let limits = &self.inner.limits;
        if limits.counts_sessions() && self.owner().check(session).await? == Found::Nothing {
            self.admit_session().await?;
        }
        // From before the run begins, so that its end is not missed.
        let held = limits.run(self.key())?.map(|held| (held, session.subscribe(None)));
        Ok(Admission(held))
    }

    /// Whether the caller may have one more session.
    ///
    /// # Errors
    ///
    /// 429, and what the store says.
    pub(crate) async fn admit_session(&self) -> Result<(), ApiError> {
        match &self.subject {
            Some(subject) => self.inner.limits.session(&self.inner.runtime, subject).await,
            None => Ok(()),
        }
    }

    /// The request's headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// The query, decoded, in order.
    pub(crate) fn query(&self) -> Query {
        Query::parse(self.request.uri().query().unwrap_or_default())
    }

    /// The whole body as JSON text: within the limits of size and time, and of the memory that it takes up once it is
    /// parsed, which is reserved until `memory` is cleared or the call is dropped.
    ///
    /// # Errors
    ///
    /// 413, 408, 503, and 400 for a body that breaks off.
    pub(crate) async fn json(&mut self) -> Result<Bytes, ApiError> {
        let body = self.body().await?;
        let (needed, most) = (weight(&body), self.inner.options.body_bytes.saturating_mul(BLOW_UP));
        if needed > most {
            let told = format!("the values of the body take up {needed} bytes of memory, more than {most}");
            return Err(ApiError::new(Refusal::BodyTooLarge, told));
        }
        if self.memory.grow(needed) { Ok(body) } else { Err(overloaded()) }
    }

    /// The whole body, within the limits of size and time.
    ///
    /// # Errors
    ///
    /// 413, 408, 503, and 400 for a body that breaks off.
    pub(crate) async fn body(&mut self) -> Result<Bytes, ApiError> {
        let (limit, time) = (self.inner.options.body_bytes, self.inner.options.body_time);
        let body = self.request.body_mut();
        let too_large = || ApiError::new(Refusal::BodyTooLarge, format!("a body may have {limit} bytes"));
        if body.size_hint().lower() > limit as u64 {
            throw_away(body).await;
            return Err(too_large());
        }
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let read = {
            let mut reading = pin!(read(body, limit, &mut self.memory));
            // A small body came with its head: no timer for it.
            match poll_immediate(reading.as_mut()).await {
                Some(read) => Ok(read),
                None => tokio::time::timeout(time, reading).await,
            }
        };
        match read {
            Ok(Ok(Some(read))) => Ok(read),
            Ok(Ok(None)) => {
                throw_away(body).await;
                Err(too_large())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ApiError::new(Refusal::BodyTimedOut, "the body did not arrive in time")),
        }
    }
}

/// The leave to begin a run.
#[must_use = "follow the run, so that it is counted until it rests"]
pub(crate) struct Admission(Option<(Held, Subscription)>);

impl Admission {
    /// The leave to go on with a run that was stopped, or waits: it has left its place among the caller's runs. An answer is
    /// never refused for that.
    ///
    /// # Errors
    ///
    /// 429, and what the store says.
    pub(crate) async fn to_go_on(
        inner: &Inner,
        key: Key,
        session: &Session,
        with_answer: bool,
    ) -> Result<Self, ApiError> {
        // The run that is at work is counted already.
        if !inner.limits.counts_runs()
            || session.status().await.is_ok_and(|now| now.status == RunStatus::Running)
        {
            return Ok(Self(None));
        }
        let held = if with_answer { inner.limits.answered_run(key) } else { inner.limits.run(key)? };
        Ok(Self(held.map(|held| (held, session.subscribe(None)))))
    }

    /// Counts the run until it ends, or waits for a person.
    pub(crate) fn follow(self, inner: &Inner, run: &Run) {
        let Some((held, mut events)) = self.0 else { return };
        // An answer of several: the others are waited for.
        if run.status() == RunStatus::Paused {
            return;
        }
        let (mut handle, run, leaving) = (run.clone(), run.id(), inner.leaving.clone());
        inner.sockets.spawn(async move {
            loop {
                let event = tokio::select! {
                    biased;
                    () = leaving.cancelled() => break,
                    event = events.next() => event,
                    _ = lost(&mut handle) => break,
                };
                match event {
                    Ok(event) if event.run < run => {}
                    Ok(event) if event.body.ends_run() || matches!(event.body, EventBody::RunPaused(_)) => {
                        break;
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            drop(held);
        });
    }
}

/// What is said while the memory for callers' input is used up.
fn overloaded() -> ApiError {
    let mut error =
        ApiError::new(Refusal::Overloaded, "the server has no memory for this body now; try again");
    error.retry_after = Some(1);
    error
}

/// Reads a body of at most `limit` bytes, which are reserved as they come; `None`: it has more. One that comes in one
/// piece is not copied.
async fn read(body: &mut Incoming, limit: usize, memory: &mut Share) -> Result<Option<Bytes>, ApiError> {
    let (mut first, mut read) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::new(Refusal::InvalidRequest, "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len().max(read.len()) + data.len() > limit {
            return Ok(None);
        }
        if !memory.grow(data.len()) {
            return Err(overloaded());
        }
        match (first.is_empty(), read.is_empty()) {
            (true, true) => first = data,
            (_, is_second) => {
                if is_second {
                    read.extend_from_slice(&first);
                }
                read.extend_from_slice(&data);
            }
        }
    }
    Ok(Some(if read.is_empty() { first } else { Bytes::from(read) }))
}

/// Reads on for a while: a sender that is cut off in the middle would see a broken connection instead of the refusal.
async fn throw_away(body: &mut Incoming) {
    let read = async {
        let mut left = THROWN_AWAY;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(size);
            if left == 0 {
                return;
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(2), read).await.is_err() {
        tracing::debug!("the rest of a body that is too large did not come");
    }
}

/// A query string, decoded.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    broken: bool,
}

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        let broken = percent_encoding::percent_decode_str(query).decode_utf8().is_err();
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        });
        Self { pairs: pairs.collect(), broken }
    }

    /// Whether it is UTF-8; what is not is marked by `U+FFFD` in the values.
    pub(crate) const fn is_text(&self) -> bool {
        !self.broken
    }

    /// The last value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A number, if it is there.
    ///
    /// # Errors
    ///
    /// 400 with the name of what is no number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        // What is larger than any number of ours is as good as the largest.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) => Ok(Some(number.min(u64::MAX >> 1))),
            Err(_) if digits => Ok(Some(u64::MAX >> 1)),
            Err(_) => Err(ApiError::new(Refusal::InvalidRequest, format!("`{name}` must be a number"))),
        }
    }
}

/// A session id from outside.
pub(crate) fn parse_session(text: &str) -> Result<SessionId, ApiError> {
    text.parse().map_err(|error: agent_core::ids::InvalidSessionId| {
        let mut refused = ApiError::new(Refusal::InvalidRequest, error.to_string());
        refused.code = agent_core::Code::InvalidSessionId.name();
        refused
    })
}

/// Undoes percent-encoding. What is not UTF-8 afterwards is marked by `U+FFFD`, which no id of ours has.
pub(crate) fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
