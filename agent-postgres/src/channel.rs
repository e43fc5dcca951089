//! [`ReplicaChannel`] by LISTEN and NOTIFY.
//!
//! A separate connection listens. Messages are sent in a transaction that is not flushed to disk, apart from the appends: a
//! transaction that notifies takes a lock of the whole database while it commits.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use agent_core::journal::{ReplicaChannel, StoreError};
use futures::{
    StreamExt,
    future::{BoxFuture, Either, select},
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Config, types::Type};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    connection::{Inner, Param},
    error::reason,
};

/// Bytes of a payload; PostgreSQL allows 7,999.
const PAYLOAD: usize = 7_900;
/// Messages that wait for the runtime.
const QUEUE: usize = 4_096;
/// Unfinished messages in parts.
const PARTS: usize = 1_024;
/// First and longest wait before the connection is opened again.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// Settings of the listening connection.
pub(crate) struct Listener {
    pub(crate) config: Config,
    pub(crate) tls: MakeRustlsConnect,
}

pub(crate) struct Channel(pub(crate) Arc<Inner>);

impl ReplicaChannel for Channel {
    fn send(&self, messages: Vec<String>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let payloads = pack(messages);
            let channel = &self.0.sql.channel;
            let params: [Param<'_>; 2] = [(channel, Type::TEXT), (&payloads, Type::TEXT_ARRAY)];
            self.0.repeatable(&self.0.sql.notify, &params).await.map(drop)
        })
    }

    fn receive(&self) -> BoxStream<'static, String> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let inner = Arc::downgrade(&self.0);
        self.0.group.spawn(listen(inner, sender));
        stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))).boxed()
    }
}

/// Joins small messages and divides large ones.
fn pack(messages: Vec<String>) -> Vec<String> {
    let mut payloads: Vec<String> = Vec::new();
    let mut open = false;
    for message in messages {
        if message.len() < PAYLOAD {
            match payloads.last_mut() {
                Some(last) if open && last.len() + message.len() < PAYLOAD => {
                    last.push('\n');
                    last.push_str(&message);
                }
                _ => payloads.push(format!("m{message}")),
            }
            open = true;
            continue;
        }
        open = false;
        let id = fastrand::u64(..);
        let mut parts = Vec::new();
        let mut rest = &*message;
        while !rest.is_empty() {
            let mut end = rest.len().min(PAYLOAD - 64);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            parts.push(&rest[..end]);
            rest = &rest[end..];
        }
        let total = parts.len();
        payloads.extend(parts.iter().enumerate().map(|(at, part)| format!("p{id:x}:{at}:{total}:{part}")));
    }
    payloads
}

/// Puts divided messages together again.
#[derive(Default)]
struct Unpacker {
    parts: HashMap<u64, String>,
}

impl Unpacker {
    /// Returns the messages that are complete with this payload.
    fn push_payload(&mut self, payload: &str) -> Vec<String> {
        if let Some(messages) = payload.strip_prefix('m') {
            return messages.split('\n').map(str::to_owned).collect();
        }
        self.part(payload).into_iter().collect()
    }

    fn part(&mut self, payload: &str) -> Option<String> {
        let mut fields = payload.strip_prefix('p')?.splitn(4, ':');
        let id = u64::from_str_radix(fields.next()?, 16).ok()?;
        let (at, total): (usize, usize) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let text = fields.next()?;
        if at == 0 && self.parts.len() < PARTS {
            self.parts.insert(id, String::new());
        }
        // Parts of one sender arrive in order; parts without the first one are dropped.
        self.parts.get_mut(&id)?.push_str(text);
        if at + 1 == total { self.parts.remove(&id) } else { None }
    }
}

/// Listens for as long as the store is used; opens the connection again when it breaks.
async fn listen(inner: Weak<Inner>, sender: mpsc::Sender<String>) {
    let mut wait = FIRST;
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let (config, tls) = (strong.listener.config.clone(), strong.listener.tls.clone());
        let channel = strong.sql.channel.clone();
        drop(strong);
        match listen_once(&config, tls, &channel, &sender, &mut wait).await {
            Ok(true) => return,
            Ok(false) => {
                tracing::warn!("the database closed the connection that listens; it is opened again")
            }
            Err(error) => {
                tracing::warn!(
                    error = reason(&error),
                    "the connection that listens broke and is opened again"
                );
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST);
    }
}

/// Returns `true` if nothing receives any more, and `false` if the database closed the connection.
async fn listen_once(
    config: &Config,
    tls: MakeRustlsConnect,
    channel: &str,
    sender: &mpsc::Sender<String>,
    wait: &mut Duration,
) -> Result<bool, tokio_postgres::Error> {
    let (client, mut connection) = config.connect(tls).await?;
    let mut messages = pin!(stream::poll_fn(move |cx| connection.poll_message(cx)));
    let statement = format!("LISTEN \"{channel}\"");
    let mut listening = pin!(client.batch_execute(&statement));
    let mut asked = false;
    let mut unpacker = Unpacker::default();
    loop {
        let next = match asked {
            true => messages.next().await,
            false => match select(listening.as_mut(), messages.next()).await {
                Either::Left((done, _)) => {
                    done?;
                    asked = true;
                    *wait = FIRST;
                    continue;
                }
                Either::Right((next, _)) => next,
            },
        };
        match next {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                for message in unpacker.push_payload(notification.payload()) {
                    if sender.send(message).await.is_err() {
                        return Ok(true);
                    }
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_size_arrive_whole_and_in_order() {
        let messages: Vec<String> = (0..40).map(|n| format!("{n}:{}", "글".repeat(n * n * 7))).collect();
        let payloads = pack(messages.clone());
        assert!(payloads.iter().all(|payload| payload.len() < 8_000));
        assert!(payloads.len() > 10);
        let mut unpacker = Unpacker::default();
        let received: Vec<String> =
            payloads.iter().flat_map(|payload| unpacker.push_payload(payload)).collect();
        assert_eq!(received, messages);
        // The beginning of a divided message was lost.
        let divided = pack(vec!["글".repeat(9_000), "after".to_owned()]);
        let received: Vec<String> =
            divided[1..].iter().flat_map(|payload| unpacker.push_payload(payload)).collect();
        assert_eq!(received, ["after"]);
    }
}
