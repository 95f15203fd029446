//! The form of values that clap has no parser for.

use std::ops::{RangeBounds, RangeInclusive};
use std::str::FromStr;

use clap::builder::RangedU64ValueParser;

/// A whole number.
pub(crate) fn count(range: impl RangeBounds<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// A number, not necessarily whole.
pub(crate) fn within<T: FromStr + PartialOrd + std::fmt::Display>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone
where
    RangeInclusive<T>: Clone,
{
    move |text| match text.parse() {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => Err(format!(
            "expected a number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

/// `KEY=VALUE`, without spaces around either.
pub(crate) fn key_value(pair: &str) -> Result<(String, String), String> {
    match pair.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().into(), value.trim().into()))
        }
        _ => Err("expected KEY=VALUE".into()),
    }
}

/// The same, in one piece.
pub(crate) fn assignment(pair: &str) -> Result<String, String> {
    key_value(pair).map(|(key, value)| format!("{key}={value}"))
}
