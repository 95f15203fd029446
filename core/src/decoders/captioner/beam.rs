//! Beam search: the likeliest captions of a picture.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, Transaction};

use super::{Captioner, END, PAD, START, State, UNKNOWN};

/// A caption that a beam search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Beam {
    /// Its tokens, without start and end.
    pub tokens: Vec<u32>,
    /// Natural logarithm of its probability: the sum over its tokens, the end included where it has one.
    pub log_probability: f64,
    /// For each token how much was looked at each region, R numbers that sum up to 1.
    pub attention: Vec<Vec<f32>>,
    /// Whether it came to its end; without, it was cut at the greatest length.
    pub ended: bool,
}

impl Beam {
    /// What beams are ranked by: the log-probability of a step on average. The sum alone would favour short captions.
    pub fn score(&self) -> f64 {
        self.log_probability / (self.tokens.len() + usize::from(self.ended)).max(1) as f64
    }

    fn end(&mut self, log_probability: f64) {
        self.log_probability = log_probability;
        self.ended = true;
    }
}

/// How a beam goes on.
struct Candidate {
    parent: usize,
    token: u32,
    log_probability: f64,
}

impl Captioner {
    /// The likeliest captions of one picture's `regions` `[1, R, d]`, of at most `max_len` pieces, the best first by
    /// [`Beam::score`]. Between one and `beams` captions, all different.
    ///
    /// In each step the likeliest continuations of all beams are kept, as many as there are beams that have not ended; one
    /// beam is the greedy search. The beams go through the network together. Padding, start and unknown are never said.
    /// Ties go to the better beam, then to the lower token, so that the same device gives the same answer.
    ///
    /// Reads from the device in each step and waits for it: not for WebGPU in a browser.
    ///
    /// # Panics
    ///
    /// When `regions` are those of several pictures.
    pub fn beam_search(&self, regions: Tensor<3>, beams: usize, max_len: usize) -> Vec<Beam> {
        assert_eq!(regions.dims()[0], 1, "the regions of one picture");
        let device = regions.device();
        let (memory, mut state) = self.begin(regions);
        let mut live = vec![Beam {
            tokens: Vec::new(),
            log_probability: 0.0,
            attention: Vec::new(),
            ended: false,
        }];
        let mut done = Vec::new();
        let mut last = vec![START];
        let width = beams.max(1);
        // One step more than there are pieces: the end takes one, too.
        for length in 0..=max_len {
            let tokens = self.tokens(&indices(&last, &device));
            let (next, alpha) = self.step(&memory, state, tokens);
            let likely = log_softmax(self.logits(next.hidden.clone()), 1);
            let [likely, alpha] = read([likely, alpha]);
            let vocabulary = likely.len() / live.len();
            let regions = alpha.len() / live.len();

            if length == max_len {
                // There is room for the end alone; whoever would say more is cut.
                for (mut beam, likely) in live.into_iter().zip(likely.chunks(vocabulary)) {
                    let next = best(std::slice::from_ref(&beam), likely, vocabulary, 1);
                    if let Some(Candidate {
                        token: END,
                        log_probability,
                        ..
                    }) = next.first()
                    {
                        beam.end(*log_probability);
                    }
                    done.push(beam);
                }
                break;
            }
            let (mut parents, mut further) = (Vec::new(), Vec::new());
            last.clear();
            for candidate in best(&live, &likely, vocabulary, width - done.len()) {
                let mut beam = live[candidate.parent].clone();
                if candidate.token == END {
                    beam.end(candidate.log_probability);
                    done.push(beam);
                    continue;
                }
                beam.log_probability = candidate.log_probability;
                beam.tokens.push(candidate.token);
                let from = candidate.parent * regions;
                beam.attention.push(alpha[from..from + regions].to_vec());
                parents.push(candidate.parent as u32);
                last.push(candidate.token);
                further.push(beam);
            }
            if further.is_empty() {
                break;
            }
            let parents = indices(&parents, &device);
            state = State {
                hidden: next.hidden.select(0, parents.clone()),
                cell: next.cell.select(0, parents),
            };
            live = further;
        }
        done.sort_by(|a, b| b.score().total_cmp(&a.score())); // stable
        done
    }
}

/// The `count` likeliest continuations of the beams, likeliest first, by the log-probabilities `likely`, row-major
/// `[beams, vocabulary]`.
fn best(live: &[Beam], likely: &[f32], vocabulary: usize, count: usize) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = likely
        .chunks(vocabulary)
        .zip(live)
        .enumerate()
        .flat_map(|(parent, (row, beam))| {
            row.iter()
                .zip(0_u32..)
                .filter(|&(_, token)| ![PAD, START, UNKNOWN].contains(&token))
                .map(move |(&log_probability, token)| Candidate {
                    parent,
                    token,
                    log_probability: beam.log_probability + f64::from(log_probability),
                })
        })
        .collect();
    let order = |a: &Candidate, b: &Candidate| {
        (b.log_probability.total_cmp(&a.log_probability))
            .then(a.parent.cmp(&b.parent))
            .then(a.token.cmp(&b.token))
    };
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(order);
    candidates
}

fn indices(numbers: &[u32], device: &Device) -> Tensor<1, Int> {
    let numbers: Vec<i32> = numbers.iter().map(|&number| number as i32).collect();
    Tensor::from_data(numbers.as_slice(), device)
}

/// Waits for both at once.
fn read(tensors: [Tensor<2>; 2]) -> [Vec<f32>; 2] {
    let [first, second] = tensors;
    let mut data = Transaction::default()
        .register(first)
        .register(second)
        .execute()
        .into_iter();
    std::array::from_fn(|_| {
        let data = data.next().expect("as many as were registered");
        data.convert::<f32>().try_to_vec().expect("floats")
    })
}
