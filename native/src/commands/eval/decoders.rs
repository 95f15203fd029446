//! `muse eval --decoders`: what the decoders know of the other modality, beside what could be known without it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use muse_core::decoders::{DecoderScores, Describer, SeenPhoto, Thumbnail};
use muse_core::image::pixels::Pixels;
use serde::Serialize;

use super::super::{read_bytes, read_picture};
use super::{Options, read_set};
use crate::data::Sample;
use crate::output::json_line;
use crate::train::progress;
use crate::train::report::bits;

/// Pairs that run through a model together.
const TOGETHER: usize = 20;

/// Sums of losses over the captions of one photo, and of how many tokens or pictures.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    nats: f64,
    count: usize,
}

/// A loss of each photo, in the order of the photos.
type Losses = Vec<Sum>;

/// A loss that could be had otherwise, and what the model gains over it.
#[derive(Debug, Serialize)]
struct Compared {
    with: &'static str,
    loss: f64,
    gain: f64,
    /// Half of the gain's 95 % interval.
    interval: f64,
}

/// One decoder's report; losses in nats a token, or in bits a sub-pixel.
#[derive(Debug, Serialize)]
struct Report {
    decoder: &'static str,
    unit: &'static str,
    photos: usize,
    count: usize,
    loss: f64,
    compared: Vec<Compared>,
}

/// What is scored: captions with their photos, photo by photo.
struct Pairs {
    words: Vec<Vec<String>>,
    /// Which photo each caption has.
    photo: Vec<usize>,
    pictures: Vec<Pixels>,
}

/// Runs the command.
///
/// # Errors
///
/// When a model or the data cannot be read, the model has no decoder, or no caption comes with a photo.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let mut samples = Vec::new();
    for path in &options.data {
        samples.extend(read_set(path, options)?.samples);
    }
    let pairs = Pairs::new(samples)?;
    let describer = load(&options.model, options)?;
    let photos = pairs.seen(&describer);
    let own = score(&describer, &pairs, &photos, Pass::OWN);
    let other = score(&describer, &pairs, &photos, Pass::MIXED);
    let control = match &options.control {
        Some(path) => {
            let blind = load(path, options)?;
            Some(score(&blind, &pairs, &pairs.seen(&blind), Pass::CONTROL))
        }
        None => None,
    };

    let mut reports = Vec::new();
    if let Some(own) = own.captions {
        let mut table = vec![("another photo", other.captions)];
        table.push((
            "a captioner trained blind",
            control.as_ref().and_then(|c| c.captions.clone()),
        ));
        table.push(("the frequency of each token", unigram(&describer, &pairs)));
        reports.push(Report::new("captioner", "nats a token", &own, table, 1.0));
    }
    if let Some(own) = own.pictures {
        let mut table = vec![("another caption", other.pictures)];
        table.push((
            "a generator trained blind",
            control.as_ref().and_then(|c| c.pictures.clone()),
        ));
        table.push(("the frequency of each value", Some(marginal(&pairs))));
        reports.push(Report::new(
            "image generator",
            "bits a sub-pixel",
            &own,
            table,
            bits(1.0),
        ));
    }
    let mut out = io::stdout().lock();
    if options.json {
        writeln!(
            out,
            "{}",
            json_line(&serde_json::json!({ "decoders": reports }))
        )?;
    } else {
        for report in &reports {
            report.write(&mut out)?;
        }
    }
    Ok(out.flush()?)
}

fn load(path: &Path, options: &Options) -> anyhow::Result<Describer> {
    let bytes = read_bytes(path)?;
    let chosen = options.device.open()?;
    let describer = Describer::from_bytes(&bytes, &chosen.device)
        .with_context(|| format!("cannot use {} as a model", path.display()))?;
    ensure!(
        describer.config().decoders.is_some(),
        "{} has no decoders: train a model with train.weights.captioning or train.weights.generation above 0, and export \
         it with --with-decoders",
        path.display()
    );
    Ok(describer)
}

