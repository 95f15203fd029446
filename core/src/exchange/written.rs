//! The exchange's configuration as files have it. The two rules that there were first are told by `replace_only`, so that
//! runs and model files stay what they were; every other rule has its name under `rule`.

use serde::{Deserialize, Serialize};

use super::{ExchangeConfig, ExchangeRule};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    layers: usize,
    heads: usize,
    feed_forward: usize,
    dropout: f64,
    theta: f64,
    first_layer: usize,
    last_layer: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replace_only: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<ExchangeRule>,
}

impl From<ExchangeConfig> for Written {
    fn from(config: ExchangeConfig) -> Self {
        let replace_only = config.rule.replace_only();
        Self {
            layers: config.layers,
            heads: config.heads,
            feed_forward: config.feed_forward,
            dropout: config.dropout,
            theta: config.theta,
            first_layer: config.first_layer,
            last_layer: config.last_layer,
            replace_only,
            rule: replace_only.is_none().then_some(config.rule),
        }
    }
}

impl TryFrom<Written> for ExchangeConfig {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let rule = match (written.replace_only, written.rule) {
            (None, None) => ExchangeRule::default(),
            (None, Some(rule)) => rule,
            (Some(false), None) => ExchangeRule::Add,
            (Some(true), None) => ExchangeRule::Replace,
            (Some(_), Some(_)) => {
                return Err(
                    "the exchange's rule is told twice, by rule and by replace_only; leave one of them out",
                );
            }
        };
        Ok(Self {
            layers: written.layers,
            heads: written.heads,
            feed_forward: written.feed_forward,
            dropout: written.dropout,
            theta: written.theta,
            first_layer: written.first_layer,
            last_layer: written.last_layer,
            rule,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(rule: &str) -> String {
        format!(
            r#"{{"layers":2,"heads":12,"feed_forward":768,"dropout":0.1,"theta":0.1,"first_layer":0,"last_layer":1{rule}}}"#
        )
    }

    fn read(rule: &str) -> Result<ExchangeConfig, serde_json::Error> {
        serde_json::from_str(&json(rule))
    }

    #[test]
    fn both_keys_are_read_and_the_first_is_written() {
        for (written, rule, again) in [
            ("", ExchangeRule::Add, r#","replace_only":false"#),
            (
                r#","replace_only":false"#,
                ExchangeRule::Add,
                r#","replace_only":false"#,
            ),
            (
                r#","replace_only":true"#,
                ExchangeRule::Replace,
                r#","replace_only":true"#,
            ),
            (
                r#","rule":"add""#,
                ExchangeRule::Add,
                r#","replace_only":false"#,
            ),
            (
                r#","rule":"replace""#,
                ExchangeRule::Replace,
                r#","replace_only":true"#,
            ),
        ] {
            let config = read(written).expect("a rule");
            assert_eq!(config.rule, rule, "{written}");
            assert_eq!(
                serde_json::to_string(&config).expect("plain data"),
                json(again)
            );
        }
    }

    #[test]
    fn each_key_has_its_own_values() {
        for (written, said) in [
            (r#","rule":"swap""#, "`add` or `replace`"),
            (r#","rule":true"#, "expected"),
            (r#","replace_only":"add""#, "expected a boolean"),
            (r#","replace_only":false,"rule":"add""#, "told twice"),
            (r#","rules":"add""#, "unknown field `rules`"),
        ] {
            let error = read(written).expect_err(written).to_string();
            assert!(error.contains(said), "{written}: {error}");
        }
    }
}
