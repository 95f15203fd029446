//! `muse imagine`, with a generator whose last layer knows nothing of the text (what it reads is tested with the describer).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use burn::tensor::Device;
use image::RgbImage;
use muse_core::decoders::generator::PixelCnnConfig;
use muse_core::decoders::{Decoders, DecodersConfig};
use muse_core::file::Precision;
use muse_tests::{tiny_model, write};

use super::{done, failed, folder, model, muse, text};

/// The tiny model with a generator of one logistic, whose last layer gives its bias alone: red about 200, of little
/// spread; green 100 less than red; blue of much spread.
fn painter() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| {
        let mut model = tiny_model();
        let config = DecodersConfig {
            noise: 1.0,
            blind: false,
            captioner: None,
            generator: Some(PixelCnnConfig {
                blocks: 1,
                filters: 4,
                mixtures: 1,
                dropout: 0.5,
            }),
        };
        let d = model.config.text.width();
        let decoders = Decoders::new(&config, d, &Device::flex());
        model.state.extend(decoders.state());
        let mut set = |name: &str, values: &[f32]| {
            let name = format!("decoders.generator.last.{name}");
            let tensor = model.state.get_mut(&name).expect(&name);
            tensor.data = values.to_vec();
        };
        set("gain", &[0.0; 10]);
        let red = 200.0 / 127.5 - 1.0;
        let green = -100.0 / 127.5; // and the whole of red
        set(
            "bias",
            &[0.0, red, -4.0, 20.0, green, -7.0, 0.0, 0.0, -1.0, 0.0],
        );
        model.config.decoders = Some(config);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        write(folder, "painter.muse", model.to_bytes(Precision::F32))
    })
}

fn imagine(out: &Path, arguments: &[&str]) -> Command {
    let mut command = muse(&["imagine", "a red boat", "-o", text(out), "--model"]);
    command.arg(painter()).args(arguments);
    command
}

fn painted(out: &Path, arguments: &[&str]) -> RgbImage {
    assert_eq!(done(imagine(out, arguments)), "");
    image::open(out).expect("a PNG").into_rgb8()
}

#[test]
fn a_picture_follows_the_models_numbers() {
    let folder = folder();
    let out = folder.path().join("boat.png");
    let sheet = painted(&out, &["--scale", "1"]);
    assert_eq!(sheet.dimensions(), (32, 32));
    let mut blues = Vec::new();
    let mut reds = Vec::new();
    for pixel in sheet.pixels() {
        let [red, green, blue] = pixel.0;
        assert!(
            (i32::from(red) - i32::from(green) - 100).abs() <= 1,
            "{pixel:?}"
        );
        reds.push(f64::from(red));
        blues.push(blue);
    }
    let mean = reds.iter().sum::<f64>() / reds.len() as f64;
    assert!((mean - 200.0).abs() < 1.0, "{mean}");
    assert!(blues.contains(&0) && blues.contains(&255));
    // Without chance every pixel is the mean.
    let still = painted(&out, &["--scale", "1", "--temperature", "0"]);
    assert!(still.pixels().all(|pixel| pixel.0 == [200, 100, 128]));
}

#[test]
fn several_pictures_make_a_grid_of_which_the_first_is_the_one_alone() {
    let folder = folder();
    let out = folder.path().join("boats.png");
    let one = painted(&out, &["--seed", "3"]);
    assert_eq!(one.dimensions(), (256, 256));
    let grid = painted(&out, &["--seed", "3", "--n", "5"]);
    assert_eq!(grid.dimensions(), (8 * 100, 8 * 66));
    assert_eq!(
        one,
        image::imageops::crop_imm(&grid, 0, 0, 256, 256).to_image()
    );
    let second = image::imageops::crop_imm(&grid, 8 * 34, 0, 256, 256).to_image();
    assert_ne!(one, second);
    assert_eq!(grid.get_pixel(8 * 99, 8 * 65).0, [255; 3]); // a sixth there is not
    assert_eq!(one, painted(&out, &["--seed", "3"]));
    assert_ne!(one, painted(&out, &["--seed", "4"]));
}

#[test]
fn many_pictures_are_painted_in_parts_and_are_the_same() {
    let folder = folder();
    let out = folder.path().join("boats.png");
    let tile = |sheet: &RgbImage, at: u32, columns: u32| {
        let (x, y) = (at % columns * 34, at / columns * 34);
        image::imageops::crop_imm(sheet, x, y, 32, 32).to_image()
    };
    let many = painted(&out, &["--scale", "1", "--n", "17"]);
    assert_eq!(many.dimensions(), (5 * 34 - 2, 4 * 34 - 2));
    let few = painted(&out, &["--scale", "1", "--n", "3"]);
    for at in 0..3 {
        assert_eq!(tile(&many, at, 5), tile(&few, at, 2));
    }
    let tiles: std::collections::BTreeSet<_> =
        (0..17).map(|at| tile(&many, at, 5).into_raw()).collect();
    assert_eq!(tiles.len(), 17);
}

#[test]
fn faults_are_told() {
    let folder = folder();
    let out = folder.path().join("boat.png");
    let error = failed(muse(&[
        "imagine",
        "x",
        "-o",
        text(&out),
        "--model",
        text(model()),
    ]));
    assert!(error.contains(text(model())), "{error}");
    assert!(error.contains("--with-decoders"), "{error}");
    assert!(error.contains("train.weights.generation"), "{error}");
    assert!(!out.exists());
    let nowhere = folder.path().join("no/such/folder.png");
    let error = failed(imagine(&nowhere, &["--scale", "1"]));
    assert!(error.contains(text(&nowhere)), "{error}");
    let error = failed(imagine(&out, &["--n", "256", "--scale", "64"]));
    assert!(
        error.contains("34688x34688") && error.contains("--scale"),
        "{error}"
    );
    let long = "red boats ".repeat(80);
    let mut command = muse(&["imagine", &long, "-o", text(&out), "--model"]);
    command.arg(painter());
    let ran = super::run(command);
    assert!(
        ran.code == 0 && ran.err.contains("only this is read: red boats"),
        "{ran:?}"
    );
    assert!(ran.err.len() < long.len());
    // A caption of no words is a caption.
    let mut silent = muse(&["imagine", "", "-o", text(&out), "--model"]);
    silent.arg(painter());
    done(silent);
    assert!(out.exists());
}
