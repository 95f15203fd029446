//! `muse tag` with a stream.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use muse_tests::write;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{CAPTION, done, failed, feed, folder, jpeg, lines, run, succeeded, text, with_model};

/// A folder with a picture and a stream that names it.
fn stream_folder() -> (TempDir, PathBuf) {
    let folder = folder();
    write(folder.path(), "photos/a.jpg", jpeg([200, 10, 10]));
    write(folder.path(), "photos/b.jpg", &jpeg([1, 2, 3])[..50]);
    let stream = [
        r##"{"id": "one", "text": "Eileen Collins at KSC", "lang": "en", "n": 18446744073709551615, "nested": {"a": [1, null]}}"##,
        "nonsense",
        r#"{"id": 2, "text": "Ann Lee", "image": "photos/a.jpg", "sentiment": "gold"}"#,
        "",
        r#"[1, 2]"#,
        r#"{"id": "gone", "text": "Ann Lee", "image": "photos/none.jpg"}"#,
        r#"{"id": "broken", "text": "Ann Lee", "image": "photos/b.jpg"}"#,
        r#"{"words": ["Ann", "Lee", "in", "New York"], "tags": ["O", "O", "O", "O"]}"#,
        r#"{"text": "Ann  Lee!", "words": ["Ann", "Lee", "!"]}"#,
        r#"{"text": ""}"#,
    ];
    let path = write(folder.path(), "posts.jsonl", stream.join("\n"));
    (folder, path)
}

#[test]
fn a_stream_is_answered_line_by_line() {
    let (_folder, path) = stream_folder();
    let out = done(with_model("tag", &["--jsonl", "--input", text(&path)]));
    let answers = lines(&out);
    assert_eq!(answers.len(), 9, "{out}");

    let keys = |value: &Value| {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys(&answers[0]),
        ["id", "text", "lang", "n", "nested", "entities", "sentiment"]
    );
    assert_eq!(answers[0]["n"], json!(u64::MAX));
    assert_eq!(answers[0]["nested"], json!({"a": [1, null]}));
    assert_eq!(answers[0]["entities"][1]["text"], "KSC");

    assert_eq!(
        (&answers[2]["id"], &answers[2]["image"]),
        (&json!(2), &json!("photos/a.jpg"))
    );
    assert!(answers[2]["sentiment"]["label"].is_string());

    for (at, line, message) in [
        (1, 2, "not JSON"),
        (3, 5, "a list"),
        (4, 6, "none.jpg"),
        (5, 7, "b.jpg"),
    ] {
        assert_eq!(answers[at]["line"], line, "{out}");
        assert!(
            answers[at]["error"]
                .as_str()
                .expect("a message")
                .contains(message),
            "{out}"
        );
        assert!(answers[at].get("entities").is_none());
    }
    assert_eq!(
        (&answers[4]["id"], &answers[5]["id"]),
        (&json!("gone"), &json!("broken"))
    );

    // Words: spans are those of the words joined by single spaces; gold tags do not stay beside predictions.
    assert_eq!(keys(&answers[6]), ["words", "entities", "sentiment"]);
    let place = &answers[6]["entities"][1];
    assert_eq!(
        (&place["text"], &place["start"], &place["last_word"]),
        (&json!("New York"), &json!(11), &json!(3))
    );
    // Words with their text: spans are the text's.
    let person = &answers[7]["entities"][0];
    assert_eq!(
        (&person["text"], &person["end"]),
        (&json!("Ann  Lee"), &json!(8))
    );
    assert_eq!(answers[8]["entities"], json!([]));
}

