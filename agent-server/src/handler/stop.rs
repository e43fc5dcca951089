//! `POST /stop/{session_id}`: stop the run; it can be resumed.

use agent_core::ids::SessionId;

use super::{Answer, refused, told};
use crate::server::Inner;

pub(crate) async fn handle(inner: &Inner, id: SessionId) -> Answer {
    let session = inner.runtime.session_of(id);
    session.stop().await.map_err(refused(session.id()))?;
    told(inner, &session).await
}
