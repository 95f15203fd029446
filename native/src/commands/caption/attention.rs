//! Where each word of a caption looked, as one picture: the photo, and then once more for each word, lit where it looked.

use std::io::Cursor;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use anyhow::Context;
use image::imageops::{self, FilterType};
use image::{ImageBuffer, ImageFormat, Luma, Rgb, RgbImage};
use muse_core::pixels::Pixels;

/// The longer side of a tile's photo.
const SIDE: u32 = 224;
/// Between tiles, and around them.
const MARGIN: u32 = 8;
/// Height of the line beneath a photo.
const LINE: u32 = 30;
/// Height of the letters.
const LETTERS: f32 = 20.0;
/// Tiles in a row.
const COLUMNS: u32 = 5;
/// How bright the photo is where nothing was looked at.
const DIM: f32 = 0.2;

const PAPER: Rgb<u8> = Rgb([255; 3]);

/// The picture, as a PNG. `looks` are the words, each with the attention of a square grid of regions, row by row.
///
/// # Errors
///
/// When the picture cannot be encoded.
pub(super) fn png(photo: &Pixels, looks: &[(&str, Vec<f32>)]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    draw(photo, looks)?
        .write_to(&mut bytes, ImageFormat::Png)
        .context("cannot encode the picture of the attention")?;
    Ok(bytes.into_inner())
}

fn draw(photo: &Pixels, looks: &[(&str, Vec<f32>)]) -> anyhow::Result<RgbImage> {
    let font = FontRef::try_from_slice(dejavu::sans::regular()).context("the font is damaged")?;
    let photo = small(photo).context("the photo has too few bytes")?;
    let tiles = 1 + looks.len() as u32;
    let columns = tiles.min(COLUMNS);
    // Room for a word beneath a photo that is very narrow.
    let (width, height) = (photo.width().max(SIDE / 2), photo.height() + LINE);
    let mut sheet = RgbImage::from_pixel(
        MARGIN + columns * (width + MARGIN),
        MARGIN + tiles.div_ceil(columns) * (height + MARGIN),
        PAPER,
    );
    let place = |tile: u32| {
        let x = MARGIN + tile % columns * (width + MARGIN);
        let y = MARGIN + tile / columns * (height + MARGIN);
        (x, y)
    };
    let inset = (width - photo.width()) / 2;
    let mut put = |picture: &RgbImage, (x, y): (u32, u32)| {
        imageops::replace(&mut sheet, picture, i64::from(x + inset), i64::from(y));
    };
    put(&photo, place(0));
    for ((_, map), tile) in looks.iter().zip(1..) {
        put(&lit(&photo, map), place(tile));
    }
    for ((word, _), tile) in looks.iter().zip(1..) {
        let (x, y) = place(tile);
        write(&mut sheet, &font, word, (x, y + photo.height()), width);
    }
    Ok(sheet)
}

/// The photo at a tile's size.
fn small(photo: &Pixels) -> Option<RgbImage> {
    let (width, height) = (photo.width as u32, photo.height as u32);
    let photo = RgbImage::from_raw(width, height, photo.rgb.clone())?;
    let longer = f64::from(width.max(height));
    let side = |length: u32| ((f64::from(length) * f64::from(SIDE) / longer).round() as u32).max(1);
    let (to_width, to_height) = (side(width), side(height));
    Some(match longer > f64::from(SIDE) {
        true => imageops::thumbnail(&photo, to_width, to_height),
        false => imageops::resize(&photo, to_width, to_height, FilterType::CatmullRom),
    })
}

/// The photo, brightest where the map is greatest. A map that is the same everywhere leaves it as it is.
fn lit(photo: &RgbImage, map: &[f32]) -> RgbImage {
    let side = map.len().isqrt() as u32;
    let greatest = map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let shares = map.iter().map(|share| share / greatest).collect();
    let mut lit = photo.clone();
    let Some(map) = ImageBuffer::<Luma<f32>, Vec<f32>>::from_raw(side, side, shares) else {
        return lit;
    };
    let map = imageops::resize(&map, photo.width(), photo.height(), FilterType::CatmullRom);
    for (pixel, Luma([share])) in lit.pixels_mut().zip(map.pixels()) {
        // Cubic interpolation swings over.
        let light = DIM + (1.0 - DIM) * share.clamp(0.0, 1.0);
        pixel.0 = pixel
            .0
            .map(|value| (f32::from(value) * light).round() as u8);
    }
    lit
}

