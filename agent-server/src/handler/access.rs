//! Access of requests to sessions: ownership checks, permits and quotas.

use agent_core::{Run, RunOptions, Session, ids::SessionId};

use crate::{
    app::RequestContext,
    auth::ownership::{AccessScope, SessionAccess},
    error::{ApiError, session_not_found},
    limits::{Key, Permit, run_permit::RunPermit},
    session_title::titled,
};

impl RequestContext {
    /// Returns the id in the path's `{session_id}`.
    ///
    /// # Errors
    ///
    /// 400 if the id is invalid.
    pub(super) fn session_id(&self) -> Result<SessionId, ApiError> {
        parse_session_id(self.path_param("session_id"))
    }

    /// Returns the session in the path's `{session_id}`. If callers are authenticated, it exists and the caller may use it.
    ///
    /// # Errors
    ///
    /// 400 if the id is invalid, 404 if the caller may not use the session, errors of the store.
    pub(super) async fn session(&self) -> Result<Session, ApiError> {
        let session = self.app.runtime.session_of(self.session_id()?);
        match self.scope().check(&session).await? {
            SessionAccess::Granted => Ok(session),
            SessionAccess::Missing => Err(session_not_found(&session)),
        }
    }

    /// Returns a session that the caller may use, or that does not exist yet.
    ///
    /// # Errors
    ///
    /// 404 if the caller may not use the session, errors of the store.
    pub(super) async fn session_or_new(&self, id: SessionId) -> Result<Session, ApiError> {
        let session = self.app.runtime.session_of(id);
        self.scope().check(&session).await?;
        Ok(session)
    }

    /// Returns options for a run of the caller, which becomes the owner of a new session. Every handler that starts a run
    /// must use them.
    pub(super) fn run_options(&self) -> RunOptions {
        self.scope().mark(RunOptions::default())
    }

    /// Returns options for a run in a conversation. Its title is the beginning of the first message.
    pub(super) fn conversation_options(&self, message: &str) -> RunOptions {
        let options = self.run_options();
        if self.app.runtime.has_journal() { titled(options, message) } else { options }
    }

    /// Returns the sessions that the caller may use.
    pub(super) fn scope(&self) -> AccessScope {
        AccessScope::of(&self.app.auth, self.subject.clone())
    }

    /// Returns the caller as limits count it.
    pub(super) fn key(&self) -> Key {
        Key::of(self.peer, self.subject.as_ref())
    }

    /// Returns a permit for a WebSocket or a stream.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn stream_permit(&self) -> Result<Permit, ApiError> {
        self.app.limits.socket(Key::of(self.peer, self.subject.as_ref()))
    }

    /// Returns a permit to start a run on a session, which counts if it is new.
    ///
    /// # Errors
    ///
    /// 429, and errors of the store.
    pub(super) async fn run_permit(&self, session: &Session) -> Result<RunPermit, ApiError> {
        let limits = &self.app.limits;
        if limits.counts_sessions() && self.scope().check(session).await? == SessionAccess::Missing {
            self.count_new_session(session.id()).await?;
        }
        RunPermit::for_start(limits, self.key()).await
    }

    /// Counts a new session of the caller.
    ///
    /// # Errors
    ///
    /// 429, and errors of the store.
    pub(super) async fn count_new_session(&self, session: &SessionId) -> Result<(), ApiError> {
        match &self.subject {
            Some(subject) => self.app.limits.session(&self.app.runtime, subject, session).await,
            None => Ok(()),
        }
    }

    /// Releases a permit when the run ends or pauses.
    pub(super) fn release_when_idle(&self, permit: RunPermit, run: &Run) {
        permit.release_when_idle(run, &self.app.tasks, &self.app.close_sockets);
    }
}

/// Parses a session id.
///
/// # Errors
///
/// 400 if the id is invalid.
pub(super) fn parse_session_id(text: &str) -> Result<SessionId, ApiError> {
    crate::api::json::session_id(text)
}
