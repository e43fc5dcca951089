//! `POST /stop/{session_id}`: stop the run; it can be resumed.

use super::{refused, told};
use crate::http::{
    call::Call,
    reply::{Reply, ok},
};

pub(crate) async fn handle(call: Call) -> Reply {
    let session = call.session().await?;
    session.stop().await.map_err(refused(session.id()))?;
    Ok(ok(&told(&call.inner, &session).await?))
}
