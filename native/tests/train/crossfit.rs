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
fn faults_are_told() {
    let world = World::new(Data::Sentences);
    let error = failed(&mut crossfit(&world, "cross", &[]));
    assert!(
        error.contains("no training sample carries a sentiment"),
        "{error}"
    );
    let world = World::new(Data::Posts);
    let one = ["--set", "data.train.0.limit=1"];
    let error = failed(&mut crossfit(&world, "cross", &one));
    assert!(
        error.contains("2 folds cannot be made of 1 samples"),
        "{error}"
    );
    assert!(!world.path("cross").exists());
    let error = failed(&mut crossfit(
        &world,
        "cross",
        &["--set", "train.weights.sentiment=0"],
    ));
    assert!(error.contains("train.weights.sentiment is 0"), "{error}");
}
