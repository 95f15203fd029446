use std::sync::atomic::AtomicUsize;
use std::sync::{Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

fn lengths(count: usize) -> Vec<usize> {
    (0..count).map(|i| 1 + i * 7919 % 64).collect()
}

#[test]
fn a_plan_holds_every_sample_once() {
    for (count, batch_size) in [
        (0, 4),
        (1, 4),
        (4, 4),
        (9, 4),
        (1000, 7),
        (12_345, 40),
        (10, 100),
        (5, 0),
        (3, usize::MAX),
    ] {
        let plan = plan_epoch(&lengths(count), batch_size, 1, 0);
        let mut seen: Vec<usize> = plan.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(
            seen,
            (0..count).collect::<Vec<_>>(),
            "{count} by {batch_size}"
        );
        let size = batch_size.max(1);
        let mut sizes: Vec<usize> = plan
            .iter()
            .map(Vec::len)
            .filter(|&len| len != size)
            .collect();
        assert_eq!(
            sizes.pop().unwrap_or(0),
            count % size,
            "{count} by {batch_size}"
        );
        assert!(sizes.is_empty());
    }
}

#[test]
fn a_plan_is_fixed_by_seed_and_epoch() {
    let lengths = lengths(500);
    let plan = |seed, epoch| plan_epoch(&lengths, 8, seed, epoch);
    assert_eq!(plan(3, 2), plan(3, 2));
    let plans = [
        plan(3, 2),
        plan(3, 3),
        plan(2, 3),
        plan(3 << 32, 2),
        plan(0, 0),
    ];
    for (i, a) in plans.iter().enumerate() {
        assert!(
            plans[i + 1..].iter().all(|b| a != b),
            "plan {i} occurs twice"
        );
    }
    // Written down, so that a change of generator or method is seen: old runs could not be repeated after
    // it.
    let small = plan_epoch(&[5, 1, 4, 1, 3, 9, 2, 6], 3, 42, 1);
    assert_eq!(small, [vec![7, 5], vec![4, 2, 0], vec![3, 1, 6]]);
}

#[test]
fn batches_have_similar_lengths_but_no_fixed_place() {
    let lengths = lengths(8000);
    let plan = plan_epoch(&lengths, 40, 5, 0);
    // Mean difference between the longest and the shortest of a batch; some 61 of 64 if dealt at random.
    let spread = |batch: &Vec<usize>| {
        let of = batch.iter().map(|&i| lengths[i]);
        of.clone().max().unwrap() - of.min().unwrap()
    };
    let mean = plan.iter().map(spread).sum::<usize>() as f64 / plan.len() as f64;
    assert!(mean < 3.0, "{mean}");
    // Long batches are not all at one end: the halves of the epoch have about the same mean length.
    let mean = |half: &[Vec<usize>]| {
        half.iter().flatten().map(|&i| lengths[i]).sum::<usize>() as f64
            / half.iter().map(Vec::len).sum::<usize>() as f64
    };
    let (front, back) = plan.split_at(plan.len() / 2);
    assert!(
        (mean(front) - mean(back)).abs() < 8.0,
        "{} {}",
        mean(front),
        mean(back)
    );
    // Samples of far sources meet: a batch does not hold one end of the list only.
    let mixed = plan
        .iter()
        .filter(|batch| batch.iter().any(|&i| i < 4000) && batch.iter().any(|&i| i >= 4000));
    assert!(mixed.count() > plan.len() * 9 / 10);
}

/// Later jobs of a small group are done earlier.
fn uneven(job: usize) -> anyhow::Result<usize> {
    thread::sleep(Duration::from_micros(300 * (3 - job as u64 % 4)));
    Ok(job * 10)
}

#[test]
fn results_come_in_order_whatever_the_workers() {
    for workers in [0, 1, 2, 4, 9] {
        for ahead in [0, 1, 2, 16] {
            let results: anyhow::Result<Vec<_>> =
                ordered((0..60).collect(), workers, ahead, uneven)
                    .unwrap()
                    .collect();
            assert_eq!(
                results.unwrap(),
                (0..60).map(|i| i * 10).collect::<Vec<_>>(),
                "{workers} {ahead}"
            );
        }
    }
    assert_eq!(ordered(Vec::new(), 2, 2, uneven).unwrap().count(), 0);
    let mut one = ordered(vec![1], 4, 4, uneven).unwrap();
    assert_eq!(one.size_hint(), (0, Some(1)));
    assert_eq!(one.next().unwrap().unwrap(), 10);
    assert!(one.next().is_none() && one.next().is_none());
    assert_eq!(one.size_hint(), (0, Some(0)));
}

#[test]
fn workers_run_ahead_but_not_too_far() {
    let started = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&started);
    let mut results = ordered((0..100).collect(), 3, 4, move |job: usize| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(job)
    })
    .unwrap();
    for taken in 0..20 {
        let deadline = Instant::now() + Duration::from_secs(20);
        while started.load(Ordering::SeqCst) < taken + 4 {
            assert!(Instant::now() < deadline, "the workers do not run ahead");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(2));
        assert_eq!(started.load(Ordering::SeqCst), taken + 4);
        assert_eq!(results.next().unwrap().unwrap(), taken);
    }
}

