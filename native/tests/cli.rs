//! The real binary from end to end, on a tiny model whose answers are known (see `muse_tests`).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use muse_tests::{ImageFormat, picture, write, write_tiny_model};
use serde_json::{Value, json};
use tempfile::TempDir;

const CAPTION: &str = "Eileen Collins at Kennedy Space Center";

/// What a run of the binary left behind.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| write_tiny_model(Path::new(env!("CARGO_TARGET_TMPDIR"))))
}

fn muse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muse"));
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// `muse tag` or `muse eval` with the tiny model.
fn with_model(subcommand: &str, arguments: &[&str]) -> Command {
    let mut command = muse(&[subcommand, "--model"]);
    command.arg(model()).args(arguments);
    command
}

fn feed(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A run that fails early closes the pipe.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the binary ends");
    writer.join().expect("the input is written");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran {
        code: output.status.code().expect("an exit code"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn run(command: Command) -> Ran {
    feed(command, b"")
}

fn done(command: Command) -> String {
    succeeded(run(command))
}

fn succeeded(ran: Ran) -> String {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
}

fn failed(command: Command) -> String {
    let ran = run(command);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.starts_with("error: ") && !ran.err.contains("panicked"),
        "{ran:?}"
    );
    ran.err
}

fn lines(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn jpeg(color: [u8; 3]) -> Vec<u8> {
    picture(90, 60, color, ImageFormat::Jpeg)
}

#[test]
fn a_caption_is_marked_in_plain_text() {
    let out = done(with_model("tag", &[CAPTION]));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0],
        "[Eileen Collins](PER) at [Kennedy Space Center](LOC)"
    );
    assert!(
        lines[2].starts_with("PER  Eileen Collins         0..14  0.99"),
        "{out}"
    );
    assert!(
        lines[3].starts_with("LOC  Kennedy Space Center  18..38  0.99"),
        "{out}"
    );
    assert!(lines[5].starts_with("sentiment: "), "{out}");
    assert_eq!(lines.len(), 6);
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let with = |variables: &[(&str, &str)]| {
        let mut command = with_model("tag", &[CAPTION]);
        command.envs(variables.iter().copied());
        done(command)
    };
    let forced = with(&[("CLICOLOR_FORCE", "1")]);
    assert!(forced.contains("\u{1b}["), "{forced:?}");
    let refused = with(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]);
    assert!(
        !refused.contains('\u{1b}') && refused.contains("](PER)"),
        "{refused:?}"
    );
}

#[test]
fn a_caption_cannot_steer_the_terminal() {
    let hostile = "\u{1b}]0;owned\u{7} Ann\u{9b}2J in\nRome\u{202e}";
    for arguments in [vec![hostile], vec!["--json", hostile]] {
        let mut command = with_model("tag", &arguments);
        command.env("CLICOLOR_FORCE", "1");
        let out = done(command);
        for c in ['\u{7}', '\u{9b}', '\u{202e}'] {
            assert!(!out.contains(c), "{c:?} in {out:?}");
        }
        assert!(!out.contains("\u{1b}]"), "{out:?}");
    }
    // Nor can a name in an error.
    let error = failed(with_model("tag", &["--image", "no\u{1b}[31mfile.jpg", "a"]));
    assert!(!error.contains('\u{1b}'), "{error:?}");
}

#[test]
fn json_counts_unicode_scalars() {
    let caption = "😀 Zoe\u{301} ist in 東京 ";
    let out = done(with_model("tag", &["--json", caption]));
    let answers = lines(&out);
    assert_eq!(answers.len(), 1);
    let answer = &answers[0];
    assert_eq!(answer["text"], caption);
    let scalars: Vec<char> = caption.chars().collect();
    let entities = answer["entities"].as_array().expect("entities");
    assert!(!entities.is_empty());
    for entity in entities {
        let place = |name: &str| entity[name].as_u64().expect("a number") as usize;
        let slice: String = scalars[place("start")..place("end")].iter().collect();
        assert_eq!(entity["text"], slice);
    }
    assert_eq!(entities[0]["type"], "PER");
    assert_eq!(entities[0]["start"], 0);
    assert_eq!(entities[0]["text"], "😀 Zoe\u{301}");
    let probabilities = answer["sentiment"]["probabilities"]
        .as_object()
        .expect("classes");
    let names: Vec<&String> = probabilities.keys().collect();
    assert_eq!(names, ["negative", "neutral", "positive"]);
    let sum: f64 = probabilities.values().filter_map(Value::as_f64).sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");
}

