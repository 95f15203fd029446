//! `muse eval`.

use muse_tests::{ImageFormat, picture, write};
use serde_json::json;

use super::{done, failed, feed, folder, jpeg, lines, run, succeeded, text, with_model};

const GOLD: &str = "\
IMGID:1
Eileen\tB-PER
Collins\tI-PER
at\tO
Kennedy\tB-LOC
Space\tI-LOC
Center\tI-LOC

IMGID:2
Ann\tB-PER
Lee\tI-PER
in\tO
Rome\tB-OTHER

";

#[test]
fn eval_scores_entities_strictly() {
    let folder = folder();
    let path = write(folder.path(), "gold.txt", GOLD);
    let data = ["--data", text(&path)];
    let ran = run(with_model("eval", &data));
    assert!(ran.err.contains("no entity type OTHER"), "{ran:?}");
    let row = |name: &str| -> Vec<String> {
        let line = ran
            .out
            .lines()
            .find(|line| line.starts_with(name))
            .expect(name);
        line[name.len()..]
            .split_whitespace()
            .map(String::from)
            .collect()
    };
    assert_eq!(row("PER"), ["100.00", "100.00", "100.00", "2"]);
    assert_eq!(row("LOC"), ["50.00", "100.00", "66.67", "1"]);
    assert_eq!(row("OTHER"), ["0.00", "0.00", "0.00", "1"]);
    assert_eq!(row("micro avg"), ["75.00", "75.00", "75.00", "4"]);
    // Nearly sure of four, of which three are right.
    let far: f64 = row("calibration error")[0].parse().expect("a number");
    assert!((20.0..25.0).contains(&far), "{ran:?}");
    let none = done(with_model(
        "eval",
        &[&data[..], &["--threshold", "1", "--json"]].concat(),
    ));
    let report = &lines(&none)[0]["pooled"];
    assert_eq!(report["entities"]["micro"]["predicted"], 0, "{report}");
    assert!(report["calibration"].get("entities").is_none(), "{report}");

    let renamed = with_model(
        "eval",
        &[&data[..], &["--rename", "OTHER=LOC", "--json"]].concat(),
    );
    let report = &lines(&done(renamed))[0];
    assert_eq!(report["pooled"]["entities"]["micro"]["f1"], 1.0);
    assert_eq!(report["sets"][0]["captions"], 2);
}

#[test]
fn eval_pools_sets_and_scores_sentiment() {
    let folder = folder();
    let conll = write(folder.path(), "gold.txt", GOLD);
    // The model's own answers as gold sentiments: all right but one.
    let posts: Vec<String> = (0..4)
        .map(|i| json!({"text": vec!["word"; i + 1].join(" ")}).to_string())
        .collect();
    let answers = lines(&succeeded(feed(
        with_model("tag", &["--jsonl"]),
        posts.join("\n").as_bytes(),
    )));
    let gold: Vec<String> = answers
        .into_iter()
        .enumerate()
        .map(|(i, mut answer)| {
            let label = answer["sentiment"]["label"]
                .as_str()
                .expect("a label")
                .to_owned();
            let other = ["negative", "neutral"]
                .into_iter()
                .find(|&class| class != label)
                .expect("another");
            answer["sentiment"] = if i == 0 { other.into() } else { label.into() };
            answer
                .as_object_mut()
                .expect("an object")
                .remove("entities");
            answer.to_string()
        })
        .collect();
    let jsonl = write(folder.path(), "gold.jsonl", gold.join("\n"));
    let data = ["--data", text(&conll), "--data", text(&jsonl)];
    let report = &lines(&done(with_model(
        "eval",
        &[&data[..], &["--json"]].concat(),
    )))[0];
    assert_eq!(report["sets"][1]["sentiment"]["accuracy"], 0.75, "{report}");
    assert!(report["sets"][1].get("entities").is_none());
    assert_eq!(report["pooled"]["captions"], 6);
    assert_eq!(report["pooled"]["entities"], report["sets"][0]["entities"]);
    assert_eq!(
        report["pooled"]["sentiment"],
        report["sets"][1]["sentiment"]
    );
    let out = done(with_model("eval", &data));
    assert!(
        out.contains("accuracy 75.00") && out.contains("pooled: 6 captions"),
        "{out}"
    );
}

#[test]
fn eval_shows_the_pictures_that_it_is_told_to() {
    let folder = folder();
    let conll = write(folder.path(), "gold.txt", GOLD);
    write(folder.path(), "photos/1.jpg", jpeg([200, 10, 10]));
    write(
        folder.path(),
        "photos/x.png",
        picture(20, 20, [1, 200, 9], ImageFormat::Png),
    );
    write(folder.path(), "photos/notes.txt", "not a picture");
    write(
        folder.path(),
        "posts.jsonl",
        r#"{"text": "a", "image": "photos/x.png", "sentiment": "neutral"}"#,
    );
    let photos = folder.path().join("photos");
    let posts = folder.path().join("posts.jsonl");
    let count = |arguments: &[&str]| {
        let data = ["--json", "--data", text(&conll)];
        let report = lines(&done(with_model("eval", &[&data[..], arguments].concat()))).remove(0);
        report["pooled"]["pictures"].as_u64().expect("a count")
    };
    assert_eq!(count(&[]), 0);
    assert_eq!(count(&["--images", text(&photos)]), 1);
    assert_eq!(count(&["--random-images", text(&photos), "--seed", "3"]), 2);
    assert_eq!(count(&["--random-images", text(&posts)]), 2);
    let report = &lines(&done(with_model(
        "eval",
        &["--json", "--no-images", "--data", text(&posts)],
    )))[0];
    assert_eq!(report["pooled"]["pictures"], 0);
    let error = failed(with_model(
        "eval",
        &["--random-images", text(&conll), "--data", text(&conll)],
    ));
    assert!(error.contains("no picture"), "{error}");
}

#[test]
fn eval_can_split_the_words_anew() {
    let folder = folder();
    // Joined and split again, `Lee!` is two words: the PER survives, as its characters are the first two words'.
    let gold = "Ann\tB-PER\nLee!\tI-PER\nin\tO\n\nAnn\tB-PER\nLee\tI-PER\n\n";
    let path = write(folder.path(), "gold.txt", gold);
    let report = &lines(&done(with_model(
        "eval",
        &["--json", "--resplit", "--data", text(&path)],
    )))[0];
    assert_eq!(report["pooled"]["split_otherwise"], 1, "{report}");
    let micro = &report["pooled"]["entities"]["micro"];
    assert_eq!(
        (&micro["tp"], &micro["predicted"], &micro["gold"]),
        (&json!(1), &json!(3), &json!(2)),
        "{report}"
    );
    assert_eq!(
        report["pooled"]["entities"]["per_type"]["PER"]["predicted"],
        2
    );
}

#[test]
fn eval_needs_labels_that_the_model_has() {
    let folder = folder();
    let path = write(folder.path(), "posts.jsonl", r#"{"text": "a b"}"#);
    let error = failed(with_model("eval", &["--data", text(&path)]));
    assert!(error.contains("no label"), "{error}");
    let error = failed(with_model("eval", &["--data", "missing.txt"]));
    assert!(error.contains("missing.txt"), "{error}");
}
