//! Runs that are interrupted, or killed, and resumed.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::OptimizerRecord;
use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::store::ModuleRecord;
use burn::tensor::Device;
use muse_core::file::ModelFile;
use rand::RngExt;

use super::decoders::DECODERS;
use super::world::{Data, World, done, failed, metrics, wait};

pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.expect("kill").success());
}

fn until(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited in vain for {what}"
        );
        sleep(Duration::from_millis(2));
    }
}

/// Steps of the newest checkpoint that is complete.
fn newest(run: &Path) -> usize {
    saved(run).last().copied().unwrap_or(0)
}

/// The steps after which there are complete checkpoints.
fn saved(run: &Path) -> Vec<usize> {
    muse::train::checkpoint::complete(&run.join("checkpoints")).expect("a folder")
}

#[test]
fn an_interrupted_run_ends_like_an_uninterrupted_one() {
    let world = World::new(Data::Both);
    // Epochs of 64 steps; a part of the CNN is trained, so that the checkpoint holds what is frozen and what is not.
    let overrides = [
        &DECODERS[..],
        &[
            "train.epochs=2",
            "train.batch_size=1",
            "model.image.tune.last=1",
        ],
    ]
    .concat();
    let steps = 64;
    let uninterrupted = world.trained("whole", &overrides);
    assert_eq!(uninterrupted.column("steps"), [64.0, 128.0]);

    let run = world.path("run");
    let start = |resume: bool| {
        let mut command = world.train("run", &overrides);
        command.args(resume.then_some("--resume"));
        command.spawn().expect("the binary starts")
    };
    for (interruption, wait) in [(0, 40), (1, 20), (2, 100)] {
        let before = if run.exists() { newest(&run) } else { 0 };
        let mut child = start(interruption > 0);
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut lines = String::new();
        while !lines.contains("training: ") && !lines.contains("going on after step") {
            assert!(said.read_line(&mut lines).expect("UTF-8") > 0, "{lines}");
        }
        sleep(Duration::from_millis(wait));
        signal(&child, "-INT");
        said.read_to_string(&mut lines).expect("UTF-8");
        assert_eq!(child.wait().expect("its end").code(), Some(1), "{lines}");
        assert!(
            lines.contains("error: interrupted; what was learned is saved"),
            "{lines}"
        );
        assert!(
            lines.contains("--set train.epochs=2") && lines.contains("--device cpu --resume"),
            "{lines}"
        );
        assert!(newest(&run) > before, "{lines}");
        assert!(saved(&run).len() <= 2, "{:?}", saved(&run));
        whole(&run);
        if interruption == 0 {
            assert!(newest(&run) < steps, "not in the first epoch: {lines}");
        }
    }
    let ran = done(world.train("run", &overrides).arg("--resume"));
    assert!(world.run("run", ran).equals(&uninterrupted));
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let world = World::new(Data::Sentences);
    let overrides = ["train.epochs=40", "train.batch_size=32"];
    let mut child = world
        .train("run", &overrides)
        .spawn()
        .expect("the binary starts");
    until("an epoch", || world.path("run/metrics.csv").exists());
    signal(&child, "-INT");
    signal(&child, "-INT");
    let ran = loop {
        // Whichever comes first: the two may arrive as one, or the step may be over in between.
        if child.try_wait().expect("its state").is_some() {
            break wait(child);
        }
        sleep(Duration::from_millis(5));
    };
    assert!(matches!(ran.code, Some(1 | 130)), "{ran:?}");
    whole(&world.path("run"));
}

