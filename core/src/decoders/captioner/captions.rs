//! A batch of captions as the recurrence walks them.

use std::cmp::Reverse;

use burn::tensor::{Device, Int, Tensor, TensorData};

/// The captions of a batch, on the device.
///
/// They are packed: the rows of step 0 of all captions, then those of step 1 of all that have a step 1, and so on, the
/// longest caption first in each step. P rows in all, one for each real target token; there is no padding.
#[derive(Clone, Debug)]
pub struct Captions {
    /// `[B]`: the places of the captions in the batch, the longest first.
    pub(super) order: Tensor<1, Int>,
    /// `[P]`: the token that is read.
    pub(super) inputs: Tensor<1, Int>,
    /// `[P]`: the token that follows.
    pub(super) targets: Tensor<1, Int>,
    /// How many captions have each step; descending, P in all.
    running: Vec<usize>,
    /// `[B, P]`: 1 where the row belongs to the caption.
    owners: Tensor<2>,
    /// `[B·(T − 1)]`: the row of each caption's step; P where there is none.
    rows: Tensor<1, Int>,
    /// Real target tokens of each caption, in the batch's order.
    lengths: Vec<usize>,
}

impl Captions {
    /// From the tokens of each caption of the batch, with start and end (as `Vocabulary::encode` gives them).
    ///
    /// # Panics
    ///
    /// When there is no caption, one has less than two tokens, or a token is not below `vocabulary_len`.
    pub fn new(captions: &[Vec<u32>], vocabulary_len: usize, device: &Device) -> Self {
        let size = captions.len();
        let longest = captions.iter().map(Vec::len).max().expect("a caption");
        for caption in captions {
            assert!(caption.len() >= 2, "a caption has a start and an end");
            let known = |&token: &u32| (token as usize) < vocabulary_len;
            assert!(caption.iter().all(known), "a token of the vocabulary");
        }
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by_key(|&place| Reverse(captions[place].len())); // stable

        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        let (mut running, mut places) = (Vec::new(), Vec::new());
        for step in 0..longest - 1 {
            let here = order
                .iter()
                .take_while(|&&place| step + 1 < captions[place].len());
            let before = places.len();
            for &place in here {
                inputs.push(captions[place][step] as i32);
                targets.push(captions[place][step + 1] as i32);
                places.push((place, step));
            }
            running.push(places.len() - before);
        }
        let count = places.len();
        let mut owners = vec![0.0_f32; size * count];
        let mut rows = vec![count as i32; size * (longest - 1)];
        for (row, (place, step)) in places.into_iter().enumerate() {
            owners[place * count + row] = 1.0;
            rows[place * (longest - 1) + step] = row as i32;
        }
        let order = order.into_iter().map(|place| place as i32).collect();
        let whole = |numbers: Vec<i32>| Tensor::from_data(numbers.as_slice(), device);
        Self {
            order: whole(order),
            inputs: whole(inputs),
            targets: whole(targets),
            running,
            owners: Tensor::from_data(TensorData::new(owners, [size, count]), device),
            rows: whole(rows),
            lengths: captions.iter().map(|caption| caption.len() - 1).collect(),
        }
    }

    /// The number of real target tokens P.
    pub fn targets(&self) -> usize {
        self.running.iter().sum()
    }

    /// The number of real target tokens of each caption.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// How many captions have each step.
    pub(super) fn running(&self) -> &[usize] {
        &self.running
    }

    /// Of packed rows `[P, n]` for each caption the sum of its own, `[B, n]`.
    pub(super) fn total(&self, rows: Tensor<2>) -> Tensor<2> {
        self.owners.clone().matmul(rows)
    }

    /// Packed rows `[P, n]` at their places, `[B, T − 1, n]`; 0 where a caption has ended.
    pub(super) fn unpack(&self, rows: Tensor<2>) -> Tensor<3> {
        let width = rows.dims()[1];
        let nothing = Tensor::zeros([1, width], &rows.device());
        Tensor::cat(vec![rows, nothing], 0)
            .select(0, self.rows.clone())
            .reshape([self.lengths.len() as i32, -1, width as i32])
    }
}
