//! The server: binds an address, serves until shutdown, and shuts down gracefully.
//!
//! `builder` assembles it, `accept` accepts connections, `dispatch` handles their requests, `recovery` resumes the runs
//! of crashed processes.

mod accept;
mod builder;
mod dispatch;
mod recovery;

use std::{
    fmt,
    future::{self, Future},
    net::SocketAddr,
    sync::Arc,
};

use agent_core::Runtime;
use futures::FutureExt;
use tokio::{net::TcpListener, sync::mpsc, time::Instant};
use tokio_util::task::TaskTracker;

pub use self::builder::ServerBuilder;
use crate::{
    app::AppState,
    journal_observer::{self, RunEnded},
};

/// A server that is bound to an address.
///
/// # Examples
///
/// ```no_run
/// use agent_core::Runtime;
/// use agent_server::{Server, TaskAgent};
///
/// # async fn serve(runtime: Runtime, agent: impl TaskAgent) -> std::io::Result<()> {
/// let server = Server::builder(runtime).agent(agent).bind("127.0.0.1:0").await?;
/// println!("http://{}", server.address());
/// server.serve(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
/// # Ok(()) }
/// ```
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<AppState>,
    ended_runs: mpsc::Receiver<RunEnded>,
}

impl Server {
    /// Returns a builder for a server on a runtime.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn of(runtime: agent_core::Runtime, agent: impl agent_server::TaskAgent) -> std::io::Result<()> {
    /// use agent_server::Server;
    ///
    /// let server = Server::builder(runtime).agent(agent).bind("127.0.0.1:8000").await?;
    /// println!("http://{}", server.address());
    /// server.serve(std::future::pending()).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(runtime: Runtime) -> ServerBuilder {
        ServerBuilder::new(runtime)
    }

    /// Returns the address that the server listens on.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn of(builder: agent_server::ServerBuilder) -> std::io::Result<()> {
    /// let server = builder.bind("127.0.0.1:0").await?;
    /// assert_ne!(server.address().port(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Recovers interrupted runs at startup and periodically, and serves until `shutdown` resolves.
    ///
    /// Shutdown is graceful: stop accepting, let runs reach their next superstep (they resume on the next start), send
    /// responses, close WebSockets.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn of(server: agent_server::Server) {
    /// use tokio::sync::oneshot;
    ///
    /// let (stop, stopped) = oneshot::channel::<()>();
    /// tokio::join!(server.serve(async { drop(stopped.await) }), async {
    ///     drop(stop); // a signal handler in a program
    /// });
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops accepting. Connections and runs continue in their own tasks.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, app, mut ended_runs, .. } = self;
        let (connections, closing) = (TaskTracker::new(), app.shutdown.clone());
        let accepting = accept::accept(listener, Arc::clone(&app), &connections, &closing);
        let observing = journal_observer::serve(&app.runtime, &app.metrics, &app.deliveries, &mut ended_runs);
        tokio::select! {
            () = accepting => {}
            () = recovery::run(&app) => {}
            () = app.limits.publish() => {}
            // Ends if another server observes the runtime; this one serves on.
            () = observing.then(|()| future::pending()) => {}
            () = shutdown => {}
        }
        closing.cancel();
        let (grace, started) = (app.options.grace, Instant::now());
        // Runs first, because their results must still be sent.
        app.runtime.shutdown(grace.mul_f64(0.8)).await;
        app.close_sockets.cancel();
        app.limits.leave().await;
        connections.close();
        app.tasks.close();
        let closed = async {
            connections.wait().await;
            app.tasks.wait().await;
        };
        if tokio::time::timeout(grace.saturating_sub(started.elapsed()), closed).await.is_err() {
            tracing::warn!("some connections did not close in time");
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}
