//! Work that something else may have to make room for.

use std::future::Future;
use std::pin::pin;

/// Does the work, and the other thing meanwhile. That one is dropped when the work is done. If it
/// ends first, the work goes on alone.
pub async fn meanwhile<T>(work: impl Future<Output = T>, other: impl Future<Output = ()>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = other => {}
    }
    work.await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_work_is_done_whether_the_other_thing_ends_or_not() {
        let work = || async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            7
        };
        assert_eq!(meanwhile(work(), std::future::pending()).await, 7);
        assert_eq!(meanwhile(work(), async {}).await, 7);
    }
}
