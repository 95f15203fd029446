//! Which samples make a batch, and batches prepared by worker threads ahead of the step.
//!
//! Both are deterministic: the plan depends on the seed and the epoch alone, and batches come in the plan's
//! order however many workers prepare them. (burn's own loader deals its items out to the workers and
//! yields what is ready first, so that with two or more of them a seed fixes nothing.)

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, anyhow};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Batches in a pool. Samples are sorted by length within a pool only, so that each epoch mixes its batches
/// anew.
const POOL: usize = 50;

/// Deals the samples `0..lengths.len()` out to the batches of an epoch.
///
/// All samples are shuffled, whatever source they are from, cut into pools of 50 batches, sorted by length
/// within the pool, cut into batches, and the batches are shuffled. Every sample occurs exactly once; every
/// batch has `batch_size` samples (0 counts as 1) but one, which has what is left over. The same arguments
/// give the same plan on every machine.
pub fn plan_epoch(lengths: &[usize], batch_size: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let batch_size = batch_size.max(1);
    let mut state = *b"muse batch plan\0________________";
    state[16..24].copy_from_slice(&seed.to_le_bytes());
    state[24..].copy_from_slice(&epoch.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(state);

    let mut samples: Vec<usize> = (0..lengths.len()).collect();
    samples.shuffle(&mut rng);
    for pool in samples.chunks_mut(batch_size.saturating_mul(POOL)) {
        pool.sort_by_key(|&sample| lengths[sample]);
    }
    let mut batches: Vec<Vec<usize>> = samples.chunks(batch_size).map(<[usize]>::to_vec).collect();
    batches.shuffle(&mut rng);
    batches
}

/// Runs `prepare` on each job of `plan` in worker threads and yields the results in the plan's order.
///
/// Workers claim jobs in order and never start one more than `ahead` places beyond what has been taken, so
/// that at most `ahead` results wait or are in the making (both counts: 0 means 1). An error, or a panic,
/// of `prepare` comes out in its place as an error and is the last item. Dropping the iterator ends the
/// workers after the job that each is at.
///
/// # Errors
/// When a thread cannot be started.
pub fn ordered<J, T, F>(
    plan: Vec<J>,
    workers: usize,
    ahead: usize,
    prepare: F,
) -> anyhow::Result<Ordered<T>>
where
    J: Send + 'static,
    T: Send + 'static,
    F: Fn(J) -> anyhow::Result<T> + Send + Sync + 'static,
{
    let total = plan.len();
    let queue = Arc::new(Queue {
        progress: Mutex::new(Progress {
            taken: 0,
            slots: VecDeque::new(),
            ended: false,
        }),
        room: Condvar::new(),
        ready: Condvar::new(),
        ahead: ahead.max(1),
    });
    // From here on a failure drops `out`, which ends the workers that have started.
    let mut out = Ordered {
        queue: Arc::clone(&queue),
        total,
        workers: Vec::new(),
    };
    let jobs = Arc::new(Mutex::new(plan.into_iter()));
    let prepare = Arc::new(prepare);
    for worker in 0..workers.clamp(1, total.max(1)) {
        let (queue, jobs, prepare) = (Arc::clone(&queue), Arc::clone(&jobs), Arc::clone(&prepare));
        let handle = thread::Builder::new()
            .name(format!("loader-{worker}"))
            .spawn(move || queue.work(&jobs, &*prepare))
            .context("cannot start a loader thread; lower the number of workers")?;
        out.workers.push(handle);
    }
    Ok(out)
}

/// The iterator of [`ordered`].
pub struct Ordered<T> {
    queue: Arc<Queue<T>>,
    total: usize,
    workers: Vec<JoinHandle<()>>,
}

/// What workers and consumer share. `prepare` runs outside the lock, so that a panic never poisons it.
struct Queue<T> {
    progress: Mutex<Progress<T>>,
    /// Signalled when a result has been taken, or the iterator dropped.
    room: Condvar,
    /// Signalled when a slot has been filled.
    ready: Condvar,
    ahead: usize,
}

struct Progress<T> {
    /// Results that the consumer has taken.
    taken: usize,
    /// The jobs `taken..` that have been claimed, in order; a slot is empty until its job is done.
    slots: VecDeque<Option<anyhow::Result<T>>>,
    /// No further job is to be claimed: the consumer is gone, or has seen an error.
    ended: bool,
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work<J>(
        &self,
        jobs: &Mutex<std::vec::IntoIter<J>>,
        prepare: &dyn Fn(J) -> anyhow::Result<T>,
    ) {
        while let Some((place, job)) = self.claim(jobs) {
            let result = catch_unwind(AssertUnwindSafe(|| prepare(job))).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                let text = text.unwrap_or("no message");
                Err(anyhow!("a loader thread panicked at batch {place}: {text}"))
            });
            let mut progress = self.lock();
            // After the end nobody waits for it, and the slots are gone.
            if !progress.ended {
                let slot = place - progress.taken;
                progress.slots[slot] = Some(result);
                self.ready.notify_one();
            }
        }
    }

    /// The next job and its place in the plan, once there is room for it.
    fn claim<J>(&self, jobs: &Mutex<std::vec::IntoIter<J>>) -> Option<(usize, J)> {
        let mut progress = self.lock();
        while !progress.ended && progress.slots.len() >= self.ahead {
            progress = self
                .room
                .wait(progress)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if progress.ended {
            return None;
        }
        // Still under the lock of `progress`, so that jobs and slots stay in step.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next()?;
        let place = progress.taken + progress.slots.len();
        progress.slots.push_back(None);
        Some((place, job))
    }

    fn end(&self) {
        let slots = {
            let mut progress = self.lock();
            progress.ended = true;
            std::mem::take(&mut progress.slots)
        };
        self.room.notify_all();
        drop(slots);
    }
}

impl<T> Iterator for Ordered<T> {
    type Item = anyhow::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut progress = self.queue.lock();
        if progress.ended || progress.taken == self.total {
            return None;
        }
        let result = loop {
            match progress.slots.front_mut().and_then(Option::take) {
                Some(result) => break result,
                None => {
                    progress = self
                        .queue
                        .ready
                        .wait(progress)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        };
        progress.slots.pop_front();
        progress.taken += 1;
        drop(progress);
        self.queue.room.notify_one();
        if result.is_err() {
            self.queue.end();
        }
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let progress = self.queue.lock();
        // An error may end it early.
        let left = if progress.ended {
            0
        } else {
            self.total - progress.taken
        };
        (0, Some(left))
    }
}

impl<T> std::iter::FusedIterator for Ordered<T> {}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        self.queue.end();
        for worker in self.workers.drain(..) {
            // It cannot have panicked outside `prepare`, whose panics are caught; and if so, nothing is
            // left to do.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests;
