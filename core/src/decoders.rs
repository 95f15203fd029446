//! The two decoders that keep the encoders' embeddings rich: each says what the other modality looks like (section 2.2 of
//! arXiv:2309.02190).
//!
//! ```text
//! T_n = MLP(T_e + ε)   its [CLS] row ─ generator ─ picture
//! I_n = MLP(I_e + ε)   its 64 rows   ─ captioner ─ caption        ε ~ N(0, s²), in training only
//! ```
//!
//! They are no part of [`Muse`](crate::model::Muse): entities and sentiment do without them, and what the browser loads
//! does not hold their code. A model file may carry them all the same, under names that begin with `decoders.`.

mod batch;
pub mod captioner;
mod config;
pub mod generator;
mod microbatch;
#[cfg(test)]
mod tests;

use burn::module::Module;
use burn::nn::{GaussianNoise, GaussianNoiseConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

pub use self::batch::{DecoderBatch, DecoderTarget, MicrobatchSize, Thumbnail};
use self::captioner::Captioner;
pub use self::config::{CaptionerDecoder, DecodersConfig};
use self::generator::PixelCnn;
pub use self::microbatch::Microbatch;
use crate::encoders::Encoded;
use crate::weights::{NamedTensor, StateDict, state_dict};

/// What the names of the decoders' weights begin with in a model file.
pub const PREFIX: &str = "decoders.";

/// The decoders and the MLP that both embeddings go through.
#[derive(Module, Debug)]
pub struct Decoders {
    noise: GaussianNoise,
    #[module(skip)]
    blind: bool,
    /// d→d, shared by both modalities (one linear layer, as in the released code).
    pub mlp: Linear,
    /// Picture → text.
    pub captioner: Option<Captioner>,
    /// Text → picture.
    pub generator: Option<PixelCnn>,
}

/// How well the decoders do on the pairs of a batch, one value for each pair that has one, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecoderScores {
    /// The sample in the batch, the sum of the cross-entropies of its caption's tokens (nats), and how many these are.
    pub captions: Vec<(usize, f32, usize)>,
    /// The sample in the batch, and the mean nats of a sub-pixel of its picture.
    pub pictures: Vec<(usize, f32)>,
}

impl Decoders {
    /// Decoders with random weights, for embeddings of width `d`.
    pub fn new(config: &DecodersConfig, d: usize, device: &Device) -> Self {
        Self {
            noise: GaussianNoiseConfig::new(config.noise).init(),
            blind: config.blind,
            mlp: LinearConfig::new(d, d).init(device),
            captioner: config
                .captioner
                .as_ref()
                .map(|c| Captioner::new(&c.sizes, d, c.vocabulary.len(), device)),
            generator: config
                .generator
                .as_ref()
                .map(|sizes| PixelCnn::new(sizes, d, device)),
        }
    }

    /// Whether they are fed a constant; see [`DecodersConfig::blind`].
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// I_n `[P, 64, d]` of projected regions I_e `[P, 64, d]`: what the captioner reads.
    pub fn regions(&self, image: Tensor<3>) -> Tensor<3> {
        self.embed(image)
    }

    /// The `[CLS]` rows of T_n, `[P, d]`, of those of T_e `[P, d]`: what the generator reads.
    pub fn condition(&self, text: Tensor<2>) -> Tensor<2> {
        self.embed(text)
    }

    fn embed<const D: usize>(&self, rows: Tensor<D>) -> Tensor<D> {
        self.mlp.forward(match self.blind {
            true => rows.zeros_like(),
            false => self.noise.forward(rows),
        })
    }

    /// The decoders' losses pair by pair, without the attention's term. Waits for the device (native only).
    pub fn scores(&self, encoded: &Encoded, batch: &DecoderBatch) -> DecoderScores {
        let read = |losses: Tensor<1>| {
            let data = losses.into_data().convert::<f32>();
            data.try_to_vec::<f32>().unwrap_or_default()
        };
        let mut scores = DecoderScores::default();
        if let Some(captioner) = &self.captioner {
            for group in &batch.captions {
                let regions = self.regions_of(encoded, &group.rows);
                let sums = read(captioner.cross_entropies(regions, &group.tokens));
                let counts = group.tokens.lengths().iter().copied();
                let losses = (group.samples.iter().zip(sums)).zip(counts);
                let losses = losses.map(|((&sample, sum), count)| (sample, sum, count));
                scores.captions.extend(losses);
            }
        }
        if let Some(generator) = &self.generator {
            for group in &batch.pictures {
                let condition = self.condition_of(encoded, &group.rows);
                let nats = read(generator.losses(group.pixels.clone(), condition));
                let losses = group.samples.iter().copied().zip(nats);
                scores.pictures.extend(losses);
            }
        }
        scores
    }

    /// The weights under the names that a model file gives them.
    pub fn state(&self) -> impl Iterator<Item = (String, NamedTensor)> {
        state_dict(self)
            .into_iter()
            .map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor))
    }
}

/// Takes the decoders' weights out of a model file's, under the names of [`Decoders`].
pub fn take_state(state: &mut StateDict) -> StateDict {
    let (taken, kept) = std::mem::take(state)
        .into_iter()
        .partition::<StateDict, _>(|(name, _)| name.starts_with(PREFIX));
    *state = kept;
    taken
        .into_iter()
        .map(|(name, tensor)| (name[PREFIX.len()..].to_owned(), tensor))
        .collect()
}