/// Writes a word in the middle of a line of this width, smaller when it is too long.
fn write(sheet: &mut RgbImage, font: &FontRef<'_>, word: &str, (x, y): (u32, u32), width: u32) {
    let length = |scale: f32| {
        let font = font.as_scaled(PxScale::from(scale));
        let advance = |c: char| font.h_advance(font.glyph_id(c));
        word.chars().map(advance).sum::<f32>()
    };
    let room = width as f32;
    let scale = LETTERS * (room / length(LETTERS).max(1.0)).min(1.0);
    let scaled = font.as_scaled(PxScale::from(scale));
    let baseline = y as f32 + (LINE as f32 + scaled.ascent() + scaled.descent()) / 2.0;
    let mut at = x as f32 + (room - length(scale)) / 2.0;
    for c in word.chars() {
        let glyph = scaled
            .glyph_id(c)
            .with_scale_and_position(scale, point(at, baseline));
        at += scaled.h_advance(glyph.id);
        let Some(outline) = font.outline_glyph(glyph) else {
            continue;
        };
        let corner = outline.px_bounds().min;
        outline.draw(|dx, dy, cover| {
            let (px, py) = (corner.x + dx as f32, corner.y + dy as f32);
            if px < 0.0 || py < 0.0 {
                return;
            }
            if let Some(pixel) = sheet.get_pixel_mut_checked(px as u32, py as u32) {
                let left = 1.0 - cover.clamp(0.0, 1.0);
                pixel.0 = pixel.0.map(|value| (f32::from(value) * left) as u8);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn white(width: usize, height: usize) -> Pixels {
        Pixels {
            width,
            height,
            rgb: vec![255; 3 * width * height],
        }
    }

    fn ink(sheet: &RgbImage, x: u32, y: u32, width: u32) -> u32 {
        let dark = |&(dx, dy): &(u32, u32)| sheet.get_pixel(x + dx, y + dy).0[0] < 128;
        let all = (0..width).flat_map(|dx| (0..LINE).map(move |dy| (dx, dy)));
        all.filter(dark).count() as u32
    }

    #[test]
    fn a_word_is_lit_where_it_looked() {
        let mut map = vec![0.0; 64];
        map[8 + 6] = 0.75; // second row, seventh column
        let looks = [("a", map), ("sunset", vec![1.0 / 64.0; 64])];
        let sheet = draw(&white(400, 400), &looks).expect("a sheet");
        assert_eq!(sheet.width(), MARGIN + 3 * (SIDE + MARGIN));
        assert_eq!(sheet.height(), 2 * MARGIN + SIDE + LINE);
        let brightness = |tile: u32, row: u32, column: u32| {
            let cell = SIDE / 8;
            let x = MARGIN + tile * (SIDE + MARGIN) + column * cell + cell / 2;
            sheet.get_pixel(x, MARGIN + row * cell + cell / 2).0[0]
        };
        assert_eq!(brightness(0, 5, 1), 255);
        assert!(brightness(1, 1, 6) > 240);
        assert!((50..=52).contains(&brightness(1, 5, 1)));
        // Between the two there are no steps.
        assert!(
            (60..230).contains(
                &sheet
                    .get_pixel(MARGIN + SIDE + MARGIN + 7 * 28, MARGIN + 42)
                    .0[0]
            )
        );
        assert!(brightness(2, 1, 6) > 250 && brightness(2, 5, 1) > 250);
        // The longer word has more ink; the photo alone has none beneath.
        let ink = |tile: u32| ink(&sheet, MARGIN + tile * (SIDE + MARGIN), MARGIN + SIDE, SIDE);
        assert_eq!(ink(0), 0);
        assert!(0 < ink(1) && 2 * ink(1) < ink(2), "{} {}", ink(1), ink(2));
    }

    #[test]
    fn any_photo_and_any_word_fit() {
        let long = "llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch";
        for (width, height) in [(1, 1), (1, 5000), (5000, 1), (3, 2)] {
            let looks: Vec<(&str, Vec<f32>)> = ["", long, "東京 😀", "\u{301}", "a", "b", "c"]
                .map(|word| (word, vec![0.0; 64]))
                .to_vec();
            let sheet = draw(&white(width, height), &looks).expect("a sheet");
            assert!(sheet.width() <= MARGIN + COLUMNS * (SIDE + MARGIN));
            // Nothing of the long word is beside its tile, the third.
            let edge = MARGIN + 3 * (sheet.width() - MARGIN) / COLUMNS;
            let beside = (edge - MARGIN + 2..edge - 2)
                .flat_map(|x| (0..sheet.height()).map(move |y| (x, y)));
            assert!(
                beside
                    .into_iter()
                    .all(|(x, y)| *sheet.get_pixel(x, y) == PAPER)
            );
        }
        let bytes = png(&white(9, 9), &[]).expect("a picture");
        assert!(bytes.starts_with(b"\x89PNG"));
    }
}