#[test]
fn batches_do_not_change_answers() {
    let folder = folder();
    let photo = write(folder.path(), "a.jpg", jpeg([200, 10, 10]));
    let stream: String = (0..40)
        .map(|i| {
            let caption = ["word"; 13][..i % 13].join(" ");
            match i % 3 {
                0 => format!("{}\n", json!({"id": i, "text": caption, "image": photo})),
                _ => format!("{}\n", json!({"id": i, "text": caption})),
            }
        })
        .collect();
    let answer = |size: &str| {
        let ran = feed(
            with_model("tag", &["--jsonl", "--batch-size", size]),
            stream.as_bytes(),
        );
        lines(&succeeded(ran))
    };
    let (one, many) = (answer("1"), answer("16"));
    assert_eq!((one.len(), many.len()), (40, 40));
    for (one, many) in one.iter().zip(&many) {
        assert_eq!(one["id"], many["id"]);
        let spans = |value: &Value| {
            let list = value["entities"].as_array().expect("entities").clone();
            list.into_iter()
                .map(|e| (e["type"].clone(), e["start"].clone(), e["end"].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(spans(one), spans(many));
        // Of nothing there is none.
        let score = |value: &Value| value["sentiment"]["probabilities"]["neutral"].as_f64();
        let close = match (score(one), score(many)) {
            (Some(one), Some(many)) => (one - many).abs() < 1e-4,
            (None, None) => one["text"] == "" && one["image"].is_null(),
            _ => false,
        };
        assert!(close, "{one} {many}");
    }
}

/// Kills the process when the test fails before it ends.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_slow_producer_has_each_answer_at_once() {
    let mut child = Guard(with_model("tag", &["--jsonl"]).spawn().expect("start"));
    let mut input = child.0.stdin.take().expect("a pipe");
    let output = BufReader::new(child.0.stdout.take().expect("a pipe"));
    let (sender, answers) = std::sync::mpsc::channel();
    std::thread::spawn(move || output.lines().try_for_each(|line| sender.send(line).ok()));
    for i in 0..3 {
        writeln!(input, "{}", json!({"id": i, "text": CAPTION})).expect("written");
        input.flush().expect("flushed");
        // The pipe stays open: only a flushed answer can arrive.
        let answer = answers
            .recv_timeout(Duration::from_secs(60))
            .expect("an answer")
            .expect("a line");
        assert_eq!(
            serde_json::from_str::<Value>(&answer).expect("JSON")["id"],
            i
        );
    }
    drop(input);
    assert!(child.0.wait().expect("the end").success());
}

#[test]
fn a_reader_that_goes_away_ends_the_stream_quietly() {
    let folder = folder();
    let stream = format!("{}\n", json!({"text": CAPTION})).repeat(2000);
    let path = write(folder.path(), "posts.jsonl", stream);
    let mut child = Guard(
        with_model("tag", &["--input", text(&path)])
            .spawn()
            .expect("start"),
    );
    let mut output = BufReader::new(child.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    drop(output);
    let mut errors = String::new();
    let mut stderr = child.0.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut errors).expect("read");
    assert!(child.0.wait().expect("the end").success());
    assert_eq!(errors, "");
}

#[test]
fn odd_streams_do_not_stop_it() {
    let huge = format!("{{\"text\":\"{}\"}}", "x".repeat(17 << 20));
    let mut input = b"\xef\xbb\xbf{\"text\": \"a\"}\r\n\xff\xfe\n".to_vec();
    input.extend_from_slice(huge.as_bytes());
    input.extend_from_slice(b"\n{\"text\": \"b\"}");
    let answers = lines(&succeeded(feed(with_model("tag", &["--jsonl"]), &input)));
    assert_eq!(answers.len(), 4);
    assert!(answers[0]["entities"].is_array());
    assert!(
        answers[1]["error"]
            .as_str()
            .expect("a message")
            .contains("UTF-8")
    );
    assert!(
        answers[2]["error"]
            .as_str()
            .expect("a message")
            .contains("16 MiB")
    );
    assert_eq!(answers[3]["text"], "b");
    assert_eq!(succeeded(feed(with_model("tag", &["--jsonl"]), b"")), "");
    let error = failed(with_model("tag", &["--jsonl", "--input", "missing.jsonl"]));
    assert!(error.contains("missing.jsonl"), "{error}");
}

#[test]
fn conll_labels_data_for_another_training() {
    let (folder, path) = stream_folder();
    let ran = run(with_model("tag", &["--conll", "--input", text(&path)]));
    // What could not be tagged is missing in the output, so the run does not count as a success.
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("line 6: ") && ran.err.contains("4 of the lines"),
        "{ran:?}"
    );
    let expected = "IMGID:one\nEileen\tB-PER\nCollins\tI-PER\nat\tO\nKSC\tB-LOC\n\nIMGID:2\nAnn\tB-PER\nLee\tI-PER\n\n";
    assert!(ran.out.starts_with(expected), "{ran:?}");
    assert!(ran.out.contains("New York\tB-LOC\n"), "{ran:?}");

    let labelled = write(folder.path(), "labelled.txt", &ran.out);
    let report = &lines(&done(with_model(
        "eval",
        &["--json", "--data", text(&labelled)],
    )))[0];
    assert_eq!(report["pooled"]["entities"]["micro"]["f1"], 1.0, "{report}");
    assert_eq!(report["pooled"]["entities"]["micro"]["gold"], 6, "{report}");
}
