//! `GET /status/{session_id}`: where the run stands.

use super::told;
use crate::http::{
    call::Call,
    reply::{Reply, ok},
};

pub(crate) async fn handle(call: Call) -> Reply {
    let session = call.inner.runtime.session_of(call.session_id()?);
    Ok(ok(&told(&call.inner, &session).await?))
}
