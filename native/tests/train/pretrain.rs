//! `muse pretrain` from end to end: what it leaves, and what goes wrong.

use std::path::Path;
use std::process::Command;

use muse_core::weights::read_safetensors;
use sha2::{Digest, Sha256};

use super::world::{Data, World, done, failed, metrics, muse, text_encoder};
use super::{names, set};

/// Texts whose words follow from each other, and are always written in the same way.
fn texts() -> String {
    let people = ["Ann met Bob in Rome", "a plain day at OSLO", "Eve saw Carl"];
    let tails = ["and went to Paris", "in Lima .", "a happy day !", ""];
    let texts = (0..48).map(|i| format!("{} {}", people[i % 3], tails[(i / 3) % 4]));
    let numbered = texts.enumerate();
    // Else most of them would be repeated.
    let lines = numbered.map(|(i, text)| format!("{text} {}\n", "sad ".repeat(1 + i / 12).trim()));
    lines.collect()
}

fn world() -> World {
    let world = World::new(Data::Both);
    world.write("texts.txt", texts());
    text_encoder(&world.path("bert"), &["[MASK]"]);
    world.write(
        "pretrain.toml",
        "
seed = 1
[encoder]
folder = \"bert\"
[train]
epochs = 50
batch_size = 8
rate = 1e-2
head_rate = 1e-2
max_pieces = 24
[data]
held_out = 0.2
[[data.train]]
path = \"texts.txt\"
format = \"text\"
",
    );
    world
}

fn pretrain(world: &World, out: &str, overrides: &[&str]) -> Command {
    let mut command = muse(&["pretrain", "--device", "cpu"]);
    command
        .arg(world.path("pretrain.toml"))
        .arg("--out")
        .arg(world.path(out));
    for pair in overrides {
        command.args(["--set", pair]);
    }
    command
}

/// A column's numbers: at first, then after each epoch.
fn column(run: &Path, name: &str) -> Vec<f64> {
    let rows = metrics(run);
    let cells = rows.iter().map(|row| row[name].parse());
    cells.map(|cell| cell.unwrap_or(f64::NAN)).collect()
}

fn weights(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("encoder/model.safetensors")).expect("weights")
}

