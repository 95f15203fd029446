//! Entities.

pub mod crf;

use crate::validate::ConfigError;

/// Checks BIO tags: `O` first, then each `B-type` or `I-type` once. Without any there is no entity head.
pub(crate) fn validate_tags(tags: &[String]) -> Result<(), ConfigError> {
    if tags.first().is_some_and(|tag| tag != "O") {
        return Err(ConfigError::new("tags", "the first tag must be O"));
    }
    for (index, tag) in tags.iter().enumerate().skip(1) {
        let kind = tag.strip_prefix("B-").or_else(|| tag.strip_prefix("I-"));
        if kind.is_none_or(str::is_empty) || tags[..index].contains(tag) {
            let problem = format!("{tag:?} is not a BIO tag of its own (B-type or I-type)");
            return Err(ConfigError::new("tags", problem));
        }
    }
    Ok(())
}
