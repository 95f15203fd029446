//! What the tags of a caption may be, where that is not certain: shares of whole sequences of tags, written with spaces between
//! the tags (`"O B-PER I-PER"`).

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

use super::sample::{Shares, checked_tag, split_hashtags};

/// Tags as one text.
pub fn joined(tags: &[String]) -> String {
    tags.join(" ")
}

/// The tags of a text.
pub fn apart(reading: &str) -> Vec<String> {
    reading.split(' ').map(str::to_owned).collect()
}

/// Readings as a file has them for these `words`, with other names for types, and with hashtags apart where they are to be.
///
/// # Errors
///
/// When there is not a tag for each word, or a tag is none.
pub(super) fn checked(
    readings: Shares,
    words: &[String],
    rename: &BTreeMap<String, String>,
    hashtags_apart: bool,
) -> anyhow::Result<Shares> {
    let mut checked = Shares::new();
    for (reading, share) in readings {
        let tags = reading.split_whitespace();
        let tags = tags.map(|tag| checked_tag(tag, rename));
        let mut tags = tags
            .collect::<anyhow::Result<Vec<_>>>()
            .with_context(|| format!("in the reading {reading:?}"))?;
        ensure!(
            tags.len() == words.len(),
            "the reading {reading:?} has {} tags for {} words: {words:?}",
            tags.len(),
            words.len()
        );
        if hashtags_apart {
            split_hashtags(&mut words.to_vec(), Some(&mut tags));
        }
        *checked.entry(joined(&tags)).or_default() += share;
    }
    Ok(checked)
}

/// That with the greatest share.
pub fn likeliest(shares: &Shares) -> Option<(&String, f64)> {
    let best = shares.iter().max_by(|a, b| a.1.total_cmp(b.1));
    best.map(|(key, share)| (key, *share))
}
