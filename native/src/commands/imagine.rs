//! `muse imagine`: pictures of a caption, as a model's image generator paints them.

use std::io::Cursor;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::builder::TypedValueParser;
use clap::{Args, value_parser};
use image::imageops::{self, FilterType};
use image::{ImageFormat, Rgb, RgbImage};
use muse_core::Caption;
use muse_core::decoders::generator::{SIDE, Sampling};
use muse_core::describer::Describer;

use super::{line, read_bytes};
use crate::device::DeviceChoice;
use crate::output;
use crate::train::progress::bar;
use crate::values::{count, within};

/// Pixels between the pictures of a grid, before it is enlarged.
const GAP: usize = 2;

/// Pictures that are painted side by side. Each keeps what every layer has computed: some 50 MB at the paper's sizes.
const BATCH_SIZE: usize = 16;

/// The greatest number of pixels of what is written, as of a picture that is read.
const MAX_PIXELS: u64 = 64 << 20;

/// What to paint and where to put it.
#[derive(Debug, Args)]
pub struct Options {
    /// The text; of a long one only the beginning is read, 64 word pieces at most
    #[arg(value_name = "TEXT")]
    pub caption: String,
    /// Model file, exported with its decoders
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// The PNG to write
    #[arg(short, long, value_name = "PNG")]
    pub out: PathBuf,
    /// How many pictures; several make a grid
    #[arg(long = "n", value_name = "N", default_value = "1", value_parser = count(1..=256).try_map(NonZeroUsize::try_from))]
    pub pictures: NonZeroUsize,
    /// Where the random numbers begin; each picture has its own
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// How much chance there is: 0 none, 1 as much as the model gives
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = within(0.0_f64..=100.0))]
    pub temperature: f64,
    /// How many times a pixel is enlarged
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..=64))]
    pub scale: u32,
    /// Where the text is read; painting runs on the CPU
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
}

/// Runs the command.
///
/// # Errors
///
/// When the model cannot be read or has no image generator, when the caption is too long or the grid too large, or when the
/// picture cannot be written.
pub fn run(options: Options) -> anyhow::Result<()> {
    line::check_length(&Caption::Text(options.caption.clone()))?;
    let count = options.pictures.get();
    let [width, height] = shape(count).map(|side| side * u64::from(options.scale));
    ensure!(
        width * height <= MAX_PIXELS,
        "{count} pictures enlarged {} times make {width}x{height} pixels, more than {} million; lower --n or --scale",
        options.scale,
        MAX_PIXELS >> 20
    );
    output::check_place(&options.out)?;
    let bytes = read_bytes(&options.model)?;
    let device = options.device.open()?.device;
    let describer = Describer::from_bytes(&bytes, &device)
        .with_context(|| format!("cannot use {} as a model", options.model.display()))?;
    let (generator, condition) = describer
        .generation_inputs(&options.caption)
        .with_context(|| format!("{} cannot imagine", options.model.display()))?;

    warn_of_the_rest(&describer, &options.caption);

    let bar = bar(SIDE * count.div_ceil(BATCH_SIZE), "lines");
    let mut pictures = Vec::with_capacity(count);
    for first in (0..count).step_by(BATCH_SIZE) {
        let sampling = Sampling {
            temperature: options.temperature,
            seed: options.seed,
            first,
        };
        let conditions = condition
            .clone()
            .repeat_dim(0, BATCH_SIZE.min(count - first));
        for pixels in generator.sample(conditions, SIDE, sampling, || bar.inc(1)) {
            let picture = RgbImage::from_raw(SIDE as u32, SIDE as u32, pixels);
            pictures.push(picture.context("the generator painted too little")?);
        }
    }
    bar.finish_and_clear();

    let sheet = imageops::resize(
        &grid(&pictures),
        width as u32,
        height as u32,
        FilterType::Nearest,
    );
    let mut png = Cursor::new(Vec::new());
    sheet
        .write_to(&mut png, ImageFormat::Png)
        .context("cannot encode the picture")?;
    output::write_file(&options.out, png.get_ref())
}

/// The generator reads one window of text.
fn warn_of_the_rest(describer: &Describer, caption: &str) {
    if let Some(read) = describer.words_read(caption) {
        output::tell(format_args!(
            "warning: the text is longer than the model's window; only this is read: {read}"
        ));
    }
}

/// The columns of a grid of so many pictures: about as many as it has lines.
fn columns(pictures: usize) -> usize {
    (1..).find(|c| c * c >= pictures).unwrap_or(pictures)
}

/// Width and height of a grid of so many pictures.
fn shape(pictures: usize) -> [u64; 2] {
    let columns = columns(pictures);
    [columns, pictures.div_ceil(columns)].map(|count| (count * (SIDE + GAP) - GAP) as u64)
}

/// The pictures in lines, on white.
fn grid(pictures: &[RgbImage]) -> RgbImage {
    let [width, height] = shape(pictures.len()).map(|side| side as u32);
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    let columns = columns(pictures.len());
    for (at, picture) in pictures.iter().enumerate() {
        let [x, y] = [at % columns, at / columns].map(|place| place * (SIDE + GAP));
        imageops::replace(&mut sheet, picture, x as i64, y as i64);
    }
    sheet
}