#[test]
fn an_encoder_learns_and_muse_train_takes_it() {
    let world = world();
    let ran = done(&mut pretrain(&world, "run", &[]));
    let run = world.path("run");
    assert_eq!(
        names(&run),
        set(["checkpoints", "config.toml", "encoder", "metrics.csv"])
    );
    let files = ["config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(names(&run.join("encoder")), set(files));
    assert_eq!(names(&run.join("checkpoints")).len(), 2 * 3);

    assert!(ran.err.contains("texts to learn from"), "{ran:?}");
    let perplexities = column(&run, "perplexity");
    assert_eq!(perplexities.len(), 1 + 50);
    let (first, last) = (perplexities[0], perplexities[50]);
    assert!(last < 0.2 * first && last < 8.0, "{perplexities:?}");
    let accuracies = column(&run, "shape accuracy");
    assert!(accuracies[0] < 0.7, "{accuracies:?}");
    assert!(accuracies[50] > 0.9, "{accuracies:?}");

    let read = |folder: &Path| {
        let bytes = std::fs::read(folder.join("model.safetensors")).expect("weights");
        read_safetensors(&bytes).expect("a safetensors file")
    };
    let (before, after) = (read(&world.path("bert")), read(&run.join("encoder")));
    assert!(before.keys().eq(after.keys()));
    assert!(before.iter().all(|(name, tensor)| after[name] != *tensor));

    let (of_start, of_end) = ("model.text.folder=bert", "model.text.folder=run/encoder");
    let start = world.trained("start", &["train.epochs=1", of_start]);
    let end = world.trained("end", &["train.epochs=1", of_end]);
    assert!(!start.equals(&end));

    let again = failed(&mut pretrain(&world, "run", &[]));
    assert!(again.contains("holds a run already; --resume"), "{again}");
    let ran = done(pretrain(&world, "run", &[]).arg("--resume"));
    assert!(ran.err.contains("this run is complete"), "{ran:?}");
}

#[test]
fn the_seed_alone_decides_what_is_learned_from_plain_text() {
    let world = world();
    let with = |out: &str, threads: &str, seed: &str| {
        let mut command = pretrain(&world, out, &["train.epochs=2", seed]);
        done(command.env("RAYON_NUM_THREADS", threads));
        weights(&world.path(out))
    };
    let one = with("one", "1", "seed=1");
    assert!(one == with("three", "3", "seed=1"));
    assert!(one != with("other", "3", "seed=2"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_pretraining_ends_like_an_uninterrupted_one() {
    use std::io::{BufRead, BufReader, Read};
    use std::thread::sleep;
    use std::time::Duration;

    use super::resume::signal;

    let world = world();
    // Epochs of some 38 steps.
    let overrides = ["train.epochs=40", "train.batch_size=1"];
    done(&mut pretrain(&world, "whole", &overrides));

    let run = world.path("run");
    for (interruption, wait) in [(0, 60), (1, 100)] {
        let mut command = pretrain(&world, "run", &overrides);
        command.args((interruption > 0).then_some("--resume"));
        let mut child = command.spawn().expect("the binary starts");
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut lines = String::new();
        while !lines.contains("held out: ") && !lines.contains("going on after step") {
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
            lines.contains("muse pretrain ") && lines.contains("--device cpu --resume"),
            "{lines}"
        );
        assert!(!run.join("encoder").exists());
    }
    let ran = done(pretrain(&world, "run", &overrides).arg("--resume"));
    assert!(ran.err.contains("going on after step"), "{ran:?}");
    assert!(weights(&run) == weights(&world.path("whole")));
    let timeless = |run: &Path| {
        let mut rows = metrics(run);
        rows.iter_mut().for_each(|row| drop(row.remove("seconds")));
        rows
    };
    assert_eq!(timeless(&run), timeless(&world.path("whole")));
}

#[test]
fn blocked_and_repeated_texts_are_left_out() {
    let world = world();
    let key = |key: &str| format!("{:x}\n", Sha256::digest(key));
    world.write(
        "blocked.txt",
        key("annmetbobinromeandwenttoparissad") + &key("evesawcarlsad"),
    );
    let whole = texts();
    world.write("twice.txt", whole.clone() + &whole);
    let overrides = [
        "train.epochs=1",
        "data.train.0.path=twice.txt",
        "data.blocklist=blocked.txt",
    ];
    let ran = done(&mut pretrain(&world, "run", &overrides));
    let count = whole.lines().count() - 2;
    let held_out = (0.2 * count as f64).round() as usize;
    for said in [
        // Twice each.
        "4 texts are left out as blocked".to_owned(),
        format!("{count} texts are left out as repeated"),
        format!(
            "{} texts to learn from, {held_out} held out",
            count - held_out
        ),
    ] {
        assert!(ran.err.contains(&said), "{said}: {ran:?}");
    }
}

#[test]
fn what_muse_train_reads_is_read() {
    let world = world();
    let overrides = [
        "train.epochs=1",
        "data.train=[{path = \"train.txt\"}, {path = \"train.jsonl\", images = \"nowhere\"}]",
    ];
    let ran = done(&mut pretrain(&world, "run", &overrides));
    assert!(ran.err.contains("texts to learn from"), "{ran:?}");
}

#[test]
fn faults_of_a_pretraining_are_named() {
    let world = world();
    text_encoder(&world.path("maskless"), &[]);
    world.write("one.txt", "only this\n\n");
    world.write("no hash.txt", "word\n");
    let table: [(&[&str], &[&str]); 10] = [
        (
            &["train.speed=3"],
            &["pretrain.toml", "unknown field", "speed"],
        ),
        (&["train.mask=1"], &["train.mask is 1"]),
        (&["train.max_pieces=65"], &["train.max_pieces is 65", "64"]),
        (
            &["encoder.folder=nowhere"],
            &["nowhere", "config.json", "xtask weights"],
        ),
        (
            &["encoder.folder=maskless"],
            &["maskless", "no piece [MASK]"],
        ),
        (&["data.train.0.path=nothing.txt"], &["nothing.txt"]),
        (&["data.train.0.path=one.txt"], &["two texts"]),
        (
            &["data.train=[{path = \"texts.txt\"}]"],
            &["texts.txt", "line 1", "set format to \"text\""],
        ),
        (&["data.blocklist=none.txt"], &["none.txt"]),
        (
            &["data.blocklist=no hash.txt"],
            &["no hash.txt", "line 1", "SHA-256"],
        ),
    ];
    for (overrides, named) in table {
        let error = failed(&mut pretrain(&world, "run", overrides));
        for name in named {
            assert!(error.contains(name), "{overrides:?}: {error}");
        }
        assert!(!world.path("run/config.toml").exists(), "{overrides:?}");
    }
    let error = failed(pretrain(&world, "new", &[]).arg("--resume"));
    assert!(error.contains("there is no run"), "{error}");
}
