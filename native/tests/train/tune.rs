//! `--init`: fine-tuning from a model file.

use std::process::Command;

use muse_core::file::ModelFile;

use super::world::{Data, World, done, failed, part};

/// All rates 0: what the model starts with is what the run ends with.
const STILL: [&str; 6] = [
    "train.epochs=1",
    "train.rates.text=0",
    "train.rates.image=0",
    "train.rates.exchange=0",
    "train.rates.heads=0",
    "train.rates.crf=0",
];

fn from(mut command: Command, model: &str, world: &World) -> Command {
    command.arg("--init").arg(world.path(model));
    command
}

fn started(world: &World) -> ModelFile {
    world.trained("start", &["train.epochs=1"]).model()
}

#[test]
fn a_head_that_knows_the_labels_is_kept() {
    let world = World::new(Data::Both);
    let start = started(&world);
    // The posts alone have no PER, and other settings of the model do not count: its shape is the file's.
    world.write("people.txt", "IMGID:1\nAnn\tB-PER\nmet\tO\nBob\tB-PER\n");
    let overrides = [
        &STILL[..],
        &[
            "data.train.0.path=people.txt",
            "model.exchange.layers=1",
            "model.exchange.last_layer=0",
            "model.max_pieces=8",
        ],
    ]
    .concat();
    let ran = done(&mut from(
        world.train("run", &overrides),
        "start/best.muse",
        &world,
    ));
    let run = world.run("run", ran);
    assert!(!run.err.contains("anew"), "{}", run.err);
    let end = run.model();
    assert!(end.state == start.state);
    assert_eq!(end.config, start.config);
    assert_eq!(end.config.tags, ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]);
}

#[test]
fn a_head_without_the_labels_begins_anew() {
    let world = World::new(Data::Both);
    let start = started(&world);
    world.write("teams.txt", "IMGID:1\nThe\tO\nLions\tB-ORG\nwon\tO\n");
    let overrides = [
        &STILL[..],
        &["data.train.0.path=teams.txt", "data.valid.0.path=teams.txt"],
    ]
    .concat();
    let ran = done(&mut from(
        world.train("run", &overrides),
        "start/best.muse",
        &world,
    ));
    let run = world.run("run", ran);
    let said = run
        .err
        .lines()
        .find(|line| line.contains("anew"))
        .expect("a notice");
    assert!(
        said.contains("B-ORG") && said.contains("entities"),
        "{said}"
    );
    let end = run.model();
    assert_eq!(end.config.tags, ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]);
    assert_eq!(end.config.classes, start.config.classes);
    for kept in ["text.", "image.", "cross.", "projection.", "sentiment."] {
        assert!(part(&end, kept) == part(&start, kept), "{kept}");
    }
    assert!(part(&end, "entities.") != part(&start, "entities."));
}

#[test]
fn a_fine_tuned_run_resumes_from_its_own_copy() {
    let world = World::new(Data::Both);
    started(&world);
    // Another shape and fewer labels than the configuration and the data would give.
    let overrides = [
        "data.train.0.limit=1",
        "model.exchange.layers=1",
        "model.exchange.last_layer=0",
        "train.epochs=2",
    ];
    let whole = done(&mut from(
        world.train("whole", &overrides),
        "start/best.muse",
        &world,
    ));
    let whole = world.run("whole", whole);

    done(&mut from(
        world.train("run", &overrides),
        "start/best.muse",
        &world,
    ));
    // As if it had been stopped after the first epoch, and the model it started from had been removed.
    let checkpoints = world.path("run/checkpoints");
    let last = whole.column("steps")[1];
    std::fs::remove_file(checkpoints.join(format!("scheduler-{last}.bpk"))).expect("a checkpoint");
    std::fs::remove_file(world.path("start/best.muse")).expect("the model");
    let mut resume = world.train("run", &overrides);
    resume.arg("--resume");
    let ran = done(&mut resume);
    assert!(
        ran.err
            .contains(&format!("going on after step {}", last / 2.0)),
        "{ran:?}"
    );
    assert!(world.run("run", ran).equals(&whole));
}

#[test]
fn a_model_that_is_none_is_refused() {
    let world = World::new(Data::Sentences);
    let error = failed(&mut from(world.train("run", &[]), "train.txt", &world));
    assert!(error.contains("train.txt"), "{error}");
    let error = failed(&mut from(world.train("run", &[]), "nothing.muse", &world));
    assert!(error.contains("nothing.muse"), "{error}");
    // Nothing has begun, so the folder is free.
    world.trained("run", &["train.epochs=1"]);
}
