//! CPU-bound work on data of any size: off the async workers where it is large, and bounded in number.

use std::{
    panic::resume_unwind,
    sync::{Arc, LazyLock},
    thread::available_parallelism,
};

use tokio::sync::Semaphore;

/// Work on fewer bytes is done in place: handing it to another thread would cost more than the work.
const LARGE: usize = 64 * 1024;

/// Places for large work, one a processor.
static PLACES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(available_parallelism().map_or(2, usize::from))));

/// Runs `work`, which touches about `bytes` bytes: in place where these are few, else on a thread for blocking work.
/// A panic of `work` is passed on to the caller.
///
/// # Cancel safety
///
/// Dropping the future while `work` runs on another thread lets it run to its end there; its result is dropped.
pub(crate) async fn compute<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes < LARGE {
        return work();
    }
    // Boxed: small work has nothing of it.
    Box::pin(async move {
        let place = Arc::clone(&PLACES).acquire_owned().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        match done.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The executor ends, and drops this future.
                Err(_) => std::future::pending().await,
            },
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_work_leaves_the_thread_and_small_work_stays() {
        let here = std::thread::current().id();
        assert_eq!(compute(1, || std::thread::current().id()).await, here);
        assert_ne!(compute(LARGE, || std::thread::current().id()).await, here);
    }

    #[tokio::test]
    #[should_panic(expected = "too hot")]
    async fn a_panic_reaches_the_caller() {
        compute(LARGE, || panic!("too hot")).await
    }
}
