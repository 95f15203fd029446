//! Which samples make a batch, and batches prepared by worker threads ahead of the step.
//!
//! Both are deterministic: the plan depends on the seed and the epoch alone, and batches come in the plan's
//! order however many workers prepare them. (burn's own loader deals its items out to the workers and
//! yields what is ready first, so that with two or more of them a seed fixes nothing.)

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

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
/// The threads are of no pool, so that what `prepare` computes in parallel has all of the machine.
///
/// Jobs are begun in order, and never more than `ahead` of them beyond what has been taken, so that at most
/// `ahead` results wait or are in the making (both counts: 0 means 1). An error, or a panic, of `prepare`
/// comes out in its place as an error and is the last item. Dropping the iterator waits for the jobs that
/// are running; the others are not begun.
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
    let (queue, begun) = channel::<Job>();
    let begun = Arc::new(Mutex::new(begun));
    for worker in 0..workers.clamp(1, plan.len().max(1)) {
        let begun = Arc::clone(&begun);
        let next = move || begun.lock().unwrap_or_else(PoisonError::into_inner).recv();
        thread::Builder::new()
            .name(format!("loader-{worker}"))
            // Until the iterator, which hands out the jobs, is gone.
            .spawn(move || std::iter::from_fn(|| next().ok()).for_each(|job| job()))
            .context("cannot start a loader thread; lower the number of workers")?;
    }
    let (left, prepare) = (plan.len(), Arc::new(prepare));
    let ended = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&ended);
    let mut jobs = plan.into_iter().enumerate();
    let begin = move || {
        let (place, job) = jobs.next()?;
        let (sender, result) = channel();
        let (prepare, over) = (Arc::clone(&prepare), Arc::clone(&over));
        let job = move || {
            let made = (!over.load(Ordering::SeqCst)).then(|| caught(place, || prepare(job)));
            // First, so that a job that has answered holds nothing more.
            drop(prepare);
            if let Some(made) = made {
                // After the end nobody waits for it.
                let _ = sender.send(made);
            }
        };
        // The threads stay as long as this sender does.
        let _ = queue.send(Box::new(job));
        Some(result)
    };
    let mut out = Ordered {
        begin: Box::new(begin),
        begun: VecDeque::new(),
        ended,
        left,
    };
    let Ordered { begin, begun, .. } = &mut out;
    begun.extend((0..ahead.max(1)).map_while(|_| begin()));
    Ok(out)
}

/// What a job gives; a panic as an error.
fn caught<T>(place: usize, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let text = text.unwrap_or("no message");
        Err(anyhow!("a loader thread panicked at batch {place}: {text}"))
    })
}

/// A job, with where its result goes.
type Job = Box<dyn FnOnce() + Send>;

/// A job's result, when it is there.
type Pending<T> = Receiver<anyhow::Result<T>>;

/// The iterator of [`ordered`].
pub struct Ordered<T> {
    /// Hands the next job to the workers, if there is one.
    begin: Box<dyn FnMut() -> Option<Pending<T>> + Send>,
    /// The jobs that have been begun and not taken, in order.
    begun: VecDeque<Pending<T>>,
    /// No further job is to be done: the consumer is gone, or has seen an error.
    ended: Arc<AtomicBool>,
    left: usize,
}

impl<T> Iterator for Ordered<T> {
    type Item = anyhow::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let result = self.begun.pop_front()?.recv();
        let result = result.unwrap_or_else(|_| Err(anyhow!("a loader thread has ended")));
        self.left -= 1;
        match &result {
            Ok(_) => self.begun.extend((self.begin)()),
            Err(_) => {
                self.ended.store(true, Ordering::SeqCst);
                self.left = 0;
            }
        }
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error may end it early.
        (0, Some(self.left))
    }
}

impl<T> std::iter::FusedIterator for Ordered<T> {}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        for result in self.begun.drain(..) {
            // Of a job that is not done any more there is none.
            let _ = result.recv();
        }
    }
}

#[cfg(test)]
mod tests;
