//! `GET /v1/models` and `GET /v1/models/{model}`: which agents there are.

use crate::{
    http::{
        call::Call,
        reply::{Reply, ok},
    },
    wire::openai,
};

pub(crate) async fn list(call: Call) -> Reply {
    Ok(ok(&openai::models(call.inner.speakers(), call.inner.since)))
}

pub(crate) async fn one(call: Call) -> Reply {
    let name = call.part("model");
    call.inner.speaker(name)?;
    Ok(ok(&openai::model(name, call.inner.since)))
}
