//! Sweeps that are interrupted, or killed, and go on.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::world::{Data, World, done, wait};
use super::{names, sweep, table, timeless, trainings};

const SWEEP: &str = "
base = \"train.toml\"
seeds = [3]
set.train.epochs = 4
set.train.batch_size = 1
[[row]]
name = \"first\"
[[row]]
name = \"second\"
set.model.exchange.theta = 0
";

fn signal(name: &str, target: &str) {
    let sent = Command::new("kill").args([name, "--", target]).status();
    assert!(sent.expect("kill").success());
}

/// In a process group of its own, as a shell starts it.
fn start(world: &World) -> Child {
    let mut command = sweep(world, &[]);
    command.process_group(0).spawn().expect("the binary starts")
}

/// Waits for the first epoch of a row's run.
fn until_scored(world: &World, row: &str) -> PathBuf {
    let runs = world.path("sweep/runs");
    let begun = Instant::now();
    loop {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{row} does not begin"
        );
        if runs.exists()
            && let Some(name) = names(&runs).into_iter().find(|name| name.starts_with(row))
            && runs.join(&name).join("metrics.csv").exists()
        {
            return runs.join(name);
        }
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_interrupted_or_killed_sweep_ends_like_an_uninterrupted_one() {
    let world = World::new(Data::Both);
    world.write("sweep.toml", SWEEP);

    // Ctrl-C reaches the training too, which saves.
    let child = start(&world);
    let first = until_scored(&world, "first");
    signal("-INT", &format!("-{}", child.id()));
    let ran = wait(child);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err
            .contains("error: interrupted with 0 of 2 runs done; the same command goes on"),
        "{ran:?}"
    );
    assert!(ran.err.contains("what was learned is saved"), "{ran:?}");
    let states = || -> Vec<String> {
        let runs = table(&world.path("sweep/runs.csv"));
        runs.into_iter()
            .map(|mut row| row.remove("state").expect("a state"))
            .collect()
    };
    assert_eq!(states(), ["begun", "open"]);

    // Killed in the second run, whose training is left alone and goes on, or notices.
    let mut child = start(&world);
    let second = until_scored(&world, "second");
    assert!(first.join("done").exists());
    child.kill().expect("SIGKILL");
    drop(child.stderr.take());
    child.wait().expect("its end");
    assert!(!second.join("done").exists());
    assert_eq!(states()[0], "done");

    let ran = done(&mut sweep(&world, &[]));
    assert_eq!(states(), ["done", "done"]);
    assert!(!ran.err.contains("run 1 of 2"), "{}", ran.err);
    assert_eq!(
        trainings(&ran),
        0,
        "it is resumed, not begun anew: {}",
        ran.err
    );

    let common = ["train.epochs=4", "train.batch_size=1", "seed=3"];
    for (name, folder, theta) in [("a", &first, "0.2"), ("b", &second, "0")] {
        let theta = format!("model.exchange.theta={theta}");
        let whole = world.trained(name, &[&common[..], &[&theta]].concat());
        assert_eq!(timeless(folder), timeless(&whole.folder));
    }
}
