//! `muse crossfit`: soft labels by models that did not see them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::world::{Data, World, done, failed, muse};

fn crossfit(world: &World, out: &str, more: &[&str]) -> Command {
    let mut command = muse(&["crossfit", "--device", "cpu", "--folds", "2"]);
    command
        .arg(world.path("train.toml"))
        .arg("--out")
        .arg(world.path(out))
        .args(["--set", "train.epochs=2"])
        .args(more);
    command
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("lines");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    lines.collect()
}

#[test]
fn every_post_is_answered_by_a_model_that_did_not_see_it() {
    let world = World::new(Data::Posts);
    let ran = done(&mut crossfit(&world, "cross", &[]));
    let (given, soft) = (
        lines(&world.path("train.jsonl")),
        lines(&world.path("cross/soft.jsonl")),
    );
    assert_eq!(given.len(), soft.len());
    for (given, soft) in given.iter().zip(&soft) {
        assert_eq!(soft["sentiment"]["label"], given["sentiment"]);
        let shares = soft["sentiment"]["probabilities"]
            .as_object()
            .expect("shares");
        assert_eq!(shares.len(), 3);
        let share = |class: &str| shares[class].as_f64().expect("a share");
        assert!(share(given["sentiment"].as_str().expect("a label")) >= 0.5);
        let sum: f64 = shares.keys().map(|class| share(class)).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{soft}");
    }
    assert!(ran.out.contains("of 32 held-out samples"), "{ran:?}");
    assert!(ran.out.contains("soft.jsonl"), "{ran:?}");

    // What a fold's model was trained on and what it was asked about are all the posts together, and have nothing in common.
    let name = |prefix: &str| {
        let entries = std::fs::read_dir(world.path("cross")).expect("the folder");
        let names = entries.map(|entry| entry.expect("an entry").path());
        let mut names = names.filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        });
        names.next().expect(prefix)
    };
    let mut places = Vec::new();
    for fold in ["1", "2"] {
        let held = lines(&name(&format!("held-{fold}-")));
        let seen = lines(&name(&format!("seen-{fold}-")));
        assert_eq!(held.len() + seen.len(), given.len());
        for answer in held {
            let place = answer["sample"].as_u64().expect("a place") as usize;
            assert!(
                seen.iter()
                    .all(|post| post["words"] != soft[place]["words"])
            );
            places.push(place);
        }
    }
    places.sort_unstable();
    assert_eq!(places, (0..given.len()).collect::<Vec<_>>());

    // Done again it asks nobody; what is missing is made up for, without a training.
    let whole = std::fs::read(world.path("cross/soft.jsonl")).expect("the labels");
    std::fs::remove_file(name("held-2-")).expect("an answer less");
    let again = done(&mut crossfit(&world, "cross", &[]));
    assert_eq!(again.out, ran.out);
    assert!(
        !again.err.contains("training: ") && again.err.contains("this run is complete"),
        "{again:?}"
    );
    assert_eq!(
        std::fs::read(world.path("cross/soft.jsonl")).expect("the labels"),
        whole
    );

    // Of other data it is another crossfit.
    let error = failed(&mut crossfit(
        &world,
        "cross",
        &["--set", "data.train.0.limit=30"],
    ));
    assert!(
        error.contains("the configuration is not that of the run"),
        "{error}"
    );
}

#[test]
fn a_share_of_nothing_leaves_the_labels_as_they_are() {
    let world = World::new(Data::Posts);
    done(&mut crossfit(&world, "cross", &["--share", "0"]));
    let plain = world.trained("plain", &["train.epochs=1"]);
    let same = world.trained(
        "same",
        &["train.epochs=1", "data.train.0.path=cross/soft.jsonl"],
    );
    assert!(same.equals(&plain));
    done(&mut crossfit(&world, "cross", &["--share", "1"]));
    let taught = world.trained(
        "taught",
        &["train.epochs=1", "data.train.0.path=cross/soft.jsonl"],
    );
    assert!(!taught.equals(&plain));
}

#[test]
fn tags_are_softened_in_the_style_of_their_source() {
    let world = World::new(Data::Sentences);
    let styled = ["--set", "data.train.0.style=wire", "--share", "0.25"];
    let ran = done(&mut crossfit(&world, "cross", &styled));
    let soft = lines(&world.path("cross/soft.jsonl"));
    let mut unsure = 0;
    for post in &soft {
        let tags = post["tags"].as_array().expect("tags");
        let tags: Vec<&str> = tags
            .iter()
            .map(|tag| tag.as_str().expect("a tag"))
            .collect();
        let readings = post["readings"].as_object().expect("readings");
        let shares = readings
            .values()
            .map(|share| share.as_f64().expect("a share"));
        assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9, "{post}");
        assert!(readings[&tags.join(" ")].as_f64().expect("a share") >= 0.75);
        assert!(
            readings
                .keys()
                .all(|key| key.split(' ').count() == tags.len())
        );
        assert_eq!(post["style"], "wire");
        unsure += usize::from(readings.len() > 1);
    }
    assert!(unsure > soft.len() / 2, "{unsure}");
    assert!(ran.out.contains("in the style wire: strict F1"), "{ran:?}");

    // They are learnt from: a little training is drawn to them.
    let common = ["train.epochs=1", "data.valid.0.style=wire"];
    let taught = |out, path: &str| {
        let path = format!("data.train.0.path={path}");
        world.trained(
            out,
            &[&common[..], &[&path, "data.train.0.style=wire"]].concat(),
        )
    };
    let plain = taught("plain", "train.txt");
    assert!(!taught("soft", "cross/soft.jsonl").equals(&plain));
    done(&mut crossfit(
        &world,
        "cross",
        &[&styled[..2], &["--share", "0"]].concat(),
    ));
    assert!(taught("hard", "cross/soft.jsonl").equals(&plain));
}

#[test]
fn faults_are_told() {
    let world = World::new(Data::Posts);
    let one = ["--set", "data.train.0.limit=1"];
    let error = failed(&mut crossfit(&world, "cross", &one));
    assert!(
        error.contains("2 folds cannot be made of 1 samples"),
        "{error}"
    );
    assert!(!world.path("cross").exists());
    let none = ["sentiment", "entities"].map(|part| format!("train.weights.{part}=0"));
    let none = ["--set", &none[0], "--set", &none[1]];
    let error = failed(&mut crossfit(&world, "cross", &none));
    assert!(
        error.contains("no training sample carries what is softened"),
        "{error}"
    );
    let ran = done(&mut crossfit(&world, "cross", &none[..2]));
    assert!(
        ran.out.contains("entities of") && !ran.out.contains("sentiment of"),
        "{ran:?}"
    );
}
