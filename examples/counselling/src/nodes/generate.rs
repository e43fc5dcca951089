//! `generate`: calls the model. Its text goes to `check` as it arrives.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use agent_core::{
    Context, NodeError, Result,
    model::{FinishReason, Message, Model, ModelError, ModelErrorKind, ModelReply, ModelRequest},
};
use tokio::sync::mpsc;

use crate::{
    desk::Desk,
    model::{Failure, Piece, Tap},
    prompt,
    turn::{Turn, TurnUpdate},
};

pub(crate) async fn generate(turn: &Turn, cx: &Context) -> Result<TurnUpdate> {
    let desk = cx.get::<Desk>()?;
    // After a crash there is no client who waits for the rest.
    let Some(link) = desk.link(turn, cx) else { return Ok(Turn::update()) };
    let Some(pieces) = link.take_sender() else { return Ok(Turn::update()) };
    let begun = Arc::new(AtomicBool::new(false));
    let call = call(&desk, turn, cx, &pieces, &begun);
    let end = match tokio::time::timeout_at(link.deadline, call).await {
        Ok(Ok(reply)) => ended(&reply),
        Ok(Err(error)) => Err(failed(&error, begun.load(Ordering::Relaxed), cx)),
        Err(_) => {
            let limit = desk.answer_limit.as_secs_f32();
            tracing::error!(
                "[AI Error] session={}, error=the answer took longer than {limit} s",
                cx.session()
            );
            Err(Failure::TimedOut)
        }
    };
    // The check has ended if the client has gone.
    pieces.send(Piece::End(end)).await.ok();
    Ok(Turn::update())
}

async fn call(
    desk: &Desk,
    turn: &Turn,
    cx: &Context,
    pieces: &mpsc::Sender<Piece>,
    begun: &Arc<AtomicBool>,
) -> Result<ModelReply> {
    let tap = Tap { model: desk.model.clone(), pieces: pieces.clone(), begun: Arc::clone(begun) };
    let model = cx.model_of(&Model::new(tap));
    let (request, has_top_k) = desk.sampling.apply(request(desk, turn));
    let result = model.complete_as("reply", request.clone()).await;
    let rejected = |error: &NodeError| {
        let error = error.downcast_ref::<ModelError>();
        error.is_some_and(|error| {
            matches!(error.kind(), ModelErrorKind::BadRequest | ModelErrorKind::Unsupported)
        })
    };
    match result {
        Err(error) if has_top_k && rejected(&error) && !begun.load(Ordering::Relaxed) => {
            let mut request = request;
            request.extra.remove("top_k");
            let reply = model.complete_as("reply without top_k", request).await?;
            tracing::info!("the model endpoint does not take top_k; requests have none from now on");
            desk.sampling.takes_top_k.store(false, Ordering::Relaxed);
            Ok(reply)
        }
        result => result,
    }
}

fn request(desk: &Desk, turn: &Turn) -> ModelRequest {
    let mut messages = Vec::with_capacity(2 * turn.history.len() + 1);
    for exchange in &turn.history {
        messages.push(Message::user(exchange.user_message.clone()));
        messages.push(Message::assistant(exchange.ai_response.clone()));
    }
    messages.push(Message::user(turn.message.clone()));
    let language = turn.language.unwrap_or(desk.language);
    ModelRequest::new(messages).system(prompt::system(turn.guidance, language, turn.crisis))
}

fn ended(reply: &ModelReply) -> Result<(), Failure> {
    match reply.finish {
        FinishReason::Filtered => Err(Failure::Filtered),
        _ if reply.message.text().trim().is_empty() => Err(Failure::Empty),
        _ => Ok(()),
    }
}

fn failed(error: &NodeError, begun: bool, cx: &Context) -> Failure {
    tracing::error!("[AI Error] session={}, error={error}", cx.session());
    error.downcast_ref::<ModelError>().map_or(Failure::Internal, |error| Failure::of(error, begun))
}
