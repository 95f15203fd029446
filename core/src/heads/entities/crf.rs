//! A linear-chain conditional random field over the words of a caption (Lafferty et al. 2001).
//!
//! Training runs on the device and is differentiable; decoding runs on the host, in f64, on the few numbers that a
//! caption has.

mod best;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use libm::{exp, log};

/// Start, end and transition scores of K tags.
#[derive(Module, Debug)]
pub struct Crf {
    start: Param<Tensor<1>>,
    end: Param<Tensor<1>>,
    /// `[from, to]`.
    transitions: Param<Tensor<2>>,
}

impl Crf {
    /// Small random scores for `tags` tags.
    pub fn new(tags: usize, device: &Device) -> Self {
        let small = Initializer::Uniform {
            min: -0.1,
            max: 0.1,
        };
        Self {
            start: small.init([tags], device),
            end: small.init([tags], device),
            transitions: small.init([tags, tags], device),
        }
    }

    /// Log-likelihood of each sentence's tags, `[B]`.
    ///
    /// # Shapes
    ///
    /// - `emissions`: `[B, W, K]`
    /// - `tags`: `[B, W, K]`, one-hot; rows of padding are ignored
    /// - `mask`: `[B, W]`, 1 on a prefix; a sentence without words has log-likelihood 0
    pub fn log_likelihood(
        &self,
        emissions: Tensor<3>,
        tags: Tensor<3>,
        mask: Tensor<2>,
    ) -> Tensor<1> {
        let partition = self.log_partition(emissions.clone(), mask.clone());
        let score = self.score(emissions, tags, mask.clone());
        (score - partition) * mask.narrow(1, 0, 1).squeeze_dim(1)
    }

    /// Log-likelihood of all the tags that each word may have, together, `[B]` (Tsuboi et al. 2008: the sum over the sequences that
    /// agree with a partial annotation).
    ///
    /// # Shapes
    ///
    /// As in [`Self::log_likelihood`], but `tags` are 1 at each tag that a word may have, of which there is at least one.
    pub fn marginal_log_likelihood(
        &self,
        emissions: Tensor<3>,
        tags: Tensor<3>,
        mask: Tensor<2>,
    ) -> Tensor<1> {
        /// Exponentials of it are 0, and it is finite.
        const NEVER: f64 = -1e9;
        let allowed = emissions.clone() + (tags.neg() + 1.0) * NEVER;
        let agreeing = self.log_partition(allowed, mask.clone());
        let partition = self.log_partition(emissions, mask.clone());
        (agreeing - partition) * mask.narrow(1, 0, 1).squeeze_dim(1)
    }

    /// Unnormalised score of the given tags, `[B]`; shapes as in [`Self::log_likelihood`].
    pub fn score(&self, emissions: Tensor<3>, tags: Tensor<3>, mask: Tensor<2>) -> Tensor<1> {
        let [_, words, _] = emissions.dims();
        let tags = tags * mask.clone().unsqueeze_dim(2); // padding scores nothing
        let emitted = (emissions * tags.clone()).sum_dims_squeeze::<1, _>(&[1, 2]);
        let first = tags.clone().narrow(1, 0, 1); // [B, 1, K]
        let started = dot(first, self.start.val());

        // 1 at the last real word: where the mask is 1 and its successor is not.
        let mut last = mask.clone();
        let mut moved = None;
        if words > 1 {
            let successor = mask.narrow(1, 1, words - 1);
            let none = successor.clone().narrow(1, 0, 1).zeros_like();
            last = last - Tensor::cat(vec![successor, none], 1);
            let from = tags.clone().narrow(1, 0, words - 1);
            let to = tags.clone().narrow(1, 1, words - 1);
            let steps = from.matmul(self.transitions.val().unsqueeze()) * to;
            moved = Some(steps.sum_dims_squeeze::<1, _>(&[1, 2]));
        }
        let ended = dot(tags * last.unsqueeze_dim(2), self.end.val());
        let score = emitted + started + ended;
        match moved {
            Some(moved) => score + moved,
            None => score,
        }
    }

