//! What the exchange does with a chosen token. A further rule is a variant here and its arm in [`ExchangeRule::apply`].

use burn::tensor::Tensor;
use serde::{Deserialize, Deserializer, Serialize};

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
    /// Whether it is the paper's, which a file need not name.
    pub(super) fn is_papers(&self) -> bool {
        *self == Self::Add
    }

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
}

/// Reads a rule, or what stood in its place when there were but two: whether to replace only.
pub(super) fn rule_or_replace_only<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ExchangeRule, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "the exchange's rule is \"add\" or \"replace\"")]
    enum Written {
        Rule(ExchangeRule),
        ReplaceOnly(bool),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Rule(rule) => rule,
        Written::ReplaceOnly(false) => ExchangeRule::Add,
        Written::ReplaceOnly(true) => ExchangeRule::Replace,
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::exchange::ExchangeConfig;

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

    #[test]
    fn a_rule_is_read_as_it_was_and_is_written() {
        let read = |rule: &str| -> Result<ExchangeConfig, serde_json::Error> {
            serde_json::from_str(&format!(
                r#"{{"layers": 1, "heads": 1, "feed_forward": 1, "dropout": 0, "theta": 0.1, "first_layer": 0,
                    "last_layer": 0{rule}}}"#
            ))
        };
        for (written, rule) in [
            ("", ExchangeRule::Add),
            (r#", "replace_only": false"#, ExchangeRule::Add),
            (r#", "replace_only": true"#, ExchangeRule::Replace),
            (r#", "rule": "add""#, ExchangeRule::Add),
            (r#", "rule": "replace""#, ExchangeRule::Replace),
        ] {
            let config = read(written).expect("a rule");
            assert_eq!(config.rule, rule, "{written}");
            let again = serde_json::to_string(&config).expect("plain data");
            // So that older programs read what has nothing new.
            assert_eq!(again.contains("rule"), rule != ExchangeRule::Add);
            let again: ExchangeConfig = serde_json::from_str(&again).expect("what was written");
            assert_eq!(again, config);
        }
        let error = read(r#", "rule": "swap""#)
            .expect_err("no rule")
            .to_string();
        assert!(error.contains("\"add\" or \"replace\""), "{error}");
    }
}
