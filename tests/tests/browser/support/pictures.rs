//! Pictures, good and bad.

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::{Frame, GrayImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

pub(crate) fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, format)
        .expect("the picture is encoded");
    bytes.into_inner()
}

/// Two colours, one above the other, so that it matters how it is turned.
pub(crate) fn halves(width: u32, height: u32, above: [u8; 3], below: [u8; 3]) -> RgbImage {
    RgbImage::from_fn(width, height, |_, y| {
        Rgb(if y < height / 2 { above } else { below })
    })
}

/// A photograph of a kind.
pub(crate) fn photo() -> Vec<u8> {
    let picture = RgbImage::from_fn(320, 240, |x, y| {
        Rgb([
            (x * 255 / 320) as u8,
            (y * 255 / 240) as u8,
            ((x ^ y) & 255) as u8,
        ])
    });
    encoded(&picture, ImageFormat::Jpeg)
}

/// A PNG of one grey; few bytes for many pixels.
pub(crate) fn grey_png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::new(width, height)
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("the picture is encoded");
    bytes.into_inner()
}

/// A PNG whose header, with a right checksum, claims another size than its data has.
pub(crate) fn claiming_png(width: u32, height: u32) -> Vec<u8> {
    // Signature (8), length of the header (4), its name (4), width, height, five more bytes, checksum.
    let mut bytes = grey_png(8, 8);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

/// A GIF that shows these colours one after the other.
pub(crate) fn gif(width: u32, height: u32, colors: &[[u8; 3]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frames = colors
        .iter()
        .map(|&[r, g, b]| Frame::new(RgbaImage::from_pixel(width, height, Rgba([r, g, b, 255]))));
    GifEncoder::new(&mut bytes)
        .encode_frames(frames)
        .expect("the GIF is encoded");
    bytes
}

/// The JPEG with an EXIF block that says how it is to be turned.
pub(crate) fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let exif = [
        &b"Exif\0\0"[..],
        b"MM\0\x2a\0\0\0\x08", // big-endian TIFF, its first table at 8
        b"\0\x01\x01\x12\0\x03\0\0\0\x01", // one entry: orientation, a short, one of it
        &[0, orientation, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let length = u16::try_from(exif.len() + 2).expect("a short block");
    let mut bytes = jpeg[..2].to_vec(); // start of image
    bytes.extend([0xFF, 0xE1]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&jpeg[2..]);
    bytes
}
