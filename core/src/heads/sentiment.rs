//! The sentiment head: a class for a post, of both streams' cls rows (section 3.4 of arXiv:2309.02190).

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Tensor};

use crate::exchange::Crossed;
use crate::layers::dropout;
use crate::layers::linear::Linear;
use crate::load::Packing;

/// Both cls rows → classes.
#[derive(Module, Debug)]
pub struct SentimentHead {
    fusion: Linear,
    dropout: Dropout,
    classes: Linear,
}

impl SentimentHead {
    /// A head of `classes` classes on streams of width `d`, randomly initialised.
    pub(super) fn new(classes: usize, d: usize, dropout: f64, device: &Device) -> Self {
        Self {
            fusion: Linear::new(2 * d, d, device),
            dropout: DropoutConfig::new(dropout).init(),
            classes: Linear::new(d, classes, device),
        }
    }

    /// Takes weights from a model file, as it has them.
    pub(super) fn pack(&mut self, path: &str, weights: &mut Packing) {
        self.fusion.pack(&format!("{path}.fusion"), weights);
        self.classes.pack(&format!("{path}.classes"), weights);
    }

    /// Logits `[B, classes]`.
    pub(super) fn forward(&self, crossed: &Crossed) -> Tensor<2> {
        let fused = dropout::drop(&self.dropout, self.fusion.forward(crossed.cls()));
        self.classes.forward(fused)
    }
}
