//! The captioner: from what the encoder sees in a picture to a sentence about it ("Show, Attend and Tell", Xu et al. 2015,
//! arXiv:1502.03044, with the soft attention of its section 4.2).
//!
//! ```text
//! regions ──┬─────────────► attention ──► context · gate ──┐
//!           │                   ▲                          ▼
//!           └─ mean ──► initial state ──► hidden ◄────── LSTM ◄── embedding of the last token
//!                                           └──► logits of the next token
//! ```
//!
//! In training the true caption is read (teacher forcing). What does not depend on the recurrence is done for all steps
//! at once: the regions' part of the attention and the tokens' part of the gates before it, the vocabulary after it.
//! The captions of a batch are walked longest first and drop out as they end ([`Captions`]), so that padding costs
//! nothing and has no part in either loss.

mod beam;
mod captions;
#[cfg(test)]
mod tests;
mod vocabulary;

use burn::module::Module;
use burn::nn::{
    Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig,
};
use burn::tensor::activation::{relu, sigmoid, softmax};
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::layers::dropout::mask;
use crate::validate::{self, ConfigError};

pub use beam::Beam;
pub use captions::Captions;
pub use vocabulary::{END, PAD, START, UNKNOWN, Vocabulary, VocabularyError};

/// Weight λ of the attention's regularisation (equation 14 of the paper), as in its released code.
pub const LAMBDA: f32 = 1.0;

/// Sizes of a captioner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionerConfig {
    /// Width A of the attention.
    pub attention: usize,
    /// Width E of the tokens' embeddings.
    pub embedding: usize,
    /// Width H of the LSTM's state.
    pub hidden: usize,
    /// Dropout of the hidden state before the vocabulary, in training.
    pub dropout: f64,
}

impl CaptionerConfig {
    /// Checks the sizes, which may come from a damaged or hostile file.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::range("attention", self.attention, 1..=1 << 13)?;
        validate::range("embedding", self.embedding, 1..=1 << 13)?;
        validate::range("hidden", self.hidden, 1..=1 << 13)?;
        validate::dropout("dropout", self.dropout)
    }
}

impl Default for CaptionerConfig {
    /// The sizes of arXiv:2309.02190.
    fn default() -> Self {
        Self {
            attention: 512,
            embedding: 512,
            hidden: 512,
            dropout: 0.5,
        }
    }
}

/// An LSTM that looks at the picture's regions before each token.
#[derive(Module, Debug)]
pub struct Captioner {
    attention: Attention,
    /// From the mean region, d→H.
    initial_hidden: Linear,
    /// From the mean region, d→H.
    initial_cell: Linear,
    embedding: Embedding,
    /// How much of each channel of the context is let in (β of the paper's section 4.2.1), H→d.
    gate: Linear,
    lstm: LstmCell,
    dropout: Dropout,
    /// H→V.
    vocabulary: Linear,
}

/// Additive attention (Bahdanau et al. 2014, arXiv:1409.0473).
#[derive(Module, Debug)]
struct Attention {
    /// d→A.
    region: Linear,
    /// H→A.
    hidden: Linear,
    /// A→1; without a bias, which a softmax does not feel.
    score: Linear,
}

/// An LSTM cell whose input is the embedding beside the context. Its gates stand in the order i, f, g, o.
#[derive(Module, Debug)]
struct LstmCell {
    /// E→4H, with the bias of all.
    token: Linear,
    /// d→4H.
    context: Linear,
    /// H→4H.
    hidden: Linear,
}

/// The LSTM's state for n captions.
#[derive(Clone, Debug)]
struct State {
    /// `[n, H]`
    hidden: Tensor<2>,
    /// `[n, H]`
    cell: Tensor<2>,
}

/// The regions of n pictures, or of one that n captions share.
#[derive(Clone, Debug)]
struct Memory {
    /// `[n, R, d]` or `[1, R, d]`
    regions: Tensor<3>,
    /// Their part of the attention, `[n, R, A]` or `[1, R, A]`.
    keys: Tensor<3>,
}

