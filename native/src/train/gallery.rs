//! Pictures for the trainer: the features of a frozen CNN, computed once and kept; or pixels, when the CNN is trained. And
//! the shrunk pictures that the image generator learns to draw.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use burn::tensor::{Device, Tensor, TensorData};
use half::f16;
use indicatif::ProgressBar;
use muse_core::batch::Picture;
use muse_core::decoders::{DecoderTarget, Thumbnail};
use muse_core::encoders::image::{ImageEncoder, ImageEncoderConfig};
use muse_core::pixels::{ImagePreparation, Pixels, decode, prepare};
use muse_core::weights::state_dict;
use sha2::{Digest, Sha256};

use super::config::CacheSection;
use super::corpus::Post;
use crate::data::cache::{FeatureCache, Key, entry_bytes};
use crate::data::loader::ordered;
use crate::data::picture::PictureHash;
use crate::data::views::View;
use crate::output::tell;

/// Pictures that the CNN looks at together when the cache is filled.
const BATCH_SIZE: usize = 8;

/// Where the trainer's pictures come from.
pub struct Gallery {
    encoder: Encoder,
    cache: FeatureCache,
    /// Whether the decoders draw, and so need the pictures themselves.
    thumbnails: bool,
}

/// What the model is given of a picture.
enum Encoder {
    /// The CNN is frozen: its features.
    Features(Box<Features>),
    /// The CNN is trained: its input.
    Pixels(ImagePreparation),
}

/// A frozen CNN.
struct Features {
    cnn: ImageEncoder,
    config: ImageEncoderConfig,
    weights: String,
    device: Device,
}

impl Gallery {
    /// Features of `cnn`, kept in `cache`; `device` is the CNN's own.
    pub fn features(
        cnn: ImageEncoder,
        config: ImageEncoderConfig,
        cache: FeatureCache,
        device: Device,
    ) -> Self {
        let weights = fingerprint(&cnn);
        let features = Features {
            cnn,
            config,
            weights,
            device,
        };
        Self {
            encoder: Encoder::Features(Box::new(features)),
            cache,
            thumbnails: false,
        }
    }

    /// The input of a CNN that is trained; `cache` keeps nothing but thumbnails.
    pub fn pixels(preparation: ImagePreparation, cache: FeatureCache) -> Self {
        Self {
            encoder: Encoder::Pixels(preparation),
            cache,
            thumbnails: false,
        }
    }

    /// Whether the decoders draw, and so need the pictures themselves.
    pub fn with_thumbnails(mut self, thumbnails: bool) -> Self {
        self.thumbnails = thumbnails;
        self
    }

    /// A picture's view, ready for the model.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not a picture; the message names it.
    pub fn picture(&self, path: &Path, view: View) -> anyhow::Result<Arc<Picture>> {
        let picture = match &self.encoder {
            Encoder::Features(features) => Picture::Regions(self.regions(features, path, view)?),
            Encoder::Pixels(preparation) => {
                Picture::Pixels(prepare(&self.pixels_of(path, view)?, preparation))
            }
        };
        Ok(Arc::new(picture))
    }

    /// What the decoders learn from `post` and its picture; `None` when there is nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::picture`].
    pub fn decoder_target(
        &self,
        post: &Post,
        path: &Path,
    ) -> anyhow::Result<Option<DecoderTarget>> {
        let thumbnail = match self.thumbnails {
            true => Some(Arc::new(self.thumbnail(path)?)),
            false => None,
        };
        let tokens = post.tokens.clone();
        Ok(
            (tokens.is_some() || thumbnail.is_some())
                .then_some(DecoderTarget { tokens, thumbnail }),
        )
    }

    fn regions(&self, features: &Features, path: &Path, view: View) -> anyhow::Result<Vec<f16>> {
        let key = features.key(&self.cache.picture_hash(path)?, view);
        if let Some(regions) = self.cache.get(&key) {
            return Ok(regions);
        }
        let pixels = self.pixels_of(path, view)?;
        let input = prepare(&pixels, &features.config.preparation);
        let regions = features.look(input, 1);
        self.keep(&key, &regions);
        Ok(regions)
    }

    fn thumbnail(&self, path: &Path) -> anyhow::Result<Thumbnail> {
        let key = Key::thumbnail(&self.cache.picture_hash(path)?);
        // 0 to 255, which f16 holds exactly.
        let kept = self.cache.get(&key).and_then(|values| {
            Thumbnail::from_bytes(values.iter().map(|value| value.to_f32() as u8).collect())
        });
        if let Some(thumbnail) = kept {
            return Ok(thumbnail);
        }
        let thumbnail = Thumbnail::new(&self.pixels_of(path, View::WHOLE)?);
        let values: Vec<f16> = (thumbnail.bytes().iter())
            .map(|&byte| f16::from_f32(byte.into()))
            .collect();
        self.keep(&key, &values);
        Ok(thumbnail)
    }

