//! On a GPU both streams go through a layer at once, one below the other: that is half the launches.

use burn::tensor::Tensor;

use super::{CrossTransformer, Crossed, ExchangeRule, ExchangeTrace, Multiplicities};
use crate::layers::gpu::{self, Exchanged};

/// More than any row counts, and less than none.
const NOBODY: f32 = -1.0;

impl CrossTransformer {
    /// [`Self::forward`] of the text's and the image's `rows` `[B, N, d]`, each sample's behind the stream's `cls` row `[1, d]`.
    /// `None` where there are no kernels for it.
    pub(crate) fn together(
        &self,
        cls: [&Tensor<2>; 2],
        rows: [&Tensor<3>; 2],
        multiplicities: [&Multiplicities; 2],
    ) -> Option<Crossed> {
        if !self.layers.iter().all(|layer| layer.attention.is_joint()) {
            return None;
        }
        let (mut joined, sequences) = gpu::join(cls, rows)?;
        let device = joined.device();
        let upload = |numbers: Vec<f32>| Tensor::<1>::from_floats(numbers.as_slice(), &device);
        let bias = upload(multiplicities.map(Multiplicities::bias).concat());
        let counts = multiplicities.map(Multiplicities::counts).concat();
        let quotas = multiplicities.map(|m| m.quotas(self.theta).collect::<Vec<_>>());
        let quotas = quotas.concat();
        let facts = |quotas: Vec<f32>| upload([counts.as_slice(), &quotas].concat());
        let (nobody, some) = (facts(vec![NOBODY; quotas.len()]), facts(quotas));
        let replace = self.rule == ExchangeRule::Replace;
        let mut trace = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let attention = &layer.attention;
            let (attended, paid) = attention.together(joined, &bias, sequences, &layer.dropout)?;
            let rows = layer.norm1.forward(attended);
            let exchanges = (self.first_layer..=self.last_layer).contains(&index);
            let facts = if exchanges { &some } else { &nobody };
            let Exchanged {
                rows,
                scores,
                chosen,
            } = gpu::exchange(&rows, &paid, facts, sequences, replace)?;
            joined = layer.feed_forward(rows);
            let mut chosen = chosen.into_iter();
            trace.push(scores.map(|scores| ExchangeTrace {
                scores,
                chosen: chosen.next().filter(|_| exchanges),
            }));
        }
        let [text, image] = gpu::part(&joined, sequences)?;
        Some(Crossed { text, image, trace })
    }
}
