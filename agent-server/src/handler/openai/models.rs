//! `GET /v1/models` and `GET /v1/models/{model}`: the agents as models.

use hyper::Method;
use serde_json::json;

use crate::{
    api::openai::{ModelInfo, ModelList},
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::Rejection,
    http::response::{HandlerResult, ok},
};

pub(super) fn docs() -> [RouteDoc; 2] {
    [
        RouteDoc::new(Method::GET, "/v1/models", "models", "chats", "List the agents as models")
            .response::<ModelList>(200, "The models, by name."),
        RouteDoc::new(Method::GET, "/v1/models/{model}", "model", "chats", "Get an agent as a model")
            .parameter("path", "model", true, &json!({"type": "string"}), "Name of the model.")
            .rejections(&[Rejection::ModelNotFound])
            .response::<ModelInfo>(200, "The model."),
    ]
}

pub(in crate::handler) async fn list(context: RequestContext) -> HandlerResult {
    Ok(ok(&ModelList::new(context.app.model_names(), context.app.started_at)))
}

pub(in crate::handler) async fn one(context: RequestContext) -> HandlerResult {
    let name = context.path_param("model");
    context.app.backend(name)?;
    Ok(ok(&ModelInfo::new(name, context.app.started_at)))
}
