//! Pictures for the trainer: the features of a frozen CNN, computed once and kept; or pixels, when the CNN is trained.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use burn::tensor::{Device, Tensor, TensorData};
use half::f16;
use indicatif::ProgressBar;
use muse_core::batch::Picture;
use muse_core::config::{ImageConfig, ImagePreparation};
use muse_core::image::encoder::Cnn;
use muse_core::image::pixels::{decode, prepare};
use muse_core::weights::state_dict;
use sha2::{Digest, Sha256};

use crate::data::cache::{FeatureCache, Key};
use crate::data::loader::ordered;

/// Pictures that the CNN looks at together when the cache is filled.
const TOGETHER: usize = 8;

/// Where the trainer's pictures come from.
pub enum Gallery {
    /// The CNN is frozen: its features.
    Features(Box<Features>),
    /// The CNN is trained: its input.
    Pixels(ImagePreparation),
}

/// A frozen CNN and what it has seen.
pub struct Features {
    cnn: Cnn,
    config: ImageConfig,
    weights: String,
    cache: FeatureCache,
    device: Device,
}

impl Gallery {
    /// Features of `cnn`, kept in `cache`; `device` is the CNN's own.
    pub fn features(cnn: Cnn, config: ImageConfig, cache: FeatureCache, device: Device) -> Self {
        let weights = fingerprint(&cnn);
        Self::Features(Box::new(Features {
            cnn,
            config,
            weights,
            cache,
            device,
        }))
    }

    /// A picture, ready for the model.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not a picture; the message names it.
    pub fn picture(&self, path: &Path) -> anyhow::Result<Arc<Picture>> {
        let picture = match self {
            Self::Features(features) => Picture::Regions(features.get(path)?),
            Self::Pixels(preparation) => {
                let bytes = std::fs::read(path)
                    .with_context(|| format!("cannot read the picture {}", path.display()))?;
                Picture::Pixels(pixels(path, &bytes, preparation)?)
            }
        };
        Ok(Arc::new(picture))
    }

    /// Computes what the cache does not hold yet, so that training decodes nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::picture`].
    pub fn fill(&self, paths: &[PathBuf], workers: usize, bar: &ProgressBar) -> anyhow::Result<()> {
        let Self::Features(features) = self else {
            return Ok(());
        };
        let mut missing = Vec::new();
        for path in paths {
            match features.cache.get(&features.key(path)?) {
                Some(_) => bar.inc(1),
                None => missing.push(path.clone()),
            }
        }
        let preparation = features.config.preparation.clone();
        let groups: Vec<Vec<PathBuf>> = missing.chunks(TOGETHER).map(<[_]>::to_vec).collect();
        let prepared = ordered(groups, workers, 4, move |group| {
            let mut input = Vec::new();
            for path in &group {
                let bytes = std::fs::read(path)
                    .with_context(|| format!("cannot read the picture {}", path.display()))?;
                input.extend(pixels(path, &bytes, &preparation)?);
            }
            Ok((group, input))
        })?;
        for item in prepared {
            let (group, input) = item?;
            let regions = features.look(input, group.len());
            let each = regions.len() / group.len();
            for (path, regions) in group.iter().zip(regions.chunks(each)) {
                features.keep(path, regions)?;
                bar.inc(1);
            }
        }
        Ok(())
    }
}

impl Features {
    fn key(&self, path: &Path) -> anyhow::Result<Key> {
        let hash = self.cache.picture_hash(path)?;
        Ok(Key::new(
            &self.weights,
            &self.config.preparation,
            self.config.encoder,
            &hash,
        ))
    }

    fn get(&self, path: &Path) -> anyhow::Result<Vec<f16>> {
        if let Some(regions) = self.cache.get(&self.key(path)?) {
            return Ok(regions);
        }
        let (bytes, _) = self.cache.read_picture(path)?;
        let regions = self.look(pixels(path, &bytes, &self.config.preparation)?, 1);
        self.keep(path, &regions)?;
        Ok(regions)
    }

    fn keep(&self, path: &Path, regions: &[f16]) -> anyhow::Result<()> {
        if let Err(error) = self.cache.put(&self.key(path)?, regions) {
            // Only speed is lost.
            eprintln!("warning: {error:#}");
        }
        Ok(())
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

fn pixels(path: &Path, bytes: &[u8], preparation: &ImagePreparation) -> anyhow::Result<Vec<f32>> {
    let picture =
        decode(bytes).with_context(|| format!("cannot use the picture {}", path.display()))?;
    Ok(prepare(&picture, preparation))
}

/// SHA-256 of a CNN's weights, wherever they came from.
fn fingerprint(cnn: &Cnn) -> String {
    let mut hash = Sha256::new();
    for (name, tensor) in state_dict(cnn) {
        hash.update(name.as_bytes());
        for value in &tensor.data {
            hash.update(value.to_le_bytes());
        }
    }
    format!("{:x}", hash.finalize())
}
