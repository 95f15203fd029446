//! `muse calibrate`.

use muse_core::file::ModelFile;
use muse_core::heads::calibration::{Calibration, Scaling};
use muse_core::objective::Part;
use muse_tests::{tiny_model_of_styles, write};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{done, failed, folder, lines, model, muse, text};

/// Captions of other words each, and what the tiny model finds in them: a person, and a place in every longer one. `gold` says how
/// many of ten are right.
fn sentences(right: usize) -> String {
    let posts = (0..40).map(|post| {
        let tags = match post % 10 < right {
            true => ["B-PER", "I-PER", "O", "B-LOC"],
            false => ["O", "O", "O", "O"],
        };
        let words = tags.iter().enumerate();
        words
            .map(|(at, tag)| format!("w{post}x{at}\t{tag}\n"))
            .collect::<String>()
            + "\n"
    });
    posts.collect()
}

fn posts() -> String {
    let post = |at: usize| {
        let label = ["negative", "neutral", "positive"][at % 3];
        json!({"text": format!("word{at} word"), "sentiment": label}).to_string() + "\n"
    };
    (0..30).map(post).collect()
}

/// `muse calibrate` of a model file, into `out`.
fn calibrated(world: &TempDir, from: &str, data: &[&str], out: &str) -> String {
    let place = |name: &str| world.path().join(name);
    let (from, out) = (place(from), place(out));
    let mut command = muse(&["calibrate", text(&from), "--out", text(&out)]);
    command.args(data);
    done(command)
}

fn eval(world: &TempDir, model: &str, data: &str) -> Value {
    let path = world.path().join(model);
    let command = muse(&["eval", "--json", "--model", text(&path), "--data", data]);
    lines(&done(command)).remove(0)["pooled"].take()
}

fn read(world: &TempDir, name: &str) -> ModelFile {
    let bytes = std::fs::read(world.path().join(name)).expect("the file");
    ModelFile::from_bytes(&bytes).expect("a model")
}

#[test]
fn a_calibrated_model_is_as_sure_as_it_is_right() {
    let world = folder();
    std::fs::copy(model(), world.path().join("raw.muse")).expect("a copy");
    let conll = write(world.path(), "gold.txt", sentences(7));
    let jsonl = write(world.path(), "gold.jsonl", posts());
    let data = ["--data", text(&conll), "--data", text(&jsonl)];
    let said = calibrated(&world, "raw.muse", &data, "new.muse");
    assert!(
        said.contains("entities (80)") && said.contains("sentiment (30)"),
        "{said}"
    );

    let loss = |row: &str| -> Vec<f64> {
        let rows = said.lines().filter(|line| line.starts_with(row));
        let last = |line: &str| line.split_whitespace().last()?.parse().ok();
        rows.map(|line| last(line).expect(line)).collect()
    };
    let (before, after) = (loss("as the model has it"), loss("calibrated"));
    assert_eq!((before.len(), after.len()), (2, 2), "{said}");
    assert!(before.iter().zip(&after).all(|(b, a)| a < b), "{said}");
    assert_eq!(loss("out of fold").len(), 2, "{said}");

    // Entities that were 99 % sure are now as sure as they are right, and as many.
    let (raw, new) = (
        eval(&world, "raw.muse", text(&conll)),
        eval(&world, "new.muse", text(&conll)),
    );
    assert_eq!(raw["entities"], new["entities"]);
    let error = |report: &Value, head: &str| report["calibration"][head]["error"].as_f64();
    assert!(error(&raw, "entities") > Some(0.25), "{raw}");
    assert!(error(&new, "entities") < Some(0.01), "{new}");
    let (raw, new) = (
        eval(&world, "raw.muse", text(&jsonl)),
        eval(&world, "new.muse", text(&jsonl)),
    );
    assert_eq!(raw["sentiment"], new["sentiment"]);
    assert!(error(&raw, "sentiment").is_some() && error(&new, "entities").is_none());

    let (old, new) = (read(&world, "raw.muse"), read(&world, "new.muse"));
    assert!(new.state == old.state);
    assert_ne!(new.config.calibration, Calibration::default());
    // It is told, kept by an export, and replaced by another calibration.
    let path = world.path().join("new.muse");
    let told = done(muse(&["info", text(&path)]));
    assert!(
        told.contains("calibrated entities: slope") && told.contains("calibrated sentiment: temp"),
        "{told}"
    );
    let half = world.path().join("half.muse");
    let export = [
        "export",
        text(&path),
        "--precision",
        "f16",
        "--out",
        text(&half),
    ];
    done(muse(&export));
    assert_eq!(read(&world, "half.muse").config, new.config);
    calibrated(&world, "new.muse", &data, "again.muse");
    assert!(read(&world, "again.muse").config == new.config);
}

