//! `muse caption`, with a model that says one sentence whatever it sees.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use burn::tensor::Device;
use muse_core::decoders::captioner::{CaptionerConfig, END, START, Vocabulary};
use muse_core::decoders::{CaptionerDecoder, Decoders, DecodersConfig};
use muse_core::file::Precision;
use muse_core::weights::NamedTensor;
use muse_tests::{ImageFormat, picture, tiny_model, write};
use serde_json::Value;

use super::{done, failed, folder, jpeg, lines, model, muse, text};

const SENTENCE: &str = "collins at space center # ab !";

/// The tiny model with a captioner that is a Markov chain: an LSTM that remembers the last token and nothing else.
fn speaker() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| {
        let mut model = tiny_model();
        let d = model.config.text.width();
        let words: Vec<&str> = SENTENCE.split(' ').collect();
        let pieces = model.tokenizer.encode_words(&words).concat();
        let vocabulary = Vocabulary::new([&pieces], 1);
        let sentence = vocabulary.encode(&pieces);
        let tokens = vocabulary.len();
        let config = DecodersConfig {
            noise: 1.0,
            blind: false,
            captioner: Some(CaptionerDecoder {
                sizes: CaptionerConfig {
                    attention: 8,
                    embedding: tokens,
                    hidden: tokens,
                    dropout: 0.5,
                },
                vocabulary,
            }),
            generator: None,
        };
        let decoders = Decoders::new(&config, d, &Device::flex());
        model.state.extend(decoders.state());
        let mut set = |name: &str, value: &dyn Fn(usize) -> f32| {
            let name = format!("decoders.captioner.{name}");
            let tensor: &mut NamedTensor = model.state.get_mut(&name).expect(&name);
            let numbers = tensor.data.iter_mut().enumerate();
            numbers.for_each(|(at, number)| *number = value(at));
        };
        let open = |yes: bool| if yes { 20.0 } else { -20.0 };
        set("embedding.weight", &|at| {
            f32::from(u8::from(at / tokens == at % tokens))
        });
        // Gates i, f, g, o: all of the token is let in, nothing is kept.
        set(
            "lstm.token.weight",
            &|at| match (at / (4 * tokens), at % (4 * tokens)) {
                (token, gate) if gate == 2 * tokens + token => 20.0,
                _ => 0.0,
            },
        );
        set("lstm.token.bias", &|at| match at / tokens {
            2 => 0.0,
            gate => open(gate != 1),
        });
        set("lstm.context.weight", &|_| 0.0);
        set("lstm.hidden.weight", &|_| 0.0);
        set("vocabulary.bias", &|_| 0.0);
        set("vocabulary.weight", &|at| {
            let step = [(at / tokens) as u32, (at % tokens) as u32];
            let said = sentence.array_windows::<2>().any(|pair| *pair == step);
            f32::from(u8::from(said)) * 10.0
        });
        assert_eq!((sentence[0], sentence[sentence.len() - 1]), (START, END));
        model.config.decoders = Some(config);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        write(folder, "speaker.muse", model.to_bytes(Precision::F16))
    })
}

fn caption(photo: &Path, arguments: &[&str]) -> Command {
    let mut command = muse(&["caption", text(photo), "--model"]);
    command.arg(speaker()).args(arguments);
    command
}

#[test]
fn a_photo_is_captioned() {
    let folder = folder();
    let photo = write(folder.path(), "photo.jpg", jpeg([200, 30, 30]));
    assert_eq!(done(caption(&photo, &[])), "collins at space center #ab!\n");
    assert_eq!(
        done(caption(&photo, &["--beams", "1"])),
        "collins at space center #ab!\n"
    );
    assert_eq!(
        done(caption(&photo, &["--max-len", "3"])),
        "collins at space\n"
    );
}

#[test]
fn json_holds_the_alternatives() {
    let folder = folder();
    let photo = write(folder.path(), "photo.jpg", jpeg([200, 30, 30]));
    let out = done(caption(&photo, &["--json", "--beams", "3"]));
    let answer = &lines(&out)[0];
    assert_eq!(answer["caption"], "collins at space center #ab!");
    assert_eq!(answer["image"], text(&photo));
    let all = answer["alternatives"].as_array().expect("a list");
    assert_eq!(all.len(), 3);
    assert_eq!(all[0]["text"], answer["caption"]);
    assert_eq!(
        all[0]["tokens"],
        serde_json::json!(["collins", "at", "space", "center", "#", "a", "##b", "!"])
    );
    assert_eq!(all[0]["ended"], true);
    for (before, other) in all.iter().zip(&all[1..]) {
        let score = |said: &Value| said["score"].as_f64().expect("a number");
        assert!(score(other) < score(before));
        assert_ne!(other["text"], answer["caption"]);
    }
    let sure = all[0]["log_probability"].as_f64().expect("a number");
    assert!((-0.1..0.0).contains(&sure));
}

#[test]
fn the_attention_is_drawn() {
    let folder = folder();
    let photo = write(
        folder.path(),
        "photo.png",
        picture(120, 60, [250, 250, 250], ImageFormat::Png),
    );
    let out = folder.path().join("attention.png");
    done(caption(&photo, &["--attention", text(&out)]));
    let drawn = image::open(&out).expect("a PNG").into_rgb8();
    // The photo and seven words, five to a row.
    assert_eq!(drawn.dimensions(), (5 * 232 + 8, 2 * (112 + 30 + 8) + 8));
    // The photo's bright side is to the right, in every tile: the model looks at all regions alike, and nothing is dimmed.
    for tile in [0, 1, 4] {
        assert!(drawn.get_pixel(tile * 232 + 8 + 220, 8 + 50).0[0] > 200);
        assert!(drawn.get_pixel(tile * 232 + 8 + 20, 8 + 50).0[0] < 60);
    }
    let nowhere = folder.path().join("no/such/folder.png");
    let error = failed(caption(&photo, &["--attention", text(&nowhere)]));
    assert!(error.contains(text(&nowhere)), "{error}");
}

#[test]
fn a_model_without_a_captioner_says_what_to_do() {
    let folder = folder();
    let photo = write(folder.path(), "photo.jpg", jpeg([200, 30, 30]));
    let error = failed(muse(&["caption", text(&photo), "--model", text(model())]));
    assert!(error.contains(text(model())), "{error}");
    assert!(error.contains("--with-decoders"), "{error}");
    assert!(error.contains("train.weights.captioning"), "{error}");
    let error = failed(caption(speaker(), &[]));
    assert!(error.contains("as a picture"), "{error}");
}
