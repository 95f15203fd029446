//! The texts of a pretraining, in pieces.

use std::collections::HashSet;

use anyhow::{Context, ensure};
use muse_core::text::tokenizer::{EncodedText, TextTokenizer};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::config::PretrainConfig;
use crate::data::blocklist::Blocklist;
use crate::data::{Source, read_source};
use crate::output::tell;
use crate::train::feed::mix;

/// Texts, or windows of long ones, each of at least one word.
pub(super) struct Texts {
    /// What is learned from.
    pub(super) train: Vec<EncodedText>,
    /// What is asked about after each epoch.
    pub(super) held_out: Vec<EncodedText>,
}

impl Texts {
    /// Reads all sources: each text once, without those that are blocked; the seed draws what is held out.
    ///
    /// # Errors
    ///
    /// When a source or the blocklist cannot be read, or fewer than two texts are left.
    pub(super) fn read(config: &PretrainConfig, tokenizer: &TextTokenizer) -> anyhow::Result<Self> {
        let data = &config.data;
        let blocklist = data.blocklist.as_ref();
        let blocklist = blocklist
            .map(|path| Blocklist::read(&config.data_folder().join(path)))
            .transpose()?;
        let mut texts = Vec::new();
        // One that is there twice could be learned from and asked about.
        let mut known = HashSet::new();
        let (mut blocked, mut repeated) = (0, 0);
        for source in &data.train {
            for words in words(source, config)? {
                if words.is_empty() {
                    continue;
                } else if blocklist.as_ref().is_some_and(|list| list.blocks(&words)) {
                    blocked += 1;
                } else if !known.insert(words.join(" ")) {
                    repeated += 1;
                } else {
                    texts.push(words);
                }
            }
        }
        drop(known);
        if blocklist.is_some() {
            tell(format_args!("{blocked} texts are left out as blocked"));
        }
        if repeated > 0 {
            tell(format_args!("{repeated} texts are left out as repeated"));
        }
        ensure!(
            texts.len() >= 2,
            "there must be at least two texts, one to learn from and one to hold out; {} are left of those under \
             [[data.train]]",
            texts.len()
        );
        let amount = (data.held_out * texts.len() as f64).round() as usize;
        let amount = amount.clamp(1, texts.len() - 1);
        let mut rng = ChaCha8Rng::seed_from_u64(mix(&[config.seed]));
        let held_out: HashSet<usize> = sample(&mut rng, texts.len(), amount).into_iter().collect();
        let (held_out, train): (Vec<_>, Vec<_>) =
            (texts.into_iter().enumerate()).partition(|(number, _)| held_out.contains(number));
        let encoded = |texts: Vec<(usize, Vec<String>)>| -> Vec<EncodedText> {
            let windows = texts.into_par_iter().flat_map_iter(|(_, words)| {
                let windows = tokenizer.windows(&words, config.train.max_pieces);
                windows.into_iter().map(|window| window.encoded)
            });
            windows.collect()
        };
        let texts = Self {
            train: encoded(train),
            held_out: encoded(held_out),
        };
        tell(format_args!(
            "{} texts to learn from, {} held out",
            texts.train.len(),
            texts.held_out.len()
        ));
        Ok(texts)
    }
}

/// The words of a source's texts; what else it has is not looked at.
fn words(source: &Source, config: &PretrainConfig) -> anyhow::Result<Vec<Vec<String>>> {
    let plain = Source {
        no_images: true,
        labels: None,
        ..source.clone()
    };
    let samples = read_source(&plain, &config.data_folder());
    let samples = match source.format {
        Some(_) => samples,
        None => samples.with_context(|| {
            format!(
                "{} (for plain text, one text a line, set format to \"text\")",
                source.title()
            )
        }),
    };
    Ok(samples?.into_iter().map(|sample| sample.words).collect())
}