/// What the captioner says of a batch, step by step; B captions of at most T tokens, R regions, V tokens.
#[derive(Clone, Debug)]
pub struct Captioned {
    /// `[B, T − 1, V]`: at step t of the token t + 1. 0 where a caption has ended.
    pub logits: Tensor<3>,
    /// `[B, T − 1, R]`: where it looked for that. 0 where a caption has ended.
    pub attention: Tensor<3>,
}

/// The two parts of the captioner's loss, `[1]` each.
#[derive(Clone, Debug)]
pub struct CaptionLoss {
    /// Mean cross-entropy of the batch's real target tokens, in nats.
    pub cross_entropy: Tensor<1>,
    /// Doubly stochastic regularisation: the mean over captions and regions of (1 − Σ_t α)², without λ. Every region ought to
    /// be looked at once.
    pub regularisation: Tensor<1>,
}

impl CaptionLoss {
    /// L_it: the cross-entropy, and [`LAMBDA`] times the other part.
    pub fn total(self) -> Tensor<1> {
        self.cross_entropy + self.regularisation * LAMBDA
    }
}

/// What the recurrence gives, packed as [`Captions`] are: P rows.
struct Packed {
    /// `[P, H]`
    hidden: Tensor<2>,
    /// `[P, R]`
    attention: Tensor<2>,
}

impl Captioner {
    /// A captioner of regions of width `d_model` with `vocabulary_len` tokens, randomly initialised.
    pub fn new(
        config: &CaptionerConfig,
        d_model: usize,
        vocabulary_len: usize,
        device: &Device,
    ) -> Self {
        let (attention, hidden) = (config.attention, config.hidden);
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        // As the released code starts them.
        let small = Initializer::Uniform {
            min: -0.1,
            max: 0.1,
        };
        // As PyTorch starts an LSTM.
        let bound = 1.0 / (hidden as f64).sqrt();
        let gates = |from: usize| {
            LinearConfig::new(from, 4 * hidden).with_initializer(Initializer::Uniform {
                min: -bound,
                max: bound,
            })
        };
        Self {
            attention: Attention {
                region: linear(d_model, attention),
                hidden: linear(hidden, attention),
                score: LinearConfig::new(attention, 1)
                    .with_bias(false)
                    .init(device),
            },
            initial_hidden: linear(d_model, hidden),
            initial_cell: linear(d_model, hidden),
            embedding: EmbeddingConfig::new(vocabulary_len, config.embedding)
                .with_initializer(small.clone())
                .init(device),
            gate: linear(hidden, d_model),
            lstm: LstmCell {
                token: gates(config.embedding).init(device),
                context: gates(d_model).with_bias(false).init(device),
                hidden: gates(hidden).with_bias(false).init(device),
            },
            dropout: DropoutConfig::new(config.dropout).init(),
            vocabulary: LinearConfig::new(hidden, vocabulary_len)
                .with_initializer(small)
                .init(device),
        }
    }

    /// Logits and attention of each step of `captions`, with `regions` `[B, R, d]`; without dropout.
    pub fn forward(&self, regions: Tensor<3>, captions: &Captions) -> Captioned {
        let packed = self.run(regions, captions);
        Captioned {
            logits: captions.unpack(self.logits(packed.hidden)),
            attention: captions.unpack(packed.attention),
        }
    }

    /// L_it of `captions`, `[1]`; see [`CaptionLoss::total`]. `regions` are `[B, R, d]`.
    pub fn loss(&self, regions: Tensor<3>, captions: &Captions) -> Tensor<1> {
        self.losses(regions, captions).total()
    }

    /// The parts of [`Self::loss`].
    pub fn losses(&self, regions: Tensor<3>, captions: &Captions) -> CaptionLoss {
        let dropout = self.dropout_mask(captions, &regions.device());
        self.losses_with(regions, captions, dropout)
    }

