//! Signals that end the program or reload its certificate: those of Unix, and Ctrl+C and Ctrl+Break on Windows.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{CtrlBreak, CtrlC, ctrl_break, ctrl_c};

/// Signals that end the program.
pub(super) struct EndSignals {
    #[cfg(unix)]
    int: Signal,
    #[cfg(unix)]
    term: Signal,
    #[cfg(windows)]
    int: CtrlC,
    #[cfg(windows)]
    term: CtrlBreak,
}

impl EndSignals {
    /// Installs the handlers.
    pub(super) fn install() -> io::Result<Self> {
        #[cfg(unix)]
        let (int, term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        #[cfg(windows)]
        let (int, term) = (ctrl_c()?, ctrl_break()?);
        Ok(Self { int, term })
    }

    /// Waits for the next signal. Cancel safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

/// The signal to read the certificate again: `SIGHUP`. Windows has none.
pub(super) struct ReloadSignal {
    #[cfg(unix)]
    hup: Signal,
}

impl ReloadSignal {
    /// Installs the handler.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. Cancel safe.
    #[cfg_attr(not(unix), expect(clippy::unused_self, reason = "there is no signal"))]
    pub(super) async fn next(&mut self) {
        #[cfg(unix)]
        self.hup.recv().await;
        #[cfg(not(unix))]
        std::future::pending::<()>().await;
    }
}
