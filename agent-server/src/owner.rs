//! Whose a session is: it carries its owner as a label, and what is somebody else's does not exist for a caller.

use agent_core::{Event, RunOptions, Session, SessionError, event::EventBody, session::SessionStatus};

use crate::{
    auth::{OWNER, Subject},
    error::{ApiError, Contract},
    server::Inner,
};

/// Whose sessions a caller may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody's and everybody's: the server does not ask who calls.
    Any,
    /// Everybody's; what it begins is its own.
    Admin(Subject),
    /// This one's.
    Of(Subject),
}

/// What was found of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It exists, and the caller may use it.
    Own,
    /// It does not exist yet.
    Nothing,
}

impl Owner {
    pub(crate) fn of(inner: &Inner, subject: Option<Subject>) -> Self {
        match subject {
            Some(subject) if inner.auth.is_admin(&subject) => Self::Admin(subject),
            Some(subject) => Self::Of(subject),
            None => {
                assert!(!inner.auth.knows_subjects(), "a route that touches sessions asks who calls");
                Self::Any
            }
        }
    }

    /// The label that lists are restricted to.
    pub(crate) fn label(&self) -> Option<(String, String)> {
        match self {
            Self::Any | Self::Admin(_) => None,
            Self::Of(subject) => Some((OWNER.to_owned(), subject.as_str().to_owned())),
        }
    }

    /// The owner's name.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Admin(subject) | Self::Of(subject) => Some(subject.as_str()),
        }
    }

    /// Marks a session that a run begins. Whose it is already, it stays.
    pub(crate) fn mark(&self, options: RunOptions) -> RunOptions {
        match self {
            Self::Any => options,
            Self::Admin(subject) => options.default_label(OWNER, subject.as_str()),
            Self::Of(subject) => options.label(OWNER, subject.as_str()),
        }
    }

    /// Whether the caller may use a session.
    ///
    /// # Errors
    ///
    /// 404 for somebody else's, and what the store says.
    pub(crate) async fn check(&self, session: &Session) -> Result<Found, ApiError> {
        // Whoever does not ask who calls need not look.
        if *self == Self::Any {
            return Ok(Found::Own);
        }
        match session.status().await {
            Ok(status) if self.owns(&status) => Ok(Found::Own),
            Ok(_) => Err(unknown(session)),
            Err(SessionError::NotFound { .. }) => Ok(Found::Nothing),
            Err(error) => Err(ApiError::of(Contract::TaskAgent, &error).about(session.id())),
        }
    }

    fn owns(&self, status: &SessionStatus) -> bool {
        match self {
            Self::Any | Self::Admin(_) => true,
            Self::Of(subject) => status.labels.get(OWNER).is_some_and(|owner| owner == subject.as_str()),
        }
    }
}

/// What is said of a session that is not there, and of one that is somebody else's.
pub(crate) fn unknown(session: &Session) -> ApiError {
    let error = SessionError::NotFound { session: session.id().clone() };
    ApiError::of(Contract::TaskAgent, &error).about(session.id())
}

/// A subscriber who may have come before the session: it is looked at again whenever a run begins on it.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) owner: Owner,
    session: Session,
    looked: bool,
}

impl Watch {
    pub(crate) const fn new(owner: Owner, session: Session) -> Self {
        Self { owner, session, looked: false }
    }

    /// What it is about.
    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the subscriber may see the event.
    pub(crate) async fn shows(&mut self, event: &Event) -> bool {
        let begins = matches!(event.body, EventBody::RunStarted(_) | EventBody::RunQueued(_));
        if self.owner == Owner::Any || (self.looked && !begins) {
            return true;
        }
        self.looked = matches!(self.owner.check(&self.session).await, Ok(Found::Own));
        self.looked
    }
}