    /// [`Self::losses`] with a dropout that was drawn before.
    pub(crate) fn losses_with(
        &self,
        regions: Tensor<3>,
        captions: &Captions,
        dropout: Option<Tensor<2>>,
    ) -> CaptionLoss {
        let packed = self.run(regions, captions);
        let alpha = captions.total(packed.attention); // [B, R]
        CaptionLoss {
            cross_entropy: self
                .cross_entropy_of(packed.hidden, captions, dropout)
                .mean(),
            regularisation: (alpha.neg() + 1.0).square().mean(),
        }
    }

    /// Cross-entropy of each caption, summed over its real target tokens (nats), `[B]`; without dropout.
    pub fn cross_entropies(&self, regions: Tensor<3>, captions: &Captions) -> Tensor<1> {
        let packed = self.run(regions, captions);
        captions
            .total(self.cross_entropy_of(packed.hidden, captions, None))
            .squeeze_dim::<1>(1)
    }

    /// Draws the dropout of the hidden states before the vocabulary, `[P, H]`; `None` when nothing is dropped.
    pub(crate) fn dropout_mask(&self, captions: &Captions, device: &Device) -> Option<Tensor<2>> {
        let [hidden, _] = self.vocabulary.weight.lazy_shape().dims();
        mask(&self.dropout, [captions.targets(), hidden], device)
    }

    /// Cross-entropy of each packed target, `[P, 1]`.
    fn cross_entropy_of(
        &self,
        mut hidden: Tensor<2>,
        captions: &Captions,
        dropout: Option<Tensor<2>>,
    ) -> Tensor<2> {
        if let Some(dropout) = dropout {
            hidden = hidden * dropout;
        }
        cross_entropy(self.logits(hidden), captions.targets.clone())
    }

    /// The recurrence along the captions.
    fn run(&self, regions: Tensor<3>, captions: &Captions) -> Packed {
        let (mut memory, mut state) = self.begin(regions.select(0, captions.order.clone()));
        let tokens = self.tokens(&captions.inputs); // [P, 4H]
        let tokens = split(tokens, captions.running());
        let (mut hidden, mut attention) = (Vec::new(), Vec::new());
        for (tokens, &running) in tokens.into_iter().zip(captions.running()) {
            if running < state.hidden.dims()[0] {
                // The shortest are last.
                memory.regions = memory.regions.narrow(0, 0, running);
                memory.keys = memory.keys.narrow(0, 0, running);
                state.hidden = state.hidden.narrow(0, 0, running);
                state.cell = state.cell.narrow(0, 0, running);
            }
            let (next, alpha) = self.step(&memory, state, tokens);
            hidden.push(next.hidden.clone());
            attention.push(alpha);
            state = next;
        }
        Packed {
            hidden: Tensor::cat(hidden, 0),
            attention: Tensor::cat(attention, 0),
        }
    }

    /// The regions `[n, R, d]` with their keys, and the state before the first token.
    fn begin(&self, regions: Tensor<3>) -> (Memory, State) {
        let [size, count, d] = regions.dims();
        let keys = self
            .attention
            .region
            .forward(regions.clone().reshape([size * count, d])); // one product instead of n
        let keys = keys.reshape([size as i32, count as i32, -1]); // [n, R, A]
        let mean = regions.clone().mean_dim(1).squeeze_dim::<2>(1); // [n, d]
        let state = State {
            hidden: self.initial_hidden.forward(mean.clone()),
            cell: self.initial_cell.forward(mean),
        };
        (Memory { regions, keys }, state)
    }

    /// The part of `tokens` `[P]` in the gates, `[P, 4H]`.
    fn tokens(&self, tokens: &Tensor<1, Int>) -> Tensor<2> {
        let embedded = self.embedding.forward(tokens.clone().unsqueeze::<2>()); // [1, P, E]
        self.lstm.token.forward(embedded.squeeze_dim::<2>(0))
    }

