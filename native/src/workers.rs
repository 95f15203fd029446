//! Threads that compute side by side, each with a tensor library to itself.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

use anyhow::Context;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Single operations are shared among all cores, which small ones do not repay. A worker computes on one core what it
/// is given; the cores share the tasks instead.
#[derive(Debug)]
pub struct Workers {
    /// Pools of one thread; none when the calling thread does everything.
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// So many; with 1, the calling thread does everything, and operations are shared as ever.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn new(count: usize) -> anyhow::Result<Self> {
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).build();
        let pools = match count {
            0 | 1 => Vec::new(),
            _ => (0..count)
                .map(pool)
                .collect::<Result<_, _>>()
                .context("cannot start the worker threads")?,
        };
        Ok(Self { pools })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.pools.len().max(1)
    }

    /// Does `work` on each task; the results have the order of the tasks. A panic goes on here.
    pub fn map<T: Send, R: Send>(&self, tasks: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        if self.pools.is_empty() {
            return tasks.into_iter().map(work).collect();
        }
        let mut results: Vec<Option<R>> = tasks.iter().map(|_| None).collect();
        let queue = Mutex::new(tasks.into_iter().zip(&mut results));
        // A worker that panics does not hold the queue.
        let next = || queue.lock().ok()?.next();
        thread::scope(|scope| {
            let running: Vec<_> = (self.pools.iter())
                .map(|pool| {
                    scope.spawn(|| {
                        while let Some((task, result)) = next() {
                            *result = Some(pool.install(|| work(task)));
                        }
                    })
                })
                .collect();
            for worker in running {
                worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        });
        drop(queue);
        results.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread::{ThreadId, sleep};
    use std::time::Duration;

    use super::*;

    #[test]
    fn tasks_are_shared_and_results_keep_their_order() {
        for count in [1, 2, 5] {
            let workers = Workers::new(count).unwrap();
            let done = workers.map((0..17).collect(), |task: u64| {
                sleep(Duration::from_millis(17 - task));
                (task, thread::current().id(), rayon::current_num_threads())
            });
            let order: Vec<u64> = done.iter().map(|done| done.0).collect();
            assert_eq!(order, (0..17).collect::<Vec<_>>());
            let threads: BTreeSet<String> =
                done.iter().map(|done| format!("{:?}", done.1)).collect();
            assert_eq!(threads.len(), count);
            let alone = |done: &(u64, ThreadId, usize)| count == 1 || done.2 == 1;
            assert!(done.iter().all(alone));
        }
    }

    #[test]
    fn a_panic_is_not_lost() {
        let workers = Workers::new(2).unwrap();
        let work = || workers.map(vec![1, 2, 3], |task| assert_ne!(task, 2));
        assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
        assert_eq!(workers.map(vec![1, 2, 3], |task| task + 1), [2, 3, 4]);
    }
}
