//! Views of a training photo: crops of it, mirrored or not, so that few photos teach more than themselves.

use image::{RgbImage, imageops};
use muse_core::pixels::Pixels;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::picture::PictureHash;

/// Least share of a photo's area in a crop. (ImageNet's trainings go down to 0.08, but there the label is of one object.)
const LEAST_AREA: f64 = 0.4;
/// By how much a crop is at most wider or taller than its photo, as a factor.
const STRETCH: f64 = 4.0 / 3.0;

/// One of a photo's views: 0 is the whole of it as it is, each other number a crop, every other one mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View(pub u32);

impl View {
    /// The photo as it is.
    pub const WHOLE: Self = Self(0);

    /// The view of a photo, whose hash and number alone decide which crop it is: one of 0.4 to 1 of the area, of another shape
    /// by at most a third, anywhere (random resized crops, Szegedy et al., arXiv:1409.4842).
    pub fn of(self, photo: Pixels, hash: &PictureHash) -> Pixels {
        if self == Self::WHOLE {
            return photo;
        }
        let mut rng = ChaCha8Rng::from_seed(*hash);
        rng.set_stream(self.0.into());
        let area: f64 = rng.random_range(LEAST_AREA..=1.0);
        let shape = STRETCH.powf(rng.random_range(-1.0..=1.0));
        let part = |side: usize, share: f64| {
            let most = side as u32;
            ((side as f64 * share.sqrt()).round() as u32).clamp(1, most)
        };
        let (width, height) = (photo.width, photo.height);
        let crop = (part(width, area * shape), part(height, area / shape));
        let x = rng.random_range(0..=width as u32 - crop.0);
        let y = rng.random_range(0..=height as u32 - crop.1);
        let whole = RgbImage::from_raw(width as u32, height as u32, photo.rgb)
            .expect("a picture has width × height × 3 bytes");
        let mut view = imageops::crop_imm(&whole, x, y, crop.0, crop.1).to_image();
        if self.0 % 2 == 1 {
            imageops::flip_horizontal_in_place(&mut view);
        }
        Pixels {
            width: crop.0 as usize,
            height: crop.1 as usize,
            rgb: view.into_raw(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels that say where they are.
    fn photo(width: usize, height: usize) -> Pixels {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Pixels {
            width,
            height,
            rgb: places
                .flat_map(|(x, y)| [x as u8, y as u8, (x ^ y) as u8])
                .collect(),
        }
    }

    #[test]
    fn a_view_is_a_crop_and_every_other_one_is_mirrored() {
        let photo = photo(200, 120);
        let hash = [7; 32];
        assert_eq!(View::WHOLE.of(photo.clone(), &hash), photo);
        let mut seen = Vec::new();
        for number in 1..=200 {
            let view = View(number).of(photo.clone(), &hash);
            let (pixels, _) = view.rgb.as_chunks::<3>();
            assert_eq!(pixels.len(), view.width * view.height);
            let mirrored = number % 2 == 1;
            let (left, top) = match mirrored {
                true => (pixels[view.width - 1][0], pixels[0][1]),
                false => (pixels[0][0], pixels[0][1]),
            };
            for (place, pixel) in pixels.iter().enumerate() {
                let (x, y) = (place % view.width, place / view.width);
                let x = if mirrored { view.width - 1 - x } else { x };
                let (x, y) = (x + usize::from(left), y + usize::from(top));
                assert_eq!(*pixel, [x as u8, y as u8, (x ^ y) as u8]);
            }
            let area = pixels.len() as f64 / (200.0 * 120.0);
            assert!(
                (LEAST_AREA / STRETCH - 0.02..=1.0).contains(&area),
                "{area}"
            );
            seen.push((view.width, view.height, left, top));
        }
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 190, "{} different views", seen.len());
    }

    #[test]
    fn number_and_picture_alone_decide() {
        let view = |number, hash| View(number).of(photo(60, 90), &[hash; 32]);
        assert_eq!(view(3, 1), view(3, 1));
        assert_ne!(view(3, 1), view(5, 1));
        assert_ne!(view(3, 1), view(3, 2));
        for (width, height) in [(1, 1), (1, 50), (2, 1)] {
            let narrow = View(4).of(photo(width, height), &[0; 32]);
            assert!(narrow.width >= 1 && narrow.width <= width && narrow.height <= height);
        }
    }
}