#[test]
fn the_threshold_hides_entities_and_their_tags() {
    let out = done(with_model("tag", &["--json", "--threshold", "1", CAPTION]));
    assert_eq!(lines(&out)[0]["entities"], json!([]));
    let out = done(with_model(
        "tag",
        &["--conll", "--threshold", "1", "Eileen Collins"],
    ));
    assert_eq!(out, "Eileen\tO\nCollins\tO\n\n");
    let out = done(with_model("tag", &["--threshold", "1", CAPTION]));
    assert!(
        out.starts_with(CAPTION) && out.contains("no entities"),
        "{out}"
    );
}

#[test]
fn a_caption_comes_from_standard_input() {
    let ran = feed(
        with_model("tag", &["--conll", "-"]),
        "Eileen Collins\r\n".as_bytes(),
    );
    assert_eq!(succeeded(ran), "Eileen\tB-PER\nCollins\tI-PER\n\n");
    let ran = feed(with_model("tag", &["-"]), b"\xff\xfe");
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("not UTF-8"), "{ran:?}");
}

#[test]
fn an_empty_caption_has_a_sentiment() {
    let answer = &lines(&done(with_model("tag", &["--json", ""])))[0];
    assert_eq!(answer["entities"], json!([]));
    assert!(answer["sentiment"]["label"].is_string());
    let out = done(with_model("tag", &[""]));
    assert!(
        out.contains("no entities") && out.contains("sentiment: "),
        "{out}"
    );
}

#[test]
fn a_long_caption_is_tagged_to_its_end() {
    let caption = vec!["word"; 500].join(" ");
    let answer = &lines(&done(with_model("tag", &["--json", &caption])))[0];
    let last = answer["entities"]
        .as_array()
        .and_then(|list| list.last())
        .expect("an entity");
    assert_eq!(last["end"], caption.len());
}

#[test]
fn the_picture_counts_whatever_its_format() {
    let folder = folder();
    let sentiment = |image: Option<&Path>| {
        let mut command = with_model("tag", &["--json", CAPTION]);
        command.args(
            image
                .map(|path| ["--image", text(path)])
                .into_iter()
                .flatten(),
        );
        lines(&done(command))[0]["sentiment"].clone()
    };
    let without = sentiment(None);
    for (name, format) in [
        ("a.jpg", ImageFormat::Jpeg),
        ("a.png", ImageFormat::Png),
        ("a.gif", ImageFormat::Gif),
        ("a.webp", ImageFormat::WebP),
    ] {
        let path = write(folder.path(), name, picture(90, 60, [250, 40, 20], format));
        assert_ne!(sentiment(Some(&path)), without, "{name}");
    }
}

#[test]
fn a_picture_that_cannot_be_read_is_an_error() {
    let folder = folder();
    let broken = write(folder.path(), "broken.jpg", &jpeg([9, 9, 9])[..100]);
    let words = write(folder.path(), "words.txt", "not a picture");
    for path in [
        broken.as_path(),
        &words,
        Path::new("missing.jpg"),
        folder.path(),
    ] {
        let error = failed(with_model("tag", &["--image", text(path), "a"]));
        assert!(
            error.contains(text(path)) && error.contains("as a picture"),
            "{error}"
        );
    }
}

#[test]
fn what_is_no_model_is_an_error() {
    let folder = folder();
    let bytes = std::fs::read(model()).expect("the model");
    let cut = write(folder.path(), "cut.muse", &bytes[..bytes.len() / 2]);
    let empty = write(folder.path(), "empty.muse", "");
    for path in [
        cut.as_path(),
        &empty,
        Path::new("missing.muse"),
        folder.path(),
    ] {
        let path = text(path);
        for arguments in [
            vec!["tag", "--model", path, "a"],
            vec!["info", path],
            vec!["export", path, "--out", "never.muse", "--precision", "f32"],
        ] {
            let error = failed(muse(&arguments));
            assert!(error.contains(path), "{error}");
        }
    }
    assert!(!Path::new("never.muse").exists());
}