impl Pairs {
    /// The samples that have both words and a photo.
    fn new(samples: Vec<Sample>) -> anyhow::Result<Self> {
        let mut photos: BTreeMap<PathBuf, Vec<Vec<String>>> = BTreeMap::new();
        for sample in samples {
            if let Some(image) = sample.image.filter(|_| !sample.words.is_empty()) {
                photos.entry(image).or_default().push(sample.words);
            }
        }
        ensure!(
            photos.len() > 1,
            "the decoders are scored on captions with their photos, at least two; the data has {}",
            photos.len()
        );
        let mut pairs = Self {
            words: Vec::new(),
            photo: Vec::new(),
            pictures: Vec::new(),
        };
        for (path, captions) in photos {
            for words in captions {
                pairs.words.push(words);
                pairs.photo.push(pairs.pictures.len());
            }
            pairs.pictures.push(read_picture(&path)?);
        }
        Ok(pairs)
    }

    /// The photos as a model's image encoder sees them.
    fn seen(&self, describer: &Describer) -> Vec<SeenPhoto> {
        let bar = progress::bar(self.pictures.len(), "photos");
        let see = |photo| {
            bar.inc(1);
            describer.see(photo)
        };
        let seen = self.pictures.iter().map(see).collect();
        bar.finish_and_clear();
        seen
    }
}

/// How captions and photos are put together.
struct Pass {
    title: &'static str,
    /// How far from its own a caption's photo is.
    shift: usize,
    /// Whether the decoders are fed a constant, as they were trained.
    blind: bool,
}

impl Pass {
    const OWN: Self = Self {
        title: "own",
        shift: 0,
        blind: false,
    };
    const MIXED: Self = Self {
        title: "mixed",
        shift: 1,
        blind: false,
    };
    const CONTROL: Self = Self {
        title: "control",
        shift: 0,
        blind: true,
    };
}

/// Losses of both decoders, by photo.
struct Scored {
    captions: Option<Losses>,
    pictures: Option<Losses>,
}

/// Scores each caption with a photo. A caption's loss is its own photo's, a picture's the one of the photo that is drawn.
fn score(describer: &Describer, pairs: &Pairs, seen: &[SeenPhoto], pass: Pass) -> Scored {
    let photos = seen.len();
    let bar = progress::bar(pairs.words.len(), "captions");
    bar.set_prefix(pass.title);
    let mut captions = vec![Sum::default(); photos];
    let mut pictures = captions.clone();
    let order: Vec<usize> = (0..pairs.words.len()).collect();
    for group in order.chunks(TOGETHER) {
        let shown = |caption: usize| (pairs.photo[caption] + pass.shift) % photos;
        let inputs: Vec<(&[String], &SeenPhoto)> = (group.iter())
            .map(|&caption| (&pairs.words[caption][..], &seen[shown(caption)]))
            .collect();
        let DecoderScores {
            captions: said,
            pictures: drawn,
        } = describer.scores(&inputs, pass.blind);
        for (place, nats, tokens) in said {
            captions[pairs.photo[group[place]]].add(nats, tokens);
        }
        for (place, nats) in drawn {
            pictures[shown(group[place])].add(nats, 1);
        }
        bar.inc(group.len() as u64);
    }
    bar.finish_and_clear();
    let some = |losses: Losses| losses.iter().any(|sum| sum.count > 0).then_some(losses);
    Scored {
        captions: some(captions),
        pictures: some(pictures),
    }
}

/// What these very captions cost when each token is coded by its frequency among them.
fn unigram(describer: &Describer, pairs: &Pairs) -> Option<Losses> {
    let tokens: Vec<Vec<u32>> = (pairs.words.iter())
        .map(|words| describer.tokens(words).map(|tokens| tokens[1..].to_vec()))
        .collect::<Option<_>>()?;
    Some(by_frequency(&tokens, &pairs.photo, pairs.pictures.len()))
}

/// What these very pictures cost when each sub-pixel is coded by the frequency of its value in its channel.
fn marginal(pairs: &Pairs) -> Losses {
    let values: Vec<Vec<u32>> = (pairs.pictures.iter())
        .map(|picture| {
            let thumbnail = Thumbnail::new(picture);
            let plane = Thumbnail::LENGTH / 3;
            (thumbnail.bytes().iter().enumerate())
                .map(|(at, &byte)| (at / plane) as u32 * 256 + u32::from(byte))
                .collect()
        })
        .collect();
    let photos: Vec<usize> = (0..values.len()).collect();
    // Three histograms, each of a third of the values: the frequency within a channel is three times that among all.
    let mut losses = by_frequency(&values, &photos, values.len());
    for sum in &mut losses {
        sum.nats = sum.nats / sum.count as f64 - 3f64.ln();
        sum.count = 1;
    }
    losses
}

