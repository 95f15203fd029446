//! Sentiment.

use std::collections::BTreeSet;

use crate::validate::ConfigError;

/// Checks the classes. Without any there is no sentiment head.
pub(crate) fn validate_classes(classes: &[String]) -> Result<(), ConfigError> {
    let distinct: BTreeSet<_> = classes.iter().collect();
    match distinct.len() == classes.len() && classes.len() != 1 {
        true => Ok(()),
        false => Err(ConfigError::new(
            "classes",
            "must be two or more different names",
        )),
    }
}
