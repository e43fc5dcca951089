//! Session ownership. The owner is stored as a label; sessions owned by another subject are reported as 404.

use agent_core::{
    Event, RunOptions, Session, SessionError, event::EventBody, journal::Label, session::SessionStatus,
};

use super::{Auth, OWNER, Subject};
use crate::error::{ApiError, Contract, session_not_found};

/// The sessions that a caller may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccessScope {
    /// All sessions, without owners: the server does not authenticate callers.
    Unrestricted,
    /// All sessions. New sessions belong to the subject.
    Admin(Subject),
    /// The sessions of a subject.
    Subject(Subject),
}

/// Result of an access check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionAccess {
    /// The session exists and the caller may use it. Also returned without a check for unrestricted callers.
    Granted,
    /// The session does not exist yet.
    Missing,
}

impl AccessScope {
    /// Returns the scope of a caller.
    ///
    /// # Panics
    ///
    /// The server authenticates callers, but the route did not.
    pub(crate) fn of(auth: &Auth, subject: Option<Subject>) -> Self {
        match subject {
            Some(subject) if auth.is_admin(&subject) => Self::Admin(subject),
            Some(subject) => Self::Subject(subject),
            None => {
                assert!(!auth.knows_subjects(), "routes of sessions authenticate their callers");
                Self::Unrestricted
            }
        }
    }

    /// Returns the label to which lists are restricted.
    pub(crate) fn label(&self) -> Option<Label> {
        match self {
            Self::Unrestricted | Self::Admin(_) => None,
            Self::Subject(subject) => Some(Label::new(OWNER, subject.as_str())),
        }
    }

    /// Returns the name of the subject.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Unrestricted => None,
            Self::Admin(subject) | Self::Subject(subject) => Some(subject.as_str()),
        }
    }

    /// Makes the subject the owner of a session that a run creates. Existing sessions keep their owner.
    pub(crate) fn mark(&self, options: RunOptions) -> RunOptions {
        match self {
            Self::Unrestricted => options,
            Self::Admin(subject) => options.default_label(OWNER, subject.as_str()),
            Self::Subject(subject) => options.label(OWNER, subject.as_str()),
        }
    }

    /// Checks whether the caller may use a session.
    ///
    /// # Errors
    ///
    /// 404 if another subject owns the session; errors of the store.
    pub(crate) async fn check(&self, session: &Session) -> Result<SessionAccess, ApiError> {
        if *self == Self::Unrestricted {
            return Ok(SessionAccess::Granted);
        }
        match session.status().await {
            Ok(status) if self.owns(&status) => Ok(SessionAccess::Granted),
            Ok(_) => Err(session_not_found(session)),
            Err(SessionError::NotFound { .. }) => Ok(SessionAccess::Missing),
            Err(error) => Err(ApiError::of(Contract::TaskAgent, &error).about(session.id())),
        }
    }

    fn owns(&self, status: &SessionStatus) -> bool {
        match self {
            Self::Unrestricted | Self::Admin(_) => true,
            Self::Subject(subject) => status.labels.get(OWNER).is_some_and(|owner| owner == subject.as_str()),
        }
    }
}

/// Access check of a subscriber, who may subscribe before the session exists. Repeated whenever a run starts.
#[derive(Debug)]
pub(crate) struct SubscriptionGuard {
    pub(crate) scope: AccessScope,
    session: Session,
    granted: bool,
}

impl SubscriptionGuard {
    pub(crate) const fn new(scope: AccessScope, session: Session) -> Self {
        Self { scope, session, granted: false }
    }

    /// Returns the session of the subscription.
    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// Returns whether the subscriber may see the event.
    pub(crate) async fn allows(&mut self, event: &Event) -> bool {
        let starts = matches!(event.body, EventBody::RunStarted(_) | EventBody::RunQueued(_));
        if self.scope == AccessScope::Unrestricted || (self.granted && !starts) {
            return true;
        }
        self.granted = matches!(self.scope.check(&self.session).await, Ok(SessionAccess::Granted));
        self.granted
    }
}
