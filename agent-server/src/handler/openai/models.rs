//! `GET /v1/models` and `GET /v1/models/{model}`: the agents as models.

use crate::{
    api::openai,
    app::RequestContext,
    http::response::{HandlerResult, ok},
};

pub(crate) async fn list(context: RequestContext) -> HandlerResult {
    Ok(ok(&openai::models(context.app.model_names(), context.app.started_at)))
}

pub(crate) async fn one(context: RequestContext) -> HandlerResult {
    let name = context.path_param("model");
    context.app.backend(name)?;
    Ok(ok(&openai::model(name, context.app.started_at)))
}
