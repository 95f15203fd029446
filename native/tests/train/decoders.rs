//! Trainings with the decoders in the objective.

use std::path::Path;

use muse_core::decoders::captioner::Vocabulary;
use serde_json::Value;

use super::best_epoch;
use super::world::{Data, Run, World, done, eval, failed, muse, part};

/// Small decoders, and both in the objective.
pub(crate) const DECODERS: [&str; 9] = [
    "model.decoders.noise=0.1",
    "model.decoders.captioner.attention=16",
    "model.decoders.captioner.embedding=16",
    "model.decoders.captioner.hidden=24",
    "model.decoders.generator.blocks=1",
    "model.decoders.generator.filters=4",
    "model.decoders.generator.mixtures=2",
    "train.weights.captioning=1",
    "train.weights.generation=0.5",
];

fn trained(world: &World, out: &str, more: &[&str]) -> Run {
    world.trained(out, &[&DECODERS[..], more].concat())
}

fn names(run: &Run, prefix: &str) -> usize {
    let state = run.model().state;
    state.keys().filter(|name| name.starts_with(prefix)).count()
}

/// What `muse eval --decoders` says of a run's best model.
fn report(world: &World, run: &Run, more: &[&str]) -> Value {
    let mut command = muse(&["eval", "--decoders", "--json", "--model"]);
    command.arg(run.folder.join("best.muse")).args(more);
    command.arg("--data").arg(world.path("valid.jsonl"));
    serde_json::from_str(&done(&mut command).out).expect("JSON")
}

#[test]
fn the_decoders_learn_and_are_scored_as_eval_scores_them() {
    let world = World::new(Data::Posts);
    let run = trained(
        &world,
        "run",
        &["train.epochs=10", "train.rates.decoders=1e-2"],
    );
    for loss in ["captioning loss", "generation loss"] {
        let losses = run.column(loss);
        assert!(losses[9] < 0.9 * losses[0], "{loss}: {losses:?}");
    }
    assert!(run.err.contains("captioning "), "{}", run.err);

    let report = report(&world, &run, &[]);
    let best = best_epoch(&run);
    for (at, column) in ["posts caption cross-entropy", "posts bits/dim"]
        .iter()
        .enumerate()
    {
        let there = &report["pooled"]["decoders"][at]["loss"];
        let here = run.column(column)[best];
        let there = there.as_f64().expect("a loss");
        assert!((here - there).abs() < 1e-3, "{column}: {here}, {there}");
    }
    // A photo of one colour in gradients: no histogram of all is as good as knowing the photos.
    let drawn = report["pooled"]["decoders"][1]["compared"]
        .as_array()
        .expect("rows");
    let row = |at: usize| (drawn[at]["with"].as_str(), drawn[at]["loss"].as_f64());
    assert_eq!(row(0).0, Some("another caption"));
    let (with, bits) = row(1);
    assert_eq!(with, Some("the frequency of each value"));
    assert!((1.0..8.0).contains(&bits.expect("a loss")), "{report}");
}

