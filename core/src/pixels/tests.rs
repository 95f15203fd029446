use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, Frame, ImageBuffer, ImageEncoder, Luma, LumaA, Rgb, Rgba};

use super::*;

fn encode(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .into()
        .write_to(&mut bytes, format)
        .expect("the picture is encoded");
    bytes.into_inner()
}

/// Two pixels: red, then blue.
fn red_blue() -> image::RgbImage {
    ImageBuffer::from_raw(2, 1, vec![255, 0, 0, 0, 0, 255]).expect("two pixels")
}

fn gradient(width: u32, height: u32) -> image::RgbImage {
    ImageBuffer::from_fn(width, height, |x, y| {
        Rgb([(x * 9) as u8, (y * 11) as u8, (x * y) as u8])
    })
}

fn decoded(bytes: &[u8]) -> Pixels {
    decode(bytes).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn lossless_formats_keep_every_pixel() {
    let picture = gradient(24, 17);
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let pixels = decoded(&encode(picture.clone(), format));
        assert_eq!((pixels.width, pixels.height), (24, 17));
        assert_eq!(pixels.rgb, *picture.as_raw(), "{format:?}");
    }
    let pixels = decoded(&encode(picture.clone(), ImageFormat::Jpeg));
    let far = pixels.rgb.iter().zip(picture.as_raw());
    let far: u32 = far.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    assert!(far < 10 * 3 * 24 * 17, "{far}");
}

#[test]
fn the_first_frame_of_a_gif() {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for color in [[255, 0, 0, 255], [0, 255, 0, 255]] {
        let frame = ImageBuffer::from_pixel(3, 2, Rgba(color));
        encoder
            .encode_frame(Frame::new(frame))
            .expect("a frame is encoded");
    }
    drop(encoder);
    let pixels = decoded(&bytes);
    assert_eq!((pixels.width, pixels.height), (3, 2));
    assert_eq!(pixels.rgb, [255, 0, 0].repeat(6));
}

#[test]
fn every_colour_type_becomes_rgb() {
    let grey = ImageBuffer::from_pixel(1, 1, Luma([100_u8]));
    let grey16 = ImageBuffer::from_pixel(1, 1, Luma([100_u16 * 257]));
    let grey_alpha = ImageBuffer::from_pixel(1, 1, LumaA([100_u8, 255]));
    let rgb16 = ImageBuffer::from_pixel(1, 1, Rgb([100_u16 * 257; 3]));
    let rgba16 = ImageBuffer::from_pixel(1, 1, Rgba([100 * 257, 100 * 257, 100 * 257, u16::MAX]));
    let pictures: [DynamicImage; 5] = [
        grey.into(),
        grey16.into(),
        grey_alpha.into(),
        rgb16.into(),
        rgba16.into(),
    ];
    for picture in pictures {
        let kind = picture.color();
        let pixels = decoded(&encode(picture, ImageFormat::Png));
        assert_eq!(pixels.rgb, [100; 3], "{kind:?}");
    }
}

#[test]
fn transparent_parts_are_white() {
    let colors = [[10_u8, 20, 30, 0], [0, 0, 0, 128], [10, 20, 30, 255]];
    let picture = ImageBuffer::from_fn(3, 1, |x, _| Rgba(colors[x as usize]));
    let pixels = decoded(&encode(picture, ImageFormat::Png));
    assert_eq!(pixels.rgb, [255, 255, 255, 127, 127, 127, 10, 20, 30]);
}

/// Puts an EXIF block with this orientation behind the first marker of a JPEG.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn exif_orientation_is_obeyed() {
    // Left half red, right half blue.
    let picture = ImageBuffer::from_fn(32, 16, |x, _| {
        Rgb(if x < 16 { [255, 0, 0] } else { [0, 0, 255] })
    });
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 95)
        .write_image(picture.as_raw(), 32, 16, ExtendedColorType::Rgb8)
        .expect("a JPEG");
    // Where the red half is afterwards: left, right, top or bottom.
    let sides = ["l", "r", "r", "l", "t", "t", "b", "b"];
    for (orientation, side) in (1..).zip(sides) {
        let pixels = decoded(&with_orientation(&jpeg, orientation));
        let upright = matches!(side, "l" | "r");
        let expected = if upright { (32, 16) } else { (16, 32) };
        assert_eq!((pixels.width, pixels.height), expected, "{orientation}");
        let red = |x: usize, y: usize| {
            let at = 3 * (y * pixels.width + x);
            pixels.rgb[at] > 200 && pixels.rgb[at + 2] < 50
        };
        let (right, bottom) = (pixels.width - 3, pixels.height - 3);
        let corners = [red(2, 2), red(right, 2), red(2, bottom), red(right, bottom)];
        let expected = match side {
            "l" => [true, false, true, false],
            "r" => [false, true, false, true],
            "t" => [true, true, false, false],
            _ => [false, false, true, true],
        };
        assert_eq!(corners, expected, "orientation {orientation}");
    }
    // A value that EXIF does not have.
    assert_eq!(decoded(&with_orientation(&jpeg, 77)).width, 32);
}

