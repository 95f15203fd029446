//! What the settings of a configuration may be.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// A configuration that no model can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model configuration: {setting}: {problem}")]
pub struct ConfigError {
    /// The setting at fault.
    pub setting: String,
    /// What is wrong with it, and what would be right; to be read after the setting.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(setting: &str, problem: impl Into<String>) -> Self {
        Self {
            setting: setting.to_owned(),
            problem: problem.into(),
        }
    }

    /// The same error, seen from where the configuration is the setting `section`.
    #[must_use]
    pub fn within(mut self, section: &str) -> Self {
        self.setting = format!("{section}.{}", self.setting);
        self
    }
}

/// Checks a number against its bounds, both included.
pub(crate) fn range<T: PartialOrd + Display>(
    setting: &str,
    value: T,
    allowed: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    let (least, most) = (allowed.start(), allowed.end());
    match allowed.contains(&value) {
        true => Ok(()),
        false => {
            let problem = format!("is {value}, must be {least} to {most}");
            Err(ConfigError::new(setting, problem))
        }
    }
}

/// Checks a dropout.
///
/// # Errors
///
/// When it is not a share below 1; names it as `setting`.
pub fn dropout(setting: &str, share: f64) -> Result<(), ConfigError> {
    match (0.0..1.0).contains(&share) {
        true => Ok(()),
        false => {
            let problem = format!("is {share}, must be at least 0 and below 1");
            Err(ConfigError::new(setting, problem))
        }
    }
}

/// Checks that attention heads can share a model of this width.
pub(crate) fn heads(setting: &str, heads: usize, width: usize) -> Result<(), ConfigError> {
    range(setting, heads, 1..=width)?;
    match width.is_multiple_of(heads) {
        true => Ok(()),
        false => {
            let problem = format!("is {heads}, must divide the width {width}");
            Err(ConfigError::new(setting, problem))
        }
    }
}
