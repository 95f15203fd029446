//! What the exchange does with a chosen token. A further rule is a variant here and its arms.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What becomes of a chosen token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeRule {
    /// The other stream's mean is added to it.
    #[default]
    Add,
    /// The other stream's mean takes its place (an ablation).
    Replace,
}

impl ExchangeRule {
    /// The new rows of a stream.
    ///
    /// # Shapes
    ///
    /// - `rows`: `[B, 1 + n, d]`
    /// - `chosen`: `[B, 1 + n, 1]`, 1 or 0
    /// - `mean`: `[B, 1, d]`, of the other stream
    /// - returns `[B, 1 + n, d]`
    pub(super) fn apply(self, rows: Tensor<3>, chosen: Tensor<3>, mean: Tensor<3>) -> Tensor<3> {
        let rows = match self {
            Self::Add => rows,
            Self::Replace => rows * (chosen.clone().neg() + 1.0),
        };
        rows + chosen.matmul(mean) // an outer product
    }

    /// The two that there were first, as files tell them.
    pub(super) fn replace_only(self) -> Option<bool> {
        match self {
            Self::Add => Some(false),
            Self::Replace => Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    #[test]
    fn only_what_is_chosen_takes_the_mean() {
        let device = Device::flex();
        let apply = |rule: ExchangeRule| -> Vec<f32> {
            let rows = Tensor::from_floats([[[1.0, 2.0], [3.0, 4.0]]], &device);
            let chosen = Tensor::from_floats([[[0.0], [1.0]]], &device);
            let mean = Tensor::from_floats([[[10.0, 20.0]]], &device);
            let rows = rule.apply(rows, chosen, mean).into_data();
            rows.try_to_vec().expect("floats")
        };
        assert_eq!(apply(ExchangeRule::Add), [1.0, 2.0, 13.0, 24.0]);
        assert_eq!(apply(ExchangeRule::Replace), [1.0, 2.0, 10.0, 20.0]);
    }
}
