//! `muse imagine`: pictures of a caption, as a model's image generator paints them.

use std::io::Cursor;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Context;
use image::imageops::{self, FilterType};
use image::{ImageFormat, Rgb, RgbImage};
use muse_core::Caption;
use muse_core::decoders::Describer;
use muse_core::pixel_cnn::SIDE;

use super::{post, read_bytes};
use crate::device::DeviceChoice;
use crate::output;
use crate::train::progress::bar;

/// Pixels between the pictures of a grid, before it is enlarged.
const GAP: usize = 2;

/// What to paint and where to put it.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The text.
    pub caption: String,
    /// The model file, with its image generator.
    pub model: PathBuf,
    /// The PNG.
    pub out: PathBuf,
    /// How many pictures; several make a grid.
    pub pictures: NonZeroUsize,
    /// Of the random numbers.
    pub seed: u64,
    /// How much chance there is: 1 is the model's own measure.
    pub temperature: f64,
    /// How many times a pixel is enlarged.
    pub scale: u32,
    /// Where the caption is read; painting runs on the CPU.
    pub device: DeviceChoice,
}

/// Runs the command.
///
/// # Errors
///
/// When the model cannot be read or has no image generator, when the caption is too long, or when the picture cannot be
/// written.
pub fn run(options: Options) -> anyhow::Result<()> {
    post::check_length(&Caption::Text(options.caption.clone()))?;
    let bytes = read_bytes(&options.model)?;
    let device = options.device.open()?.device;
    let describer = Describer::from_bytes(&bytes, &device)
        .with_context(|| format!("cannot use {} as a model", options.model.display()))?;
    let (generator, condition) = describer
        .read(&options.caption)
        .with_context(|| format!("{} cannot imagine", options.model.display()))?;

    let bar = bar(SIDE, "lines");
    let conditions = condition.repeat_dim(0, options.pictures.get());
    let progress = |lines: usize| {
        bar.set_position(lines as u64);
        ControlFlow::Continue(())
    };
    let painted = generator.sample(
        conditions,
        SIDE,
        options.temperature,
        options.seed,
        progress,
    );
    bar.finish_and_clear();
    let pictures: Vec<RgbImage> = painted
        .context("the painting was interrupted")?
        .into_iter()
        .map(|pixels| {
            RgbImage::from_raw(SIDE as u32, SIDE as u32, pixels)
                .context("the generator painted too little")
        })
        .collect::<anyhow::Result<_>>()?;

    let sheet = grid(&pictures);
    let (width, height) = sheet.dimensions();
    let scale = options.scale;
    let sheet = imageops::resize(&sheet, width * scale, height * scale, FilterType::Nearest);
    let mut png = Cursor::new(Vec::new());
    sheet
        .write_to(&mut png, ImageFormat::Png)
        .context("cannot encode the picture")?;
    output::write_file(&options.out, png.get_ref())
}

/// The pictures in lines, about as many lines as columns, on white.
fn grid(pictures: &[RgbImage]) -> RgbImage {
    let columns = (1..)
        .find(|c| c * c >= pictures.len())
        .unwrap_or(pictures.len());
    let lines = pictures.len().div_ceil(columns);
    let step = SIDE + GAP;
    let side = |count: usize| (count * step - GAP) as u32;
    let mut sheet = RgbImage::from_pixel(side(columns), side(lines), Rgb([255; 3]));
    for (at, picture) in pictures.iter().enumerate() {
        let (x, y) = (at % columns * step, at / columns * step);
        imageops::replace(&mut sheet, picture, x as i64, y as i64);
    }
    sheet
}