fn by_frequency(symbols: &[Vec<u32>], photo: &[usize], photos: usize) -> Losses {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for &symbol in symbols.iter().flatten() {
        *counts.entry(symbol).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let mut losses = vec![Sum::default(); photos];
    for (symbols, &photo) in symbols.iter().zip(photo) {
        for symbol in symbols {
            losses[photo].nats -= (counts[symbol] as f64 / total as f64).ln();
            losses[photo].count += 1;
        }
    }
    losses
}

impl Sum {
    fn add(&mut self, nats: f32, count: usize) {
        self.nats += f64::from(nats);
        self.count += count;
    }
}

fn mean(losses: &[Sum]) -> f64 {
    let count: usize = losses.iter().map(|sum| sum.count).sum();
    losses.iter().map(|sum| sum.nats).sum::<f64>() / count.max(1) as f64
}

/// How much lower `own` is than `other` on average, and half of the 95 % interval, with photos as the independent draws
/// (the ratio estimator of cluster sampling).
fn gain(own: &[Sum], other: &[Sum]) -> (f64, f64) {
    let photos = own.len() as f64;
    let count: f64 = own.iter().map(|sum| sum.count as f64).sum();
    let differences = || {
        own.iter().zip(other).map(|(own, other)| {
            // Photos count alike on both sides, whatever the number of their captions there.
            let scale = own.count as f64 / other.count.max(1) as f64;
            (other.nats * scale - own.nats, own.count as f64)
        })
    };
    let mean = differences().map(|(d, _)| d).sum::<f64>() / count;
    let squares: f64 = differences().map(|(d, n)| (d - mean * n).powi(2)).sum();
    let error = (squares * photos / (photos - 1.0)).sqrt() / count;
    (mean, 1.96 * error)
}

impl Report {
    fn new(
        decoder: &'static str,
        unit: &'static str,
        own: &[Sum],
        table: Vec<(&'static str, Option<Losses>)>,
        scale: f64,
    ) -> Self {
        let compared = table.into_iter().filter_map(|(with, losses)| {
            let losses = losses?;
            let (gain, interval) = gain(own, &losses);
            Some(Compared {
                with,
                loss: scale * mean(&losses),
                gain: scale * gain,
                interval: scale * interval,
            })
        });
        Self {
            decoder,
            unit,
            photos: own.len(),
            count: own.iter().map(|sum| sum.count).sum(),
            loss: scale * mean(own),
            compared: compared.collect(),
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: {:.4} {}, on {} photos",
            self.decoder, self.loss, self.unit, self.photos
        )?;
        for row in &self.compared {
            writeln!(
                out,
                "  {:28} {:.4}   gain {:.4} ± {:.4}",
                row.with, row.loss, row.gain, row.interval
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(values: &[(f64, usize)]) -> Losses {
        values
            .iter()
            .map(|&(nats, count)| Sum { nats, count })
            .collect()
    }

    #[test]
    fn a_gain_has_the_interval_of_its_photos() {
        let own = sums(&[(1.0, 1), (2.0, 1), (3.0, 1), (4.0, 1)]);
        let other = sums(&[(2.0, 1), (2.0, 1), (5.0, 1), (5.0, 1)]);
        // Differences 1, 0, 2, 1: mean 1, standard deviation sqrt(2/3), of the mean that by 2.
        let (mean, interval) = gain(&own, &other);
        assert!((mean - 1.0).abs() < 1e-12);
        assert!((interval - 1.96 * (2.0f64 / 3.0).sqrt() / 2.0).abs() < 1e-12);
        // Counts weigh: twice as many tokens at the same loss a token change nothing.
        let double = |losses: &[Sum]| -> Losses {
            let double = |s: &Sum| Sum {
                nats: 2.0 * s.nats,
                count: 2 * s.count,
            };
            losses.iter().map(double).collect()
        };
        assert!((gain(&double(&own), &double(&other)).1 - interval).abs() < 1e-12);
        assert!((gain(&own, &double(&other)).0 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn frequencies_cost_their_entropy() {
        let losses = by_frequency(&[vec![0, 0, 1], vec![2]], &[0, 1], 2);
        let (half, quarter) = (2f64.ln(), 4f64.ln());
        assert!((losses[0].nats - (2.0 * half + quarter)).abs() < 1e-12);
        assert!((losses[1].nats - quarter).abs() < 1e-12);
        assert!((mean(&losses) - 1.5 * 2f64.ln()).abs() < 1e-12);
    }
}