#[test]
fn several_workers_work_at_once() {
    let inside = Arc::new((Mutex::new(0), Condvar::new()));
    let shared = Arc::clone(&inside);
    let results = ordered((0..4).collect::<Vec<usize>>(), 2, 4, move |job| {
        // Each job waits until another has been begun beside it.
        let (count, changed) = &*shared;
        let mut count = count.lock().unwrap();
        *count += 1;
        changed.notify_all();
        let wait = changed
            .wait_timeout_while(count, Duration::from_secs(20), |count| {
                *count < 2 * (job / 2 + 1)
            })
            .unwrap();
        assert!(!wait.1.timed_out(), "job {job} was alone");
        Ok(job)
    });
    assert_eq!(
        results.unwrap().map(Result::unwrap).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
}

#[test]
fn a_fault_comes_out_in_its_place_and_is_the_last() {
    type Prepare = fn(usize) -> anyhow::Result<usize>;
    let error: Prepare = |job| {
        if job == 7 {
            Err(anyhow!("photo 7 is broken"))
        } else {
            uneven(job)
        }
    };
    let panic: Prepare = |job| {
        if job == 7 {
            panic!("no {job}")
        } else {
            uneven(job)
        }
    };
    let literal: Prepare = |job| {
        if job == 7 {
            panic!("seven")
        } else {
            uneven(job)
        }
    };
    let table = [
        (error, "photo 7 is broken"),
        (panic, "panicked at batch 7: no 7"),
        (literal, "at batch 7: seven"),
    ];
    for (prepare, expected) in table {
        for workers in [1, 2, 4] {
            let results: Vec<_> = ordered((0..40).collect(), workers, 6, prepare)
                .unwrap()
                .collect();
            assert_eq!(results.len(), 8);
            assert!(results[..7].iter().all(Result::is_ok));
            let text = format!("{:#}", results[7].as_ref().unwrap_err());
            assert!(text.contains(expected), "{text}");
        }
    }
}

/// Runs `work` beside the test, which fails instead of hanging.
fn within_20_s(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let handle = thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    assert_ne!(
        wait.recv_timeout(Duration::from_secs(20)),
        Err(mpsc::RecvTimeoutError::Timeout),
        "it hangs"
    );
    handle.join().unwrap();
}

#[test]
fn dropping_early_ends_the_workers() {
    for (workers, taken) in [(1, 0), (2, 0), (2, 1), (4, 5), (4, 1000)] {
        within_20_s(move || {
            let started = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&started);
            let mut results = ordered((0..1000).collect(), workers, 8, move |job: usize| {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(job)
            })
            .unwrap();
            assert_eq!(results.by_ref().take(taken).count(), taken);
            drop(results);
            // The workers have been joined, and with them their hold on the closure is gone.
            assert_eq!(Arc::strong_count(&started), 1);
            assert!(started.load(Ordering::SeqCst) <= taken + 8);
        });
    }
}

#[test]
fn dropping_waits_for_running_jobs_only() {
    within_20_s(|| {
        let (begun, wait) = mpsc::channel();
        let results = ordered((0..1000).collect(), 2, 100, move |_: usize| {
            let _ = begun.send(());
            thread::sleep(Duration::from_millis(50));
            Ok(())
        })
        .unwrap();
        wait.recv().unwrap();
        let start = Instant::now();
        drop(results);
        assert!(start.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn a_job_has_all_of_the_machine() {
    let jobs = ordered(vec![(); 4], 2, 2, |()| Ok(rayon::current_thread_index())).unwrap();
    for index in jobs {
        assert_eq!(index.unwrap(), None, "in a pool of its own");
    }
}
