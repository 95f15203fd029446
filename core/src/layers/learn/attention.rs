//! Scaled dot-product self-attention of all heads (Vaswani et al. 2017, arXiv:1706.03762, section 3.2).

use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, TensorData};
use muse_kernels::Tier;
use muse_kernels::learning::{self, Dropout, Paid};

use super::graph::{Step, flex, numbers, record, tracked, whole};

/// All heads' attention of `[B, N, d]`, with a `bias` for each key `[B, 1, 1, N]`: the attended rows `[B, N, d]`, and what the first
/// pays to each before dropout, averaged over the heads, `[B, N]`, without a gradient.
pub(crate) fn attention(
    streams: [&Tensor<3>; 3],
    bias: Option<&Tensor<4>>,
    heads: usize,
    dropout: Option<Dropout>,
) -> Option<(Tensor<3>, Tensor<2>)> {
    let ([batch, rows, width], device) = (streams[0].dims(), streams[0].device());
    let [query, key, value] = streams.map(tracked);
    let inputs = [query?, key?, value?];
    let bias = match bias {
        Some(bias) => Some(whole(tracked(bias)?.into_primitive())),
        None => None,
    };
    let attention = learning::Attention {
        rows,
        width,
        heads,
        dropout,
    };
    let streams = inputs
        .each_ref()
        .map(|input| whole(input.primitive().clone()));
    let attended = attention.forward(
        Tier::best(),
        streams.each_ref().map(numbers),
        bias.as_ref().map(numbers),
    );
    let step = Attention {
        attention,
        streams,
        paid: Arc::new(attended.paid),
    };
    let attended_rows = flex(attended.rows, vec![batch, rows, width]);
    let first = TensorData::new(attended.first, [batch, rows]);
    let first = Tensor::from_data(first, &device);
    Some((record(inputs.each_ref(), step, attended_rows), first))
}

#[derive(Clone, Debug)]
struct Attention {
    attention: learning::Attention,
    /// Query, key and value.
    streams: [FlexTensor; 3],
    paid: Arc<Paid>,
}

impl Step<3> for Attention {
    fn gradients(self, gradient: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let (shape, gradient) = (gradient.layout().shape().to_vec(), whole(gradient));
        let streams = self.streams.each_ref().map(numbers);
        let gradients =
            (self.attention).backward(Tier::best(), numbers(&gradient), streams, &self.paid);
        gradients.map(|gradient| Some(flex(gradient, shape.clone())))
    }
}
