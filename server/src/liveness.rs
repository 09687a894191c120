//! Keeps the server reachable while statements compute.
//!
//! One of the runtime's threads waits for the sockets of all sessions. When something arrives there it goes and works on
//! it, and no other thread takes its place: a sleeping one is woken for tasks that queue up, not for sockets that nobody
//! watches. If the work is a long computation without an await (a factorial, a large regular expression), nobody gets in
//! until it is over: no connection, no cancel request, no answer to a session that other threads could serve.
//!
//! So a thread of its own looks in from time to time. Where one of the runtime's threads has not rested since the last look
//! while another sleeps, it wakes the sleeper, which finds nothing to do and goes to wait for the sockets.

use std::time::Duration;

use tokio::runtime::Handle;

/// How long the sockets may go unwatched; short against what a user notices.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// Starts the thread; it ends with the process.
///
/// # Errors
/// When the system starts no more threads.
pub fn watch(runtime: Handle) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("liveness".to_owned());
    thread.spawn(move || {
        let mut before = Vec::new();
        loop {
            std::thread::sleep(LOOK_INTERVAL);
            let now = rests(&runtime);
            if is_unwatched(&before, &now) {
                drop(runtime.spawn(async {}));
            }
            before = now;
        }
    })?;
    Ok(())
}

/// How often each thread of the runtime has gone to sleep or woken: odd while it sleeps.
fn rests(runtime: &Handle) -> Vec<u64> {
    let metrics = runtime.metrics();
    (0..metrics.num_workers()).map(|worker| metrics.worker_park_unpark_count(worker)).collect()
}

/// Whether, between two looks, one thread has worked all the time, and another sleeps.
fn is_unwatched(before: &[u64], now: &[u64]) -> bool {
    let mut both = before.iter().zip(now);
    both.any(|(before, now)| before == now && now % 2 == 0) && now.iter().any(|rests| rests % 2 == 1)
}

#[cfg(test)]
mod tests {
    use super::is_unwatched;

    #[test]
    fn a_sleeper_is_woken_only_beside_one_who_works_without_rest() {
        assert!(is_unwatched(&[4, 7], &[4, 7]));
        assert!(is_unwatched(&[4, 6], &[4, 9]));
        // Idle; both at work; resting now and then; the first look.
        assert!(!is_unwatched(&[5, 7], &[5, 7]));
        assert!(!is_unwatched(&[4, 6], &[4, 6]));
        assert!(!is_unwatched(&[4, 7], &[6, 7]));
        assert!(!is_unwatched(&[], &[4, 7]));
    }
}