/// A baseline JPEG of 8×8 pixels of one colour in four components, with Adobe's mark, as print shops write it.
fn cmyk_jpeg(color: [u8; 4]) -> Vec<u8> {
    let mut jpeg = vec![0xff, 0xd8];
    let mut segment = |marker: u8, content: &[u8]| {
        let length = (content.len() as u16 + 2).to_be_bytes();
        jpeg.extend([&[0xff, marker], &length[..], content].concat());
    };
    segment(0xee, b"Adobe\0\x64\0\0\0\0\0"); // transform 0: CMYK as it is
    segment(0xdb, &[&[0][..], &[1; 64]].concat()); // quantisation by 1
    let components = (1..=4).flat_map(|id| [id, 0x11, 0]);
    let frame = [8, 0, 8, 0, 8, 4].into_iter().chain(components);
    segment(0xc0, &frame.collect::<Vec<_>>());
    // DC: twelve codes of four bits, for 0 to 11 bits to follow. AC: the end of the block, one bit.
    let lengths = [0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    segment(
        0xc4,
        &[
            &[0x00][..],
            &lengths,
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        ]
        .concat(),
    );
    let lengths = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    segment(0xc4, &[&[0x10][..], &lengths, &[0]].concat());
    let components = (1..=4).flat_map(|id| [id, 0]);
    let scan = [4].into_iter().chain(components).chain([0, 63, 0]);
    segment(0xda, &scan.collect::<Vec<_>>());

    let mut bits = String::new();
    for value in color {
        let dc = 8 * (i32::from(value) - 128);
        let size = 32 - dc.unsigned_abs().leading_zeros();
        bits += &format!("{size:04b}");
        if size > 0 {
            let low = if dc < 0 { dc - 1 } else { dc } & ((1 << size) - 1);
            bits += &format!("{low:0width$b}", width = size as usize);
        }
        bits.push('0');
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    for byte in bits.as_bytes().chunks(8) {
        let byte = byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        jpeg.push(byte);
        if byte == 0xff {
            jpeg.push(0);
        }
    }
    jpeg.extend([0xff, 0xd9]);
    jpeg
}

#[test]
fn cmyk_jpegs_are_converted() {
    // Adobe stores ink inverted: 255 is none.
    for (ink, expected) in [
        ([255, 255, 255, 255], [255, 255, 255]),
        ([255, 0, 0, 255], [255, 0, 0]),
        ([0, 255, 255, 255], [0, 255, 255]),
        ([255, 255, 255, 0], [0, 0, 0]),
        ([255, 128, 255, 128], [128, 64, 128]),
    ] {
        let pixels = decoded(&cmyk_jpeg(ink));
        assert_eq!((pixels.width, pixels.height), (8, 8));
        for (actual, expected) in pixels.rgb.iter().zip(expected.iter().cycle()) {
            assert!(
                actual.abs_diff(*expected) <= 3,
                "{ink:?}: {actual} {expected}"
            );
        }
    }
}

#[test]
fn too_many_pixels_are_refused_before_decoding() {
    let mut png = encode(red_blue(), ImageFormat::Png);
    let mut gif = encode(DynamicImage::from(red_blue()).to_rgba8(), ImageFormat::Gif);
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]); // 65536 × 65536
    let checksum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&checksum);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    // The widest colour type there is, which is beyond the decoder's memory too: the size is told all the same.
    let mut wide = encode(DynamicImage::from(red_blue()).to_rgba16(), ImageFormat::Png);
    wide[16..24].copy_from_slice(&[0, 0, 0x23, 0x28, 0, 0, 0x23, 0x28]); // 9000 × 9000
    let checksum = crc32(&wide[12..29]).to_be_bytes();
    wide[29..33].copy_from_slice(&checksum);
    let jpeg = encode(red_blue(), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]);
    let frame = frame.expect("a baseline JPEG");
    let mut huge = jpeg.clone();
    huge[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    for (name, bytes) in [
        ("PNG", png),
        ("wide PNG", wide),
        ("GIF", gif),
        ("JPEG", huge),
    ] {
        let error = decode(&bytes).expect_err(name);
        assert!(
            matches!(error, ImageError::TooLarge { .. }),
            "{name}: {error}"
        );
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[test]
fn broken_pictures_are_errors_and_never_panic() {
    let gif = {
        let picture = DynamicImage::from(gradient(24, 17)).to_rgba8();
        encode(picture, ImageFormat::Gif)
    };
    let jpeg = encode(gradient(24, 17), ImageFormat::Jpeg);
    let pictures = [
        with_orientation(&jpeg, 6),
        cmyk_jpeg([1, 2, 3, 4]),
        encode(gradient(24, 17), ImageFormat::Png),
        encode(gradient(24, 17), ImageFormat::WebP),
        gif,
    ];
    for bytes in &pictures {
        assert!(decode(bytes).is_ok());
        for end in 0..bytes.len() {
            // A JPEG may lack its end; nothing else may.
            if let Ok(pixels) = decode(&bytes[..end]) {
                assert_eq!(pixels.rgb.len(), 3 * pixels.width * pixels.height);
            }
        }
        assert!(decode(&bytes[..bytes.len() / 8]).is_err());
        let mut broken = bytes.clone();
        for at in 0..bytes.len() {
            for flip in [1 << (at % 8), 0xff] {
                broken[at] ^= flip;
                if let Ok(pixels) = decode(&broken) {
                    assert_eq!(pixels.rgb.len(), 3 * pixels.width * pixels.height);
                }
                broken[at] ^= flip;
            }
        }
    }
    for garbage in [&b""[..], b"GIF", b"<svg/>", b"BM\0\0\0\0", &[0xff; 300]] {
        let error = decode(garbage).expect_err("not a picture");
        assert!(matches!(error, ImageError::UnknownFormat), "{error}");
    }
}

fn preparation(size: usize) -> ImagePreparation {
    ImagePreparation {
        size,
        mean: [10.0, 20.0, 30.0],
        std: [2.0, 4.0, 8.0],
    }
}

#[test]
fn channels_are_planes_and_normalised() {
    let picture = gradient(6, 6);
    let pixels = decoded(&encode(picture.clone(), ImageFormat::Png));
    let input = prepare(&pixels, &preparation(6));
    assert_eq!(input.len(), 3 * 36);
    for (x, y, Rgb(rgb)) in picture.enumerate_pixels() {
        let at = (6 * y + x) as usize;
        let expected = [
            (f32::from(rgb[0]) - 10.0) / 2.0,
            (f32::from(rgb[1]) - 20.0) / 4.0,
            (f32::from(rgb[2]) - 30.0) / 8.0,
        ];
        assert_eq!([input[at], input[36 + at], input[72 + at]], expected);
    }
}

/// The triangle filter of one axis, in f64: weights of the source for each target pixel.
fn triangle(source: usize, target: usize) -> Vec<Vec<f64>> {
    let step = source as f64 / target as f64;
    let radius = step.max(1.0);
    (0..target)
        .map(|t| {
            let centre = (t as f64 + 0.5) * step;
            let weights = (0..source).map(|s| {
                let distance = (s as f64 + 0.5 - centre).abs();
                (1.0 - distance / radius).max(0.0)
            });
            let weights: Vec<f64> = weights.collect();
            let sum: f64 = weights.iter().sum();
            weights.iter().map(|w| w / sum).collect()
        })
        .collect()
}

#[test]
fn pictures_are_stretched_by_the_antialiased_triangle() {
    for (width, height, size) in [
        (50, 37, 16),
        (7, 90, 20),
        (1, 1, 8),
        (300, 2, 12),
        (5, 5, 32),
    ] {
        let picture = ImageBuffer::from_fn(width, height, |x, y| {
            Rgb([((x * 7919 + y * 104_729) % 256) as u8; 3])
        });
        let pixels = Pixels {
            width: width as usize,
            height: height as usize,
            rgb: picture.into_raw(),
        };
        let plain = ImagePreparation {
            size,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let input = prepare(&pixels, &plain);
        let across = triangle(pixels.width, size);
        let down = triangle(pixels.height, size);
        for (y, rows) in down.iter().enumerate() {
            for (x, columns) in across.iter().enumerate() {
                let row = |r: usize| -> f64 {
                    let start = r * pixels.width;
                    let values = (0..pixels.width).map(|c| pixels.rgb[3 * (start + c)]);
                    values.zip(columns).map(|(v, w)| f64::from(v) * w).sum()
                };
                let expected: f64 = rows.iter().enumerate().map(|(r, w)| w * row(r)).sum();
                let actual = f64::from(input[y * size + x]);
                assert!(
                    (actual - expected).abs() <= 1.01,
                    "{width}×{height} to {size}, {x} {y}: {actual} {expected}"
                );
            }
        }
    }
}

#[test]
fn raw_pixels_are_laid_over_white_and_measured() {
    let pixels = Pixels::from_rgba(&[10, 20, 30, 255, 10, 20, 30, 0], 2, 1).expect("two pixels");
    assert_eq!(pixels.rgb, [10, 20, 30, 255, 255, 255]);
    let fails =
        |rgba: &[u8], width, height| Pixels::from_rgba(rgba, width, height).expect_err("refused");
    assert!(matches!(fails(&[], 0, 3), ImageError::Empty { .. }));
    assert!(matches!(fails(&[0; 7], 2, 1), ImageError::Length { .. }));
    assert!(matches!(
        fails(&[0; 8], 1 << 20, 1 << 20),
        ImageError::TooLarge { .. }
    ));
    assert!(matches!(
        fails(&[0; 8], usize::MAX, 2),
        ImageError::TooLarge { .. }
    ));
}
