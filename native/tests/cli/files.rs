//! Model files, the other subcommands, and command lines that make no sense.

use std::path::Path;

use muse_core::exchange::ExchangeRule;
use muse_core::file::Precision;
use muse_tests::write;

use super::{CAPTION, done, failed, folder, lines, model, muse, run, text, with_model};

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
        vec!["train"],
        vec!["nonsense"],
    ] {
        let ran = run(muse(&arguments));
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains("Usage"), "{ran:?}");
    }
    assert!(done(muse(&["--version"])).starts_with("muse "));
}

#[test]
fn export_of_several_models_is_their_mean() {
    let folder = folder();
    let (once, twice) = (folder.path().join("once"), folder.path().join("twice"));
    let export = |models: &[&str], out: &Path| {
        let mut command = muse(&["export"]);
        command
            .args(models)
            .args(["--precision", "f32", "--out", text(out)]);
        done(command);
    };
    let path = model();
    export(&[text(path)], &once);
    export(&[text(path), text(&once)], &twice);
    // The mean of a model with itself is the model, to the byte.
    assert_eq!(std::fs::read(&once).ok(), std::fs::read(&twice).ok());
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/muse-small.muse");
    let out = folder.path().join("never");
    let arguments = ["export", text(path), text(&other), "--precision", "f32"];
    let error = failed(muse(&[&arguments[..], &["--out", text(&out)]].concat()));
    assert!(
        error.contains("muse-small.muse") && error.contains("configuration"),
        "{error}"
    );
    assert!(!out.exists());
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
fn info_tells_the_exchange_s_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.muse");
    for (rule, said) in [
        (ExchangeRule::Add, "in layers 0 to 1\n"),
        (ExchangeRule::Replace, "in layers 0 to 1, rule replace\n"),
    ] {
        let mut model = muse_tests::tiny_model();
        model.config.exchange.rule = rule;
        std::fs::write(&path, model.to_bytes(Precision::F16)).expect("a disk");
        let out = done(muse(&["info", text(&path)]));
        assert!(out.contains(said), "{out}");
    }
}

#[test]
fn the_papers_configuration_has_the_papers_size() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/muse-base.toml");
    let info = &lines(&done(muse(&["info", "--json", text(&config)])))[0];
    let weights = info["weights"].as_u64().expect("a count");
    // The original has 236 M with BERT's pooler, 0.6 M, which is not used here.
    assert!((235_000_000..237_000_000).contains(&weights), "{info}");
    let decoders: u64 = info["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .filter(|part| {
            part["part"]
                .as_str()
                .is_some_and(|name| name.starts_with("decoders"))
        })
        .filter_map(|part| part["weights"].as_u64())
        .sum();
    let inference = weights - decoders;
    assert!((202_000_000..206_000_000).contains(&inference), "{info}");
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