    fn pixels_of(&self, path: &Path, view: View) -> anyhow::Result<Pixels> {
        let (bytes, hash) = self.cache.read_picture(path)?;
        Ok(view.of(decoded(path, &bytes)?, &hash))
    }

    fn keep(&self, key: &Key, values: &[f16]) {
        if let Err(error) = self.cache.put(key, values) {
            // Only speed is lost.
            tell(format_args!("warning: {error:#}"));
        }
    }

    /// Warns when so many views of pictures do not fit into the cache: what does not is computed anew in each epoch.
    pub fn check_room(&self, views: usize, section: &CacheSection) {
        if let Encoder::Features(features) = &self.encoder {
            let needed =
                (views * entry_bytes(features.config.encoder.channels())).div_ceil(1 << 20) as u64;
            if needed > section.limit_mb {
                tell(format_args!(
                    "warning: the pictures' features take {needed} MB, of which the cache holds {}; what does not fit is \
                     computed in every epoch. Raise cache.limit_mb, or lower train.photo_views",
                    section.limit_mb
                ));
            }
        }
    }

    /// Computes what the cache does not hold yet, so that training decodes nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::picture`].
    pub fn fill(
        &self,
        pictures: &[(PathBuf, View)],
        workers: usize,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        if self.thumbnails {
            self.fill_thumbnails(pictures, workers)?;
        }
        match &self.encoder {
            Encoder::Features(features) => self.fill_regions(features, pictures, workers, bar),
            Encoder::Pixels(_) => Ok(()),
        }
    }

    fn fill_thumbnails(&self, pictures: &[(PathBuf, View)], workers: usize) -> anyhow::Result<()> {
        let whole = pictures.iter().filter(|(_, view)| *view == View::WHOLE);
        let paths: Vec<&PathBuf> = whole.map(|(path, _)| path).collect();
        // What is kept already is read once more than needed, which costs little.
        let part = paths.len().div_ceil(workers.max(1)).max(1);
        std::thread::scope(|scope| {
            let parts: Vec<_> = (paths.chunks(part))
                .map(|part| {
                    scope.spawn(|| {
                        part.iter()
                            .try_for_each(|path| self.thumbnail(path).map(drop))
                    })
                })
                .collect();
            parts
                .into_iter()
                .try_for_each(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }

    fn fill_regions(
        &self,
        features: &Features,
        pictures: &[(PathBuf, View)],
        workers: usize,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let mut missing = Vec::new();
        for (path, view) in pictures {
            let hash = self.cache.picture_hash(path)?;
            let key = features.key(&hash, *view);
            match self.cache.get(&key) {
                Some(_) => bar.inc(1),
                None => missing.push((key, path.clone(), hash, *view)),
            }
        }
        let preparation = features.config.preparation.clone();
        let groups: Vec<Vec<_>> = missing.chunks(BATCH_SIZE).map(<[_]>::to_vec).collect();
        let prepared = ordered(groups, workers, 4, move |group| {
            let mut input = Vec::new();
            let mut keys = Vec::new();
            for (key, path, hash, view) in group {
                let bytes = std::fs::read(&path)
                    .with_context(|| format!("cannot read the picture {}", path.display()))?;
                let pixels = view.of(decoded(&path, &bytes)?, &hash);
                input.extend(prepare(&pixels, &preparation));
                keys.push(key);
            }
            Ok((keys, input))
        })?;
        for item in prepared {
            let (keys, input) = item?;
            let regions = features.look(input, keys.len());
            let each = regions.len() / keys.len();
            for (key, regions) in keys.iter().zip(regions.chunks(each)) {
                self.keep(key, regions);
                bar.inc(1);
            }
        }
        Ok(())
    }
}

impl Features {
    fn key(&self, picture: &PictureHash, view: View) -> Key {
        let config = &self.config;
        Key::new(
            &self.weights,
            &config.preparation,
            config.encoder,
            picture,
            view,
        )
    }

    /// Regions of `count` prepared pictures, `[count, 64, C]`.
    fn look(&self, input: Vec<f32>, count: usize) -> Vec<f16> {
        let side = self.config.preparation.size;
        let input =
            Tensor::<4>::from_data(TensorData::new(input, [count, 3, side, side]), &self.device);
        let regions = self.cnn.regions(input).into_data().convert::<f32>();
        let regions: Vec<f32> = regions.try_to_vec().unwrap_or_default();
        regions.into_iter().map(f16::from_f32).collect()
    }
}

fn decoded(path: &Path, bytes: &[u8]) -> anyhow::Result<Pixels> {
    decode(bytes).with_context(|| format!("cannot use the picture {}", path.display()))
}

/// SHA-256 of a CNN's weights, wherever they came from.
fn fingerprint(cnn: &ImageEncoder) -> String {
    let mut hash = Sha256::new();
    for (name, tensor) in state_dict(cnn) {
        hash.update(name.as_bytes());
        for value in &tensor.data {
            hash.update(value.to_le_bytes());
        }
    }
    format!("{:x}", hash.finalize())
}
