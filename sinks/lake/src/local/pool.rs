//! Threads that wait for the disk, so that nobody who has better things to do has to.
//!
//! Own threads instead of the runtime's: a lake works under any executor, and the number of syncs under
//! way at a time is what was asked for.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads, started when they are first needed. They end when the pool is dropped and its queue is empty.
pub(super) struct Pool {
    queue: Arc<Queue>,
    name: &'static str,
    most: usize,
}

struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // Whoever waits for this job sees its channel close; the thread serves the others.
                drop(catch_unwind(AssertUnwindSafe(job)));
                state = self.state();
            } else if state.closed {
                state.threads -= 1;
                return;
            } else {
                state.idle += 1;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

impl Pool {
    pub(super) fn new(name: &'static str, most: usize) -> Pool {
        let queue = Arc::new(Queue { state: Mutex::default(), wake: Condvar::new() });
        Pool { queue, name, most: most.max(1) }
    }

    /// Runs `job` some time; an answer is not waited for. If no thread can be started at all, it runs here.
    pub(super) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.queue.state();
        state.jobs.push_back(Box::new(job));
        if state.idle < state.jobs.len() && state.threads < self.most {
            let queue = self.queue.clone();
            let started = std::thread::Builder::new().name(self.name.into()).spawn(move || queue.work());
            match started {
                Ok(_) => state.threads += 1,
                Err(_) if state.threads > 0 => {}
                Err(_) => {
                    let jobs = std::mem::take(&mut state.jobs);
                    drop(state);
                    return jobs.into_iter().for_each(|job| job());
                }
            }
        }
        drop(state);
        self.queue.wake.notify_one();
    }

    /// Runs `job` and waits for its answer. `None` if it panicked: then nothing is known. A caller that stops
    /// waiting does not stop the job.
    pub(super) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (send, answer) = oneshot::channel();
        self.submit(move || drop(send.send(job())));
        answer.await.ok()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.state().closed = true;
        self.queue.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_on;
    use futures::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn every_job_answers_and_no_more_threads_run_than_asked_for() {
        let pool = Pool::new("test-pool", 3);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let answers = block_on(join_all((0..40usize).map(|n| {
            let (now, most) = (now.clone(), most.clone());
            pool.run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                now.fetch_sub(1, Ordering::SeqCst);
                n
            })
        })));
        assert_eq!(answers, (0..40).map(Some).collect::<Vec<_>>());
        let most = most.load(Ordering::SeqCst);
        assert!((2..=3).contains(&most), "{most} at a time");
    }

    #[test]
    fn a_job_that_panics_answers_none_and_leaves_the_thread_alive() {
        let pool = Pool::new("test-pool", 1);
        assert_eq!(block_on(pool.run(|| -> u8 { panic!("on purpose") })), None);
        assert_eq!(block_on(pool.run(|| 7)), Some(7));
    }

    #[test]
    fn jobs_that_wait_are_done_before_the_threads_end() {
        let pool = Pool::new("test-pool", 1);
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..20 {
            let done = done.clone();
            pool.submit(move || assert!(done.fetch_add(1, Ordering::SeqCst) < 20));
        }
        drop(pool);
        for _ in 0..500 {
            if done.load(Ordering::SeqCst) == 20 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("only {} jobs ran", done.load(Ordering::SeqCst));
    }
}