#[test]
fn a_killed_run_breaks_nothing_and_ends_like_an_uninterrupted_one() {
    let world = World::new(Data::Both);
    // Short epochs, so that most of the time something is being written; without validation each epoch is the best.
    for (name, valid) in [("chosen", "seed=1"), ("last", "data.valid=[]")] {
        let overrides = ["train.epochs=6", "train.batch_size=16", valid];
        let start = Instant::now();
        let uninterrupted = world.trained(&format!("{name}-whole"), &overrides);
        let length = start.elapsed();

        let run = world.path(name);
        let mut rng = rand::rng();
        let mut begun = false;
        for _ in 0..8 {
            let mut child = world
                .train(name, &overrides)
                .args(begun.then_some("--resume"))
                .spawn()
                .expect("the binary starts");
            sleep(length.mul_f64(rng.random_range(0.1..0.5)));
            // At any moment, or while a file is being written: that is when something has just changed.
            if rng.random_bool(0.7) {
                let before = sizes(&run);
                until("a change", || {
                    sizes(&run) != before || child.try_wait().expect("its state").is_some()
                });
                sleep(Duration::from_micros(rng.random_range(0..3000)));
            }
            child.kill().expect("SIGKILL");
            let ran = wait(child);
            assert!(matches!(ran.code, None | Some(0)), "{ran:?}");
            whole(&run);
            begun = run.join("config.toml").exists();
            if ran.code == Some(0) {
                break;
            }
        }
        let ran = done(
            world
                .train(name, &overrides)
                .args(begun.then_some("--resume")),
        );
        assert!(world.run(name, ran).equals(&uninterrupted));
    }
}

/// Weights under the names that checkpoints once had.
#[derive(Module, Debug)]
struct Earlier {
    muse: EarlierMuse,
}

#[derive(Module, Debug)]
struct EarlierMuse {
    text: EarlierText,
}

#[derive(Module, Debug)]
struct EarlierText {
    embeddings: Linear,
}

#[test]
fn a_run_of_an_earlier_version_is_said_to_be_one() {
    let world = World::new(Data::Both);
    world.trained("run", &["train.epochs=1"]);
    let run = world.path("run");
    let end = newest(&run);
    let part = |part: &str, step| run.join(format!("checkpoints/{part}-{step}.bpk"));
    for name in ["model", "optimizer", "scheduler"] {
        std::fs::rename(part(name, end), part(name, end - 1)).expect("a file of the run");
    }
    let embeddings = LinearConfig::new(1, 1).init(&Device::flex());
    let muse = EarlierMuse {
        text: EarlierText { embeddings },
    };
    let model = part("model", end - 1);
    std::fs::remove_file(&model).expect("the weights");
    Earlier { muse }.into_record().save(model).expect("a disk");
    world.write(
        &format!("run/checkpoints/losses-{}.toml", end - 1),
        "seconds = 0.1\n[total]\ncount = 1\nsum = 0.5\n[[parts]]\ncount = 1\nsum = 0.5\n",
    );
    let mut resumed = world.train("run", &["train.epochs=1"]);
    resumed.arg("--resume");
    let error = failed(&mut resumed);
    let again = format!("--init {} --out NEW", run.join("best.muse").display());
    assert!(error.contains("of an earlier version"), "{error}");
    assert!(error.contains(&again), "{error}");
    std::fs::remove_file(run.join("best.muse")).expect("the best model");
    let error = failed(&mut resumed);
    assert!(error.contains("begin anew with another --out"), "{error}");
}

/// The files of a run, as far as it has any, and their lengths.
fn sizes(run: &Path) -> Vec<(PathBuf, u64)> {
    // A file may go between the listing and the look at it.
    let size = |path: PathBuf| Some((path.clone(), std::fs::metadata(path).ok()?.len()));
    files(run).into_iter().filter_map(size).collect()
}

/// Every file that is not marked as unfinished can be read.
fn whole(run: &Path) {
    for entry in files(run) {
        let name = entry
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        if name.starts_with('.') {
            continue;
        }
        let text = || std::fs::read_to_string(&entry).expect("UTF-8");
        match name {
            "best.muse" => {
                let bytes = std::fs::read(&entry).expect("bytes");
                ModelFile::from_bytes(&bytes).expect("a whole model");
            }
            "metrics.csv" => assert!(!metrics(run).is_empty()),
            "config.toml" => drop(toml::from_str::<toml::Table>(&text()).expect("TOML")),
            _ if name.starts_with("losses-") => {
                drop(toml::from_str::<toml::Table>(&text()).expect("TOML"))
            }
            _ if name.starts_with("model-") => {
                assert!(!ModuleRecord::load(&entry).expect("weights").is_empty())
            }
            _ if name.starts_with("optimizer-") => {
                drop(OptimizerRecord::load(&entry).expect("states"))
            }
            _ if name.starts_with("scheduler-") => {
                drop(LrSchedulerRecord::load(&entry).expect("steps"))
            }
            _ => panic!("{} is no file of a run", entry.display()),
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files
}