#[test]
fn each_style_has_its_own_calibration() {
    let world = folder();
    let file = tiny_model_of_styles();
    write(
        world.path(),
        "raw.muse",
        file.to_bytes(muse_core::file::Precision::F32),
    );
    let conll = write(world.path(), "gold.txt", sentences(7));
    let data = ["--data", text(&conll), "--style", "first"];
    calibrated(&world, "raw.muse", &data, "new.muse");
    let Calibration {
        entities,
        temperatures,
    } = read(&world, "new.muse").config.calibration;
    assert_eq!(entities.len(), 2);
    assert_ne!(entities[0], Scaling::default());
    assert_eq!(entities[1], Scaling::default());
    assert!(!temperatures.contains_key(&Part::Sentiment));
    let path = world.path().join("new.muse");
    let told = done(muse(&["info", text(&path)]));
    assert!(
        told.contains("entities in the style first: slope"),
        "{told}"
    );
}

#[test]
fn what_cannot_be_calibrated_is_told() {
    let world = folder();
    let unlabelled: String = (0..6)
        .map(|at| format!("{{\"text\": \"w{at}\"}}\n"))
        .collect();
    let unlabelled = write(world.path(), "posts.jsonl", unlabelled);
    let few = write(world.path(), "few.txt", "Ann\tB-PER\nLee\tI-PER\n\n");
    let out = world.path().join("new.muse");
    let error = |data: &std::path::Path, more: &[&str]| {
        let mut command = muse(&["calibrate", text(model()), "--out", text(&out), "--data"]);
        command.arg(data).args(more);
        failed(command)
    };
    let said = error(&unlabelled, &[]);
    assert!(said.contains("nothing that"), "{said}");
    let said = error(&few, &[]);
    assert!(said.contains("5 folds cannot be made"), "{said}");
    let said = error(&few, &["--style", "other"]);
    assert!(said.contains("no style \"other\""), "{said}");
    let said = error(&world.path().join("none.txt"), &[]);
    assert!(said.contains("none.txt"), "{said}");
    assert!(!out.exists());
    let nowhere = [
        "calibrate",
        text(&few),
        "--data",
        text(&few),
        "--out",
        text(&out),
    ];
    let said = failed(muse(&nowhere));
    assert!(said.contains("few.txt as a model"), "{said}");
}

#[test]
fn what_a_calibrated_model_is_not_sure_of_is_told_on_request() {
    let world = folder();
    std::fs::copy(model(), world.path().join("raw.muse")).expect("a copy");
    let conll = write(world.path(), "gold.txt", sentences(2));
    calibrated(&world, "raw.muse", &["--data", text(&conll)], "new.muse");
    let found = |name: &str, more: &[&str]| {
        let path = world.path().join(name);
        let mut command = muse(&["tag", "--json", "--model", text(&path)]);
        let mut scored = muse(&[
            "eval",
            "--json",
            "--model",
            text(&path),
            "--data",
            text(&conll),
        ]);
        command.args(more).arg("w1x0 w1x1 w1x2 w1x3");
        scored.args(more);
        let told = lines(&done(command)).remove(0);
        let report = lines(&done(scored)).remove(0)["pooled"].take();
        let recall = report["entities"]["micro"]["recall"].as_f64();
        let count = told["entities"].as_array().expect("entities").len();
        (count, recall.expect("a share"))
    };
    assert_eq!(found("raw.muse", &[]), (2, 1.0));
    assert_eq!(found("new.muse", &[]), (0, 0.0));
    assert_eq!(found("new.muse", &["--threshold", "0"]), (2, 1.0));
}
