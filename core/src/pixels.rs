//! Pictures: from the bytes of a file to the CNN's input.

#[cfg(test)]
mod tests;

use std::io::Cursor;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::validate::{self, ConfigError};

/// The largest picture that is decoded, in pixels: 64 Mi, such as 8192×8192. Its decoded form takes 192 MiB, or 512 MiB
/// in the widest colour type there is.
pub const MAX_PIXELS: u64 = 64 << 20;

/// How a picture becomes the CNN's input: stretched to a square, then `(rgb - mean) / std` on 0..255.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImagePreparation {
    /// Side of the square in pixels.
    pub size: usize,
    /// Mean of each channel, R, G, B, on 0..255.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, on 0..255.
    pub std: [f32; 3],
}

impl ImagePreparation {
    /// Checks the settings, which may come from a damaged or hostile file.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::range("size", self.size, 32..=1 << 11)?;
        match self.std.iter().all(|&s| s > 0.0 && s.is_finite()) {
            true => Ok(()),
            false => Err(ConfigError::new("std", "must be above 0")),
        }
    }
}

/// A decoded picture, upright and opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Width in pixels, at least 1.
    pub width: usize,
    /// Height in pixels, at least 1.
    pub height: usize,
    /// `height × width × 3` bytes: R, G, B, row by row from the top.
    pub rgb: Vec<u8>,
}

/// Why a picture was not decoded.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The first bytes are not those of a format that is read.
    #[error("not a JPEG, PNG, WebP or GIF picture")]
    UnknownFormat,
    /// The header announces more than [`MAX_PIXELS`].
    #[error(
        "the picture has {width}×{height} pixels, which is too large (at most {MAX_PIXELS} in all); make it smaller first"
    )]
    TooLarge {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// The header announces no pixel at all.
    #[error("the picture is empty ({width}×{height} pixels)")]
    Empty {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// The bytes of raw pixels are more or fewer than their size says.
    #[error("{bytes} bytes are not those of {width}×{height} RGBA pixels")]
    Length {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Bytes that there are.
        bytes: usize,
    },
    /// Its content is damaged, cut short, or of a rare kind.
    #[error("cannot decode this {format:?} picture: {source}")]
    Decode {
        /// What its first bytes say it is.
        format: ImageFormat,
        /// What the decoder found.
        source: image::ImageError,
    },
}

impl Pixels {
    /// From `height × width` RGBA pixels (alpha not multiplied in), row by row from the top; laid over white.
    ///
    /// # Errors
    /// [`ImageError::Empty`], [`ImageError::TooLarge`] and [`ImageError::Length`].
    pub fn from_rgba(rgba: &[u8], width: usize, height: usize) -> Result<Self, ImageError> {
        within_bounds(width, height)?;
        let bytes = rgba.len();
        if bytes != 4 * width * height {
            return Err(ImageError::Length {
                width,
                height,
                bytes,
            });
        }
        let rgb = over_white(rgba);
        Ok(Self { width, height, rgb })
    }
}

/// Decodes a JPEG, PNG, WebP or GIF (its first frame) of any colour type. EXIF orientation is obeyed, transparent parts
/// are laid over white. A JPEG whose end is missing is taken as far as it goes, as browsers do.
///
/// # Errors
/// See [`ImageError`]; the size is checked before anything is decoded.
pub fn decode(bytes: &[u8]) -> Result<Pixels, ImageError> {
    let format = image::guess_format(bytes).map_err(|_| ImageError::UnknownFormat)?;
    let readable = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
    ];
    if !readable.contains(&format) {
        return Err(ImageError::UnknownFormat);
    }
    let failed = |source| ImageError::Decode { format, source };

    // Before any decoder, which may refuse a large picture without telling its size.
    if let Ok(size) = imagesize::blob_size(bytes) {
        within_bounds(size.width, size.height)?;
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(8 * MAX_PIXELS); // the widest colour type: four channels of 16 bits
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    within_bounds(width as usize, height as usize)?;
    // A photo with a broken EXIF block is still a photo.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    picture.apply_orientation(orientation);

    Ok(Pixels {
        width: picture.width() as usize,
        height: picture.height() as usize,
        rgb: match picture.color().has_alpha() {
            true => over_white(&picture.into_rgba8()),
            false => picture.into_rgb8().into_raw(),
        },
    })
}

/// Refuses what has no pixel, or more than [`MAX_PIXELS`].
fn within_bounds(width: usize, height: usize) -> Result<(), ImageError> {
    match width.checked_mul(height) {
        Some(0) => Err(ImageError::Empty { width, height }),
        Some(pixels) if pixels as u64 <= MAX_PIXELS => Ok(()),
        _ => Err(ImageError::TooLarge { width, height }),
    }
}

/// RGB of RGBA pixels.
fn over_white(rgba: &[u8]) -> Vec<u8> {
    let (pixels, _) = rgba.as_chunks::<4>();
    pixels
        .iter()
        .flat_map(|&[r, g, b, alpha]| {
            let alpha = u16::from(alpha);
            [r, g, b].map(|c| ((u16::from(c) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
        })
        .collect()
}

/// The CNN's input, `[3, S, S]` row-major: the picture stretched to the square, then `(rgb - mean) / std`.
///
/// The filter is the triangle ("bilinear") widened by the reduction, so that every pixel counts (antialiased), on 8-bit
/// values; the same as Pillow's `BILINEAR`.
///
/// # Panics
/// When `pixels.rgb` does not have `width × height × 3` bytes; those of [`decode`] always have.
pub fn prepare(pixels: &Pixels, preparation: &ImagePreparation) -> Vec<f32> {
    let size = preparation.size;
    let source = ImageRef::new(
        pixels.width as u32,
        pixels.height as u32,
        &pixels.rgb,
        PixelType::U8x3,
    )
    .expect("a picture has width × height × 3 bytes");
    let mut square = Image::new(size as u32, size as u32, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new()
        .resize(&source, &mut square, &options)
        .expect("both pictures are RGB of 8 bits");

    let plane = size * size;
    let mut input = vec![0.0; 3 * plane];
    let (rgb, _) = square.buffer().as_chunks::<3>();
    for (channel, values) in input.chunks_exact_mut(plane.max(1)).enumerate() {
        let (mean, std) = (preparation.mean[channel], preparation.std[channel]);
        for (value, pixel) in values.iter_mut().zip(rgb) {
            *value = (f32::from(pixel[channel]) - mean) / std;
        }
    }
    input
}