    /// Log of the sum of exp(score) over all tag sequences, `[B]`; shapes as in [`Self::log_likelihood`].
    pub fn log_partition(&self, emissions: Tensor<3>, mask: Tensor<2>) -> Tensor<1> {
        let [_, words, _] = emissions.dims();
        // In the probability domain a step is one small matrix product; each step is scaled by its greatest term.
        let peak = self.transitions.val().detach().max();
        let transitions = (self.transitions.val() - peak.clone().unsqueeze()).exp(); // [K, K]
        let peak = peak.unsqueeze::<2>(); // [1, 1]
        let step = |t: usize| emissions.clone().narrow(1, t, 1).squeeze_dim::<2>(1); // [B, K]

        let mut alpha = step(0) + self.start.val().unsqueeze(); // [B, K]
        for t in 1..words {
            let next = log_matmul(alpha.clone(), transitions.clone()) + peak.clone() + step(t);
            let real = mask.clone().narrow(1, t, 1); // [B, 1]
            alpha = next * real.clone() + alpha * (real.neg() + 1.0);
        }
        let alpha = alpha + self.end.val().unsqueeze();
        let peak = alpha.clone().detach().max_dim(1);
        ((alpha - peak.clone()).exp().sum_dim(1).log() + peak).squeeze_dim(1)
    }

    /// The scores as they are, for decoding. `start`, `end` and `transitions` as tensors, to be read by the caller.
    pub fn parameters(&self) -> (Tensor<1>, Tensor<1>, Tensor<2>) {
        (self.start.val(), self.end.val(), self.transitions.val())
    }
}

/// ln(exp(x)·w), `[B, K]` by `[K, K]`.
fn log_matmul(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    let peak = x.clone().detach().max_dim(1); // [B, 1]
    // The smallest normal number keeps the logarithm finite where every path into a tag has vanished.
    ((x - peak.clone()).exp().matmul(w) + f32::MIN_POSITIVE).log() + peak
}

/// Sum over words of rows `[B, W, K]` times `weights` `[K]`: `[B]`.
fn dot(rows: Tensor<3>, weights: Tensor<1>) -> Tensor<1> {
    (rows * weights.unsqueeze::<3>()).sum_dims_squeeze::<1, _>(&[1, 2])
}

/// Decoding on the host: the best sequence and the posterior of spans.
#[derive(Clone, Debug)]
pub struct Decoder {
    tags: usize,
    start: Vec<f64>,
    end: Vec<f64>,
    /// Row-major `[from, to]`.
    transitions: Vec<f64>,
}

impl Decoder {
    /// From the CRF's scores: `start` and `end` of K numbers, `transitions` of K·K, row-major `[from, to]`.
    ///
    /// # Panics
    ///
    /// When the lengths do not fit together.
    pub fn new(start: &[f32], end: &[f32], transitions: &[f32]) -> Self {
        let tags = start.len();
        assert_eq!(end.len(), tags, "end scores");
        assert_eq!(transitions.len(), tags * tags, "transition scores");
        let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect();
        Self {
            tags,
            start: wide(start),
            end: wide(end),
            transitions: wide(transitions),
        }
    }

    /// Forbids the steps that BIO does not know: an `I-x` may only follow `B-x` or `I-x`, and none may come first.
    pub fn forbid_illegal<S: AsRef<str>>(mut self, tags: &[S]) -> Self {
        for (to, tag) in tags.iter().enumerate() {
            let Some(kind) = tag.as_ref().strip_prefix("I-") else {
                continue;
            };
            self.start[to] = f64::NEG_INFINITY;
            for (from, before) in tags.iter().enumerate() {
                let continues = ["B-", "I-"]
                    .iter()
                    .any(|p| before.as_ref().strip_prefix(p) == Some(kind));
                if !continues {
                    self.transitions[from * self.tags + to] = f64::NEG_INFINITY;
                }
            }
        }
        self
    }

    /// Forward and backward tables of `emissions`, from which posteriors are read.
    pub fn posterior<'a>(&'a self, emissions: &'a [f32]) -> Posterior<'a> {
        let words = emissions.len() / self.tags;
        let mut alpha: Vec<Vec<f64>> = Vec::with_capacity(words);
        let mut beta: Vec<Vec<f64>> = Vec::with_capacity(words);
        if words > 0 {
            alpha.push(self.begin(emissions));
            for t in 1..words {
                let before = &alpha[t - 1];
                let row = (0..self.tags)
                    .map(|to| {
                        let sum = log_sum_exp(
                            before
                                .iter()
                                .enumerate()
                                .map(|(from, a)| a + self.transitions[from * self.tags + to]),
                        );
                        sum + self.emission(emissions, t, to)
                    })
                    .collect();
                alpha.push(row);
            }
            beta.push(self.end.clone());
            for t in (1..words).rev() {
                let after = &beta[beta.len() - 1];
                let row = (0..self.tags)
                    .map(|from| {
                        log_sum_exp(after.iter().enumerate().map(|(to, b)| {
                            self.transitions[from * self.tags + to]
                                + self.emission(emissions, t, to)
                                + b
                        }))
                    })
                    .collect();
                beta.push(row);
            }
            beta.reverse();
        }
        let log_partition = match words {
            0 => 0.0,
            _ => log_sum_exp(alpha[words - 1].iter().zip(&self.end).map(|(a, e)| a + e)),
        };
        Posterior {
            decoder: self,
            emissions,
            alpha,
            beta,
            log_partition,
        }
    }

