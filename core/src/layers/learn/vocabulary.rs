//! The cross-entropy over a vocabulary.
//!
//! Its scores are by far the largest tensor of a step: one of them, which becomes its own gradient, takes the place of burn's five or
//! six, and the table is read as it lies rather than copied with rows for columns.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use muse_kernels::Tier;
use muse_kernels::learning::{
    Matrix, cross_entropy as cross_entropy_rows, linear, product as multiply, scale, sum_rows,
};

use super::graph::{Step, flex, numbers, record, tracked, whole};

/// The mean cross-entropy `[1]`, in nats, of the scores `rows · tableᵀ + bias` against `targets`: of `rows` `[M, d]`, a target each,
/// a `table` `[V, d]` and a `bias` `[V]`.
pub(crate) fn cross_entropy(
    rows: &Tensor<2>,
    table: &Tensor<2>,
    bias: &Tensor<1>,
    targets: &[usize],
) -> Option<Tensor<1>> {
    let [count, width] = table.dims();
    let inputs = [tracked(rows)?, tracked(table)?, tracked(bias)?];
    let [rows, table, bias] = inputs
        .each_ref()
        .map(|input| whole(input.primitive().clone()));
    let mut scores = linear(
        Matrix::new(numbers(&rows), width),
        Matrix::new(numbers(&table), width).transposed(),
        numbers(&bias),
    );
    let nats = cross_entropy_rows(Tier::best(), &mut scores, count, targets);
    let mean = nats.iter().sum::<f32>() / nats.len() as f32;
    let step = CrossEntropy {
        rows,
        table,
        gradient: flex(scores, vec![nats.len(), count]),
    };
    Some(record(inputs.each_ref(), step, flex(vec![mean], vec![1])))
}

#[derive(Clone, Debug)]
struct CrossEntropy {
    /// `[M, d]`
    rows: FlexTensor,
    /// `[V, d]`
    table: FlexTensor,
    /// `[M, V]`, of the sum's.
    gradient: FlexTensor,
}

impl Step<3> for CrossEntropy {
    fn gradients(self, above: FlexTensor, wanted: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let Self {
            rows,
            table,
            mut gradient,
        } = self;
        let shape = |tensor: &FlexTensor| tensor.layout().shape().to_vec();
        let [[targets, count], [_, width]] = [&gradient, &rows].map(|tensor| {
            let shape = shape(tensor);
            [shape[0], shape[1]]
        });
        let share = numbers(&whole(above))[0] / targets as f32;
        scale(Tier::best(), gradient.storage_mut(), share);
        let scores = Matrix::new(numbers(&gradient), count);
        [
            wanted[0].then(|| {
                let table = Matrix::new(numbers(&table), width);
                flex(multiply(scores, table), shape(&rows))
            }),
            wanted[1].then(|| {
                let rows = Matrix::new(numbers(&rows), width);
                flex(multiply(scores.transposed(), rows), shape(&table))
            }),
            wanted[2].then(|| {
                let sums = sum_rows(Tier::best(), numbers(&gradient), count);
                flex(sums, vec![count])
            }),
        ]
    }
}
