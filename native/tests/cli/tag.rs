//! `muse tag` with one caption.

use std::path::Path;
use std::process::{Command, Stdio};

use muse_tests::{ImageFormat, picture, write};
use serde_json::{Value, json};

use super::{
    CAPTION, done, failed, feed, folder, jpeg, lines, model, run, succeeded, text, with_model,
};

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
fn of_nothing_there_is_no_sentiment() {
    let answer = &lines(&done(with_model("tag", &["--json", ""])))[0];
    assert_eq!(answer["entities"], json!([]));
    assert_eq!(answer.get("sentiment"), None, "{answer}");
    let out = done(with_model("tag", &[""]));
    assert!(
        out.contains("no entities") && !out.contains("sentiment"),
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
fn closed_or_full_outputs_are_no_panic() {
    let shell = |redirection: &str| {
        let script = format!("\"$0\" tag --model \"$1\" 'Eileen Collins' {redirection}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_muse"), text(model())]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        run(command)
    };
    if Path::new("/dev/full").exists() {
        let ran = shell("> /dev/full");
        assert_eq!(ran.code, 1);
        assert!(
            ran.err
                .starts_with("error: cannot write to standard output"),
            "{ran:?}"
        );
        let ran = shell("--image none.jpg 2> /dev/full");
        assert_eq!(ran.code, 1, "not 101, a panic: {ran:?}");
    }
}
