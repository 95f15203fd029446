//! `muse label`: what models say of text, for another to learn from.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::world::{Data, World, done, failed, muse};

fn label(world: &World, models: &[&Path], data: &str, more: &[&str]) -> Command {
    let mut command = muse(&["label"]);
    for model in models {
        command.arg("--model").arg(model);
    }
    command
        .arg("--data")
        .arg(world.path(data))
        .arg("--out")
        .arg(world.path("labelled"))
        .args(more);
    command
}

fn labelled(world: &World) -> Vec<Value> {
    let path = world.path("labelled/labelled.jsonl");
    let text = std::fs::read_to_string(path).expect("labels");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[test]
fn a_model_learns_from_others_what_they_say_of_plain_text() {
    let world = World::new(Data::Both);
    let teacher = |out, seed| {
        let run = world.trained(out, &["train.epochs=12", seed]);
        run.folder.join("best.muse")
    };
    let teachers = [teacher("one", "seed=1"), teacher("two", "seed=2")];
    let teachers = [teachers[0].as_path(), teachers[1].as_path()];
    let conll = std::fs::read_to_string(world.path("train.txt")).expect("sentences");
    let sentences: Vec<Vec<&str>> = (conll.split("\n\n"))
        .map(|post| {
            post.lines()
                .filter_map(|line| Some(line.split_once('\t')?.0))
                .collect()
        })
        .filter(|words: &Vec<&str>| !words.is_empty())
        .collect();
    let line = |words: &Vec<&str>| serde_json::json!({ "words": words }).to_string() + "\n";
    world.write(
        "plain.jsonl",
        sentences.iter().map(line).collect::<String>(),
    );

    let ran = done(&mut label(&world, &teachers, "plain.jsonl", &[]));
    let posts = labelled(&world);
    assert_eq!(posts.len(), sentences.len());
    for post in &posts {
        let words = post["words"].as_array().expect("words").len();
        assert_eq!(
            post["tags"].as_array().expect("tags").len(),
            words,
            "{post}"
        );
        let shares = &post["sentiment"]["probabilities"];
        assert_eq!(shares.as_object().expect("shares").len(), 3);
        let likeliest = post["readings"].as_object().map(|readings| {
            let share = |share: &Value| share.as_f64().expect("a share");
            let (best, _) = readings
                .iter()
                .max_by(|a, b| share(a.1).total_cmp(&share(b.1)))
                .expect("one");
            best.clone()
        });
        let tags = post["tags"].as_array().expect("tags").iter();
        let tags: Vec<&str> = tags.map(|tag| tag.as_str().expect("a tag")).collect();
        assert!(
            likeliest.is_none_or(|best| best == tags.join(" ")),
            "{post}"
        );
    }
    // Both have a say.
    let both = std::fs::read(world.path("labelled/labelled.jsonl")).expect("labels");
    done(&mut label(&world, &teachers[..1], "plain.jsonl", &[]));
    assert_ne!(
        std::fs::read(world.path("labelled/labelled.jsonl")).expect("labels"),
        both
    );

    // What was answered is not asked again.
    let answers = || {
        let entries = std::fs::read_dir(world.path("labelled")).expect("the folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut answers: Vec<_> = paths
            .filter(|path| path.to_string_lossy().contains("answers-"))
            .collect();
        answers.sort();
        answers
            .into_iter()
            .map(|path| {
                path.metadata()
                    .and_then(|data| data.modified())
                    .expect("a time")
            })
            .collect::<Vec<_>>()
    };
    let before = answers();
    assert_eq!(before.len(), 2);
    let again = done(&mut label(&world, &teachers, "plain.jsonl", &[]));
    assert_eq!(again.err, ran.err);
    assert_eq!(answers(), before);
    assert_eq!(
        std::fs::read(world.path("labelled/labelled.jsonl")).expect("labels"),
        both
    );

    let student = world.trained(
        "student",
        &[
            "train.epochs=12",
            "data.train=[{ path = \"labelled/labelled.jsonl\" }]",
        ],
    );
    let best = student
        .column("sentences F1")
        .into_iter()
        .fold(0.0, f64::max);
    assert!(best > 0.9, "{:?}", student.metrics);

    // Only what is sure, and the labels that are there stay.
    done(&mut label(
        &world,
        &teachers,
        "plain.jsonl",
        &["--least", "0.9"],
    ));
    let sure = labelled(&world);
    assert!(sure.len() < posts.len(), "{}", sure.len());
    for post in sure {
        let readings = post["readings"].as_object();
        let share = |share: &Value| share.as_f64().expect("a share");
        assert!(
            readings.is_none_or(|all| all.values().any(|own| share(own) >= 0.9)),
            "{post}"
        );
    }
    done(&mut label(
        &world,
        &teachers,
        "train.jsonl",
        &["--no-images", "--least", "0"],
    ));
    let given = std::fs::read_to_string(world.path("train.jsonl")).expect("posts");
    for (given, post) in given.lines().zip(labelled(&world)) {
        let given: Value = serde_json::from_str(given).expect("a post");
        assert_eq!(post["sentiment"], given["sentiment"]);
        assert!(post["tags"].is_array());
        assert_eq!(post.get("image").is_some(), given.get("image").is_some());
    }

    // What has a label of its own stays, without tags that are not sure.
    done(&mut label(
        &world,
        &teachers,
        "train.jsonl",
        &["--no-images", "--least", "1"],
    ));
    let posts = labelled(&world);
    assert_eq!(posts.len(), given.lines().count());
    assert!(posts.iter().any(|post| post.get("tags").is_none()));
    assert!(posts.iter().all(|post| post["sentiment"].is_string()));

    let error = failed(&mut label(
        &world,
        &teachers,
        "plain.jsonl",
        &["--style", "wire"],
    ));
    assert!(error.contains("the model has no style \"wire\""), "{error}");
}