#[test]
fn a_photo_helps_the_captioner_and_a_constant_does_not() {
    let world = World::new(Data::Posts);
    let long = [
        "train.epochs=90",
        "train.batch_size=4",
        "train.rates.decoders=1e-2",
        "train.rates.exchange=1e-3",
        "train.weights.entities=0",
        "train.weights.sentiment=0",
        "train.weights.generation=0",
        "model.decoders.noise=0",
    ];
    let run = trained(&world, "run", &long);
    let blind = ["train.blind_decoders=true"];
    let blind = trained(&world, "blind", &[&long[..], &blind].concat());
    let control = blind.folder.join("best.muse");
    let report = report(
        &world,
        &run,
        &["--control", control.to_str().expect("UTF-8")],
    );
    let compared = report["pooled"]["decoders"][0]["compared"]
        .as_array()
        .expect("rows");
    let gain = |at: usize| compared[at]["gain"].as_f64().expect("a gain");
    assert_eq!(compared.len(), 3, "{report}");
    // With another's photo the mood is wrong, and without a photo it is a guess.
    assert!(gain(1) > 0.05 && gain(0) > gain(1), "{report}");

    // A control is told from a model.
    let (model, control) = (run.folder.join("best.muse"), blind.folder.join("best.muse"));
    let score = |model: &Path, control: &Path, data: &str| {
        let mut command = muse(&["eval", "--decoders", "--model"]);
        command.arg(model).arg("--control").arg(control);
        command.arg("--data").arg(world.path(data));
        command
    };
    let error = failed(&mut score(&control, &control, "valid.jsonl"));
    assert!(error.contains("it is a control"), "{error}");
    let error = failed(&mut score(&model, &model, "valid.jsonl"));
    assert!(error.contains("is no control"), "{error}");
    let error = failed(&mut score(&model, &world.path("none.muse"), "none.jsonl"));
    assert!(
        error.contains("none.muse"),
        "before the data are read: {error}"
    );
    let mut info = muse(&["info"]);
    assert!(
        done(info.arg(&control))
            .out
            .contains("train.blind_decoders")
    );

    // A photo that cannot be read is told, and leaves with its captions.
    let posts = std::fs::read_to_string(world.path("valid.jsonl")).expect("posts");
    world.write("photos/broken.png", "not a picture");
    let broken = "{\"text\": \"so\", \"image\": \"photos/broken.png\"}\n";
    world.write("broken.jsonl", format!("{posts}{broken}"));
    let mut command = score(&model, &control, "broken.jsonl");
    command.arg("--data").arg(world.path("valid.jsonl"));
    let ran = done(&mut command);
    assert!(ran.err.contains("broken.png"), "{ran:?}");
    let sets: Vec<&str> = ran.out.split("\n\n").collect();
    assert_eq!(sets.len(), 3, "{ran:?}");
    assert!(sets[0].contains(", unreadable photos: 1"), "{ran:?}");
    let without_title = |set: &str| set.trim().split_once('\n').expect("lines").1.to_owned();
    assert_eq!(without_title(sets[0]), without_title(sets[1]));
    assert!(sets[2].starts_with("pooled"), "{ran:?}");
    for row in [
        "another photo",
        "a captioner trained blind",
        "the frequency of each token",
    ] {
        assert_eq!(ran.out.matches(row).count(), 3, "{ran:?}");
    }
}

#[test]
fn a_decoder_without_a_weight_is_left_out() {
    let world = World::new(Data::Posts);
    let short = ["train.epochs=1"];
    let none = [
        "train.weights.captioning=0",
        "train.weights.generation=0",
        "train.epochs=1",
    ];
    let plain = world.trained("plain", &short);
    let off = trained(&world, "off", &none);
    assert!(off.equals(&plain), "no decoder, no difference");

    let captioner = trained(&world, "captioner", &[short[0], none[1]]);
    assert!(names(&captioner, "decoders.captioner.") > 0);
    assert_eq!(names(&captioner, "decoders.generator."), 0);
    assert!(captioner.column("generation loss")[0].is_nan());
    assert!(!captioner.metrics[0].contains_key("posts bits/dim"));
    let generator = trained(&world, "generator", &[short[0], none[0]]);
    assert_eq!(names(&generator, "decoders.captioner."), 0);
    assert!(generator.column("captioning loss")[0].is_nan());

    let error = failed(&mut world.train("unsized", &["train.weights.captioning=1"]));
    assert!(error.contains("[model.decoders.captioner]"), "{error}");
    let blind = [&DECODERS[..], &["data.train.0.no_images=true"]].concat();
    let error = failed(&mut world.train("photoless", &blind));
    assert!(error.contains("no training sample has both"), "{error}");
}