    /// One token further: looks, then reads the token, of whose part in the gates `tokens` `[n, 4H]` is. Gives the new state
    /// and the attention `[n, R]`.
    fn step(&self, memory: &Memory, state: State, tokens: Tensor<2>) -> (State, Tensor<2>) {
        let alpha = self.attention.forward(&memory.keys, state.hidden.clone()); // [n, R]
        let context = alpha
            .clone()
            .unsqueeze_dim::<3>(1)
            .matmul(memory.regions.clone())
            .squeeze_dim::<2>(1); // [n, d]
        let context = context * sigmoid(self.gate.forward(state.hidden.clone()));
        (self.lstm.forward(state, tokens, context), alpha)
    }

    /// Of hidden states `[n, H]` the logits `[n, V]` of what comes next.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.vocabulary.forward(hidden)
    }
}

impl Attention {
    /// How much is looked at each region, `[n, R]`, of `keys` `[n or 1, R, A]` and `hidden` `[n, H]`.
    fn forward(&self, keys: &Tensor<3>, hidden: Tensor<2>) -> Tensor<2> {
        let query = self.hidden.forward(hidden).unsqueeze_dim::<3>(1); // [n, 1, A]
        let sum = relu(keys.clone() + query); // [n, R, A]
        let [size, regions, width] = sum.dims();
        let scores = self.score.forward(sum.reshape([size * regions, width]));
        softmax(scores.reshape([size, regions]), 1)
    }
}

impl LstmCell {
    /// The next state, of the `token`'s part in the gates `[n, 4H]` and the `context` `[n, d]`.
    fn forward(&self, state: State, token: Tensor<2>, context: Tensor<2>) -> State {
        let gates = token + self.context.forward(context) + self.hidden.forward(state.hidden);
        let width = gates.dims()[1] / 4;
        let gate = |place: usize| gates.clone().narrow(1, place * width, width);
        let (input, forget) = (sigmoid(gate(0)), sigmoid(gate(1)));
        let (candidate, output) = (gate(2).tanh(), sigmoid(gate(3)));
        let cell = forget * state.cell + input * candidate;
        State {
            hidden: output * cell.clone().tanh(),
            cell,
        }
    }
}

/// Cross-entropy `[P, 1]` of `targets` `[P]` under `logits` `[P, V]`.
///
/// Its gradient is known in closed form: the probabilities, less 1 at the target. Handing that to the backward pass, as
/// the gradient of a product with a constant, spares it six passes over the largest tensor that the captioner makes.
fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<2> {
    let targets = targets.unsqueeze_dim::<2>(1); // [P, 1]
    let fixed = logits.clone().detach();
    let probabilities = softmax(fixed.clone(), 1);
    // ln Σ exp(x) = max x − ln(max of the softmax), which cannot underflow.
    let total = fixed.clone().max_dim(1) - probabilities.clone().max_dim(1).log();
    let value = total - fixed.gather(1, targets.clone()); // [P, 1]
    let ones = value.ones_like();
    let slope = probabilities.scatter(1, targets, ones.neg(), IndexingUpdateOp::Add); // [P, V]
    let surrogate = (logits * slope).sum_dim(1);
    value + (surrogate.clone() - surrogate.detach())
}

/// Cuts `rows` `[Σ sizes, n]` into runs of these sizes. By halves: the gradient of a part is a tensor as large as what it
/// was cut from, so that cutting all of S parts from the whole would cost S such tensors rather than log₂ S.
fn split(rows: Tensor<2>, sizes: &[usize]) -> Vec<Tensor<2>> {
    if sizes.len() <= 1 {
        return vec![rows];
    }
    let (first, second) = sizes.split_at(sizes.len() / 2);
    let [here, there] = [first, second].map(|part| part.iter().sum::<usize>());
    let mut parts = split(rows.clone().narrow(0, 0, here), first);
    parts.append(&mut split(rows.narrow(0, here, there), second));
    parts
}
