//! Link: the channels between a connection and the nodes of its run.
//!
//! `generate` sends pieces of the model's text to `check`, which sends what may be said to the connection. The connection
//! notes what it has sent: that is what is saved.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{sync::mpsc, time::Instant};

use crate::model::{Failure, Piece};

/// Pieces of the model's text that wait for the check.
const PIECES: usize = 256;
/// Chunks that wait for the connection.
const CHUNKS: usize = 64;

/// What the connection sends to its client.
#[derive(Debug)]
pub(crate) enum Out {
    Chunk(String),
    End(Result<(), Failure>),
}

pub(crate) struct Link {
    /// End of the time for the answer.
    pub(crate) deadline: Instant,
    /// Channel to the connection; `None` if the run was started otherwise.
    out: Mutex<Option<mpsc::Sender<Out>>>,
    sender: Mutex<Option<mpsc::Sender<Piece>>>,
    receiver: Mutex<Option<mpsc::Receiver<Piece>>>,
    said: Mutex<String>,
}

impl Link {
    pub(crate) fn new(deadline: Instant) -> Arc<Self> {
        Arc::new(Self::with(deadline, None))
    }

    /// Returns a link with its connection's end.
    pub(crate) fn connected(deadline: Instant) -> (Arc<Self>, mpsc::Receiver<Out>) {
        let (out, chunks) = mpsc::channel(CHUNKS);
        (Arc::new(Self::with(deadline, Some(out))), chunks)
    }

    fn with(deadline: Instant, out: Option<mpsc::Sender<Out>>) -> Self {
        let (sender, receiver) = mpsc::channel(PIECES);
        Self {
            deadline,
            out: Mutex::new(out),
            sender: Mutex::new(Some(sender)),
            receiver: Mutex::new(Some(receiver)),
            said: Mutex::default(),
        }
    }

    pub(crate) fn take_out(&self) -> Option<mpsc::Sender<Out>> {
        self.out.lock().take()
    }

    pub(crate) fn take_sender(&self) -> Option<mpsc::Sender<Piece>> {
        self.sender.lock().take()
    }

    pub(crate) fn take_receiver(&self) -> Option<mpsc::Receiver<Piece>> {
        self.receiver.lock().take()
    }

    /// Notes text that was sent.
    pub(crate) fn add_said(&self, text: &str) {
        self.said.lock().push_str(text);
    }

    /// Returns what was said from a position on.
    pub(crate) fn said_from(&self, start: usize) -> String {
        self.said.lock()[start..].to_owned()
    }
}