#[test]
fn exports_hold_decoders_only_when_asked() {
    let world = World::new(Data::Posts);
    let run = trained(&world, "run", &["train.epochs=1"]);
    let export = |name: &str, more: &[&str]| {
        let out = world.path(name);
        let mut command = muse(&["export", "--precision", "f32"]);
        command
            .arg(run.folder.join("best.muse"))
            .arg("--out")
            .arg(&out)
            .args(more);
        done(&mut command);
        muse_core::file::ModelFile::from_bytes(&std::fs::read(out).expect("the export"))
            .expect("a model")
    };
    let without = export("without.muse", &[]);
    assert!(without.config.decoders.is_none());
    assert!(
        !without
            .state
            .keys()
            .any(|name| name.starts_with("decoders."))
    );
    let with = export("with.muse", &["--with-decoders"]);
    assert_eq!(with.config, run.model().config);
    assert_eq!(with.state, run.model().state);
    // Both tag alike.
    let scores = |name: &str| eval(&world, &world.path(name), &["valid.jsonl"]);
    assert_eq!(scores("without.muse"), scores("with.muse"));

    let mut again = muse(&["export", "--precision", "f32", "--with-decoders", "--out"]);
    again
        .arg(world.path("never"))
        .arg(world.path("without.muse"));
    assert!(failed(&mut again).contains("has no decoders"));
    let mut score = muse(&["eval", "--decoders", "--data"]);
    score
        .arg(world.path("valid.jsonl"))
        .arg("--model")
        .arg(world.path("without.muse"));
    assert!(failed(&mut score).contains("has no decoders"));
}

#[test]
fn a_start_keeps_the_decoders_that_stay() {
    let world = World::new(Data::Posts);
    let first = trained(&world, "first", &["train.epochs=1"]);
    let from_first = |out: &str, more: &[&str]| {
        // A rate of zero, so that what is kept stays as it was.
        let fixed = ["train.epochs=1", "train.rates.decoders=0"];
        let mut command = world.train(out, &[&DECODERS[..], &fixed, more].concat());
        command.arg("--init").arg(first.folder.join("best.muse"));
        let ran = done(&mut command);
        world.run(out, ran).model()
    };
    let whole = first.model();
    let same = from_first("same", &["model.decoders.captioner.hidden=99"]);
    assert_eq!(part(&same, "decoders."), part(&whole, "decoders."));
    assert_eq!(same.config, whole.config, "sizes are the file's");
    let one = from_first("one", &["train.weights.generation=0"]);
    assert_eq!(
        part(&one, "decoders.captioner."),
        part(&whole, "decoders.captioner.")
    );
    assert!(
        !one.state
            .keys()
            .any(|name| name.starts_with("decoders.generator."))
    );
}

#[test]
fn captioned_photos_alone_train_decoders() {
    let world = World::new(Data::Posts);
    let mut table = "image,caption\n".to_owned();
    for (photo, mood) in [(0, "sad"), (1, "plain"), (2, "happy")] {
        for place in ["Rome", "Oslo"] {
            table += &format!("photos/{photo}.png,\"a {mood} day, in {place}\"\n");
        }
    }
    world.write("captions.csv", table);
    let only = [
        "data.train.0.path=captions.csv",
        "data.train.0.images=.",
        "data.valid.0.path=captions.csv",
        "data.valid.0.images=.",
        "train.epochs=3",
        "model.decoders.captioner.least=1",
    ];
    let run = trained(&world, "run", &only);
    // Without labels the decoders' loss decides.
    let choice = run.column("choice");
    let (nats, bits) = (
        run.column("posts caption cross-entropy"),
        run.column("posts bits/dim"),
    );
    for epoch in 0..3 {
        let loss = nats[epoch] + 0.5 * bits[epoch] * std::f64::consts::LN_2;
        assert!((choice[epoch] + loss).abs() < 1e-4, "{:?}", run.metrics);
    }
    let config = run.model().config;
    let vocabulary: Vocabulary = (config.decoders.and_then(|d| d.captioner))
        .expect("a captioner")
        .vocabulary;
    // a, sad, plain, happy, day, the comma, in, Rome, Oslo; and the four of its own.
    assert_eq!(vocabulary.len(), 4 + 9);

    let (all, none) = (run.folder.join("best.muse"), world.path("none.muse"));
    let mut export = muse(&["export", "--precision", "f32", "--out"]);
    let error = failed(export.arg(&none).arg(&all));
    assert!(error.contains("--with-decoders"), "{error}");
    assert!(!none.exists());
}
