//! `GET /status/{session_id}`: where the run stands.

use agent_core::ids::SessionId;

use super::{Answer, told};
use crate::server::Inner;

pub(crate) async fn handle(inner: &Inner, id: SessionId) -> Answer {
    told(inner, &inner.runtime.session_of(id)).await
}