    fn begin(&self, emissions: &[f32]) -> Vec<f64> {
        (0..self.tags)
            .map(|tag| self.start[tag] + self.emission(emissions, 0, tag))
            .collect()
    }

    fn emission(&self, emissions: &[f32], word: usize, tag: usize) -> f64 {
        f64::from(emissions[word * self.tags + tag])
    }
}

/// The posterior distribution over the tag sequences of one caption.
pub struct Posterior<'a> {
    decoder: &'a Decoder,
    emissions: &'a [f32],
    alpha: Vec<Vec<f64>>,
    beta: Vec<Vec<f64>>,
    /// Log of the sum of exp(score) over all allowed sequences.
    pub log_partition: f64,
}

impl Posterior<'_> {
    /// Probability that the words `first..=last` carry exactly `tags` and that the word after them, if there is one,
    /// does not carry `not_after`: with `B-x I-x … I-x` and `I-x`, that exactly this span is an entity of type x.
    pub fn span(&self, first: usize, tags: &[usize], not_after: Option<usize>) -> f64 {
        let k = self.decoder.tags;
        let Some((&head, rest)) = tags.split_first() else {
            return 0.0;
        };
        let mut score = self.alpha[first][head];
        let (mut word, mut before) = (first, head);
        for &tag in rest {
            word += 1;
            score += self.decoder.transitions[before * k + tag]
                + self.decoder.emission(self.emissions, word, tag);
            before = tag;
        }
        let after = match word + 1 < self.alpha.len() {
            true => log_sum_exp((0..k).filter(|&to| Some(to) != not_after).map(|to| {
                self.decoder.transitions[before * k + to]
                    + self.decoder.emission(self.emissions, word + 1, to)
                    + self.beta[word + 1][to]
            })),
            false => self.beta[word][before],
        };
        exp(score + after - self.log_partition).clamp(0.0, 1.0)
    }
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let peak = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if peak == f64::NEG_INFINITY {
        return peak;
    }
    // libm's functions give the same digits on every machine, the standard library's those of the machine's C.
    peak + log(values.map(|v| exp(v - peak)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: [&str; 5] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];

    fn decoder(seed: &[f32]) -> Decoder {
        Decoder::new(&seed[..5], &seed[5..10], &seed[10..35]).forbid_illegal(&TAGS)
    }

    /// Every tag sequence of `words` words, and its score.
    fn enumerate(decoder: &Decoder, emissions: &[f32]) -> Vec<(Vec<usize>, f64)> {
        let words = emissions.len() / 5;
        let mut all = Vec::new();
        for code in 0..5usize.pow(words as u32) {
            let path: Vec<usize> = (0..words)
                .map(|w| code / 5usize.pow(w as u32) % 5)
                .collect();
            let mut score = decoder.start[path[0]] + decoder.end[path[words - 1]];
            for (w, &tag) in path.iter().enumerate() {
                score += decoder.emission(emissions, w, tag);
                if w > 0 {
                    score += decoder.transitions[path[w - 1] * 5 + tag];
                }
            }
            all.push((path, score));
        }
        all
    }

    proptest::proptest! {
        #[test]
        fn decoding_agrees_with_enumeration(
            seed in proptest::collection::vec(-2.0f32..2.0, 35),
            emissions in proptest::collection::vec(-3.0f32..3.0, 20),
        ) {
            let decoder = decoder(&seed);
            let all = enumerate(&decoder, &emissions);
            let total: f64 = all.iter().map(|(_, s)| s.exp()).sum();
            let (path, score) = decoder.viterbi(&emissions);
            let best = all.iter().map(|(_, s)| *s).fold(f64::NEG_INFINITY, f64::max);
            proptest::prop_assert!((score - best).abs() < 1e-9);
            let mut right: Vec<f64> = all.iter().map(|(_, s)| *s).filter(|s| s.is_finite()).collect();
            right.sort_by(|a, b| b.total_cmp(a));
            for count in [2, 7, 1000] {
                let found = decoder.best(&emissions, count);
                proptest::prop_assert_eq!(found.len(), count.min(right.len()));
                for ((path, score), right) in found.iter().zip(&right) {
                    let own = all.iter().find(|(other, _)| other == path).map(|(_, s)| *s);
                    proptest::prop_assert!((score - right).abs() < 1e-9);
                    proptest::prop_assert!((score - own.unwrap_or(f64::NAN)).abs() < 1e-9);
                }
            }
            for (before, after) in path.iter().zip(&path[1..]) {
                proptest::prop_assert!(decoder.transitions[before * 5 + after].is_finite());
            }
            // The entity PER over words 1 and 2 of 4.
            let wanted: f64 = all
                .iter()
                .filter(|(p, _)| p[1] == 1 && p[2] == 2 && p[3] != 2)
                .map(|(_, s)| s.exp())
                .sum();
            let posterior = decoder.posterior(&emissions);
            proptest::prop_assert!((posterior.log_partition - total.ln()).abs() < 1e-9);
            let span = posterior.span(1, &[1, 2], Some(2));
            proptest::prop_assert!((span - wanted / total).abs() < 1e-9);
            // At the caption's end nothing follows.
            let wanted: f64 = all.iter().filter(|(p, _)| p[3] == 3).map(|(_, s)| s.exp()).sum();
            proptest::prop_assert!((posterior.span(3, &[3], Some(4)) - wanted / total).abs() < 1e-9);
        }
    }

    #[test]
    fn partial_annotations_agree_with_enumeration() {
        use burn::tensor::{Distribution, TensorData};

        let device = Device::flex();
        let normal = Distribution::Normal(0.0, 2.0);
        let (words, kinds) = (4, 5);
        let crf = Crf::new(kinds, &device);
        let numbers = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().expect("floats");
        let (start, end, transitions) = crf.parameters();
        let decoder = Decoder::new(
            &numbers(start),
            &numbers(end),
            &numbers(transitions.reshape([-1])),
        );
        let emissions = Tensor::<3>::random([3, words, kinds], normal, &device);
        // What each word may be; the second sentence is fully annotated, the third has two words.
        let allowed: [&[&[usize]]; 3] = [
            &[&[0, 3, 4], &[1], &[2, 0], &[0, 1, 2, 3, 4]],
            &[&[0], &[1], &[2], &[0]],
            &[&[0, 3, 4], &[0, 3, 4]],
        ];
        let mut tags = vec![0.0f32; 3 * words * kinds];
        let mut mask = vec![0.0f32; 3 * words];
        for (row, sentence) in allowed.iter().enumerate() {
            for (word, some) in sentence.iter().enumerate() {
                mask[row * words + word] = 1.0;
                for tag in *some {
                    tags[(row * words + word) * kinds + tag] = 1.0;
                }
            }
        }
        let tags = Tensor::<3>::from_data(TensorData::new(tags, [3, words, kinds]), &device);
        let mask = Tensor::<2>::from_data(TensorData::new(mask, [3, words]), &device);
        let given =
            numbers(crf.marginal_log_likelihood(emissions.clone(), tags.clone(), mask.clone()));
        let flat = numbers(emissions.clone().reshape([-1]));
        for (row, sentence) in allowed.iter().enumerate() {
            let own = &flat[row * words * kinds..][..sentence.len() * kinds];
            let all = enumerate(&decoder, own);
            let sum = |agrees: &dyn Fn(&[usize]) -> bool| -> f64 {
                let agreeing = all.iter().filter(|(path, _)| agrees(path));
                agreeing.map(|(_, score)| score.exp()).sum()
            };
            let agreeing = sum(&|path| {
                path.iter()
                    .zip(*sentence)
                    .all(|(tag, some)| some.contains(tag))
            });
            let right = (agreeing / sum(&|_| true)).ln();
            assert!(
                (f64::from(given[row]) - right).abs() < 1e-4,
                "{row}: {given:?}, {right}"
            );
        }
        // With one tag for each word it is the likelihood of these.
        let whole = numbers(crf.log_likelihood(emissions, tags, mask));
        assert!((whole[1] - given[1]).abs() < 1e-4, "{whole:?}, {given:?}");
    }

    #[test]
    fn scores_that_are_none_give_the_first_tag() {
        let decoder = decoder(&[0.0; 35]);
        for none in [f32::NAN, f32::NEG_INFINITY] {
            assert_eq!(decoder.viterbi(&[none; 10]).0, [0, 0]);
            assert_eq!(decoder.best(&[none; 10], 3), []);
        }
    }

    #[test]
    fn a_caption_without_words_has_no_tags() {
        let decoder = decoder(&[0.0; 35]);
        assert_eq!(decoder.viterbi(&[]), (vec![], 0.0));
        assert_eq!(decoder.posterior(&[]).log_partition, 0.0);
    }
}