#[test]
fn senseless_command_lines_end_with_2() {
    for arguments in [
        vec!["tag", "a"],
        vec!["tag", "--model", "m"],
        vec!["tag", "--model", "m", "--jsonl", "a"],
        vec!["train", "c.toml"],
        vec!["nonsense"],
    ] {
        let ran = run(muse(&arguments));
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains("Usage"), "{ran:?}");
    }
    assert!(done(muse(&["--version"])).starts_with("muse "));
}

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
        let score = |value: &Value| {
            value["sentiment"]["probabilities"]["neutral"]
                .as_f64()
                .expect("a score")
        };
        assert!((score(one) - score(many)).abs() < 1e-4, "{one} {many}");
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
    std::io::Read::read_to_string(&mut stderr, &mut errors).expect("read");
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
        .map(|i| json!({"text": vec!["word"; i].join(" ")}).to_string())
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

#[test]
fn export_shrinks_a_model_and_keeps_its_answers() {
    let folder = folder();
    let whole = std::fs::metadata(model()).expect("the model").len();
    let mut sizes = Vec::new();
    for precision in ["f32", "f16", "int8"] {
        let path = folder.path().join(precision);
        let mut command = muse(&["export"]);
        command
            .arg(model())
            .args(["--precision", precision, "--out", text(&path)]);
        done(command);
        sizes.push(std::fs::metadata(&path).expect("the export").len());
        let out = done(muse(&["tag", "--model", text(&path), CAPTION]));
        assert!(
            out.starts_with("[Eileen Collins](PER) at [Kennedy Space Center](LOC)\n"),
            "{precision}: {out}"
        );
        let info = &lines(&done(muse(&["info", "--json", text(&path)])))[0];
        let expected = if precision == "int8" {
            "8-bit"
        } else {
            precision
        };
        assert_eq!(info["file"]["precision"], expected);
    }
    assert_eq!(sizes[0], whole);
    assert!(
        sizes[1] < whole * 6 / 10 && sizes[2] < whole * 4 / 10,
        "{sizes:?}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("list").count(),
        3,
        "no file is left over"
    );
}

#[test]
fn info_counts_weights_by_part() {
    let mut command = muse(&["info"]);
    command.arg(model());
    let out = done(command);
    for expected in [
        "text encoder",
        "cross transformer, layer 1",
        "B-PER",
        "efficientnet-lite0",
        "total",
    ] {
        assert!(out.contains(expected), "{out}");
    }
    let mut command = muse(&["info", "--json"]);
    command.arg(model());
    let info = &lines(&done(command))[0];
    let sum: u64 = info["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .filter_map(|part| part["weights"].as_u64())
        .sum();
    assert_eq!(info["weights"], sum);
    assert_eq!(info["config"]["text"]["hidden_size"], 32);
    let image = info["parts"]
        .as_array()
        .and_then(|parts| parts.iter().find(|part| part["part"] == "image encoder"));
    // EfficientNet-Lite0's 3.37 million convolution weights, with the statistics of its normalisations.
    assert!(
        image
            .and_then(|part| part["weights"].as_u64())
            .is_some_and(|n| (3_300_000..3_500_000).contains(&n))
    );
}

#[test]
fn the_papers_configuration_has_the_papers_size() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/muse-base.toml");
    let info = &lines(&done(muse(&["info", "--json", text(&config)])))[0];
    let weights = info["weights"].as_u64().expect("a count");
    assert!((202_000_000..206_000_000).contains(&weights), "{info}");
}

#[test]
fn the_gpu_is_an_error_where_there_is_none_and_never_a_panic() {
    let mut command = with_model("tag", &["--device", "gpu", "--json", CAPTION]);
    // No driver at all.
    command
        .env("VK_ICD_FILENAMES", "/nonexistent")
        .env("VK_DRIVER_FILES", "/nonexistent");
    command.env_remove("CUBECL_WGPU_DEFAULT_DEVICE");
    let ran = run(command);
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    assert!(ran.code == 0 || ran.err.contains("--device cpu"), "{ran:?}");
    let mut command = with_model("tag", &["--device", "auto", "--json", CAPTION]);
    command
        .env("VK_ICD_FILENAMES", "/nonexistent")
        .env("VK_DRIVER_FILES", "/nonexistent");
    let ran = run(command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("device: "), "{ran:?}");
}
