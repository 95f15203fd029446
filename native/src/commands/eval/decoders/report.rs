//! What `muse eval --decoders` tells: losses by photo, what could be had without the other modality, and the gain's interval.

use std::collections::BTreeMap;
use std::io::{self, Write};

use muse_core::decoders::Thumbnail;
use serde::Serialize;

use crate::train::report::bits;

/// Sums of losses over the captions of one photo, and of how many tokens or pictures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    nats: f64,
    pub(super) count: usize,
}

/// A loss of each photo, in the order of the photos.
pub(super) type Losses = Vec<Sum>;

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

/// The reports on a set, or on all together.
#[derive(Debug, Serialize)]
pub(super) struct SetReport {
    title: String,
    /// Photos that could not be read; their captions are left out.
    unreadable: usize,
    decoders: Vec<Report>,
}

/// One decoder's losses, by photo.
#[derive(Clone, Debug, Default)]
pub(super) struct Losing {
    pub(super) own: Losses,
    /// With another photo, or of another caption.
    pub(super) other: Losses,
    /// Those of the control.
    pub(super) blind: Option<Losses>,
    /// What each photo's losses are of: its captions' tokens, or its sub-pixels' values.
    pub(super) symbols: Vec<Vec<u32>>,
}

/// Both decoders' losses on a set.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) captions: Option<Losing>,
    pub(super) pictures: Option<Losing>,
    pub(super) unreadable: usize,
}

impl Sum {
    pub(super) fn add(&mut self, nats: f32, count: usize) {
        self.nats += f64::from(nats);
        self.count += count;
    }
}

impl Losing {
    fn merge(into: &mut Option<Self>, from: Option<&Self>) {
        let Some(from) = from else { return };
        let Some(own) = into else {
            *into = Some(from.clone());
            return;
        };
        own.own.extend(&from.own);
        own.other.extend(&from.other);
        own.symbols.extend(from.symbols.iter().cloned());
        if let (Some(blind), Some(more)) = (&mut own.blind, &from.blind) {
            blind.extend(more);
        }
    }
}

impl Tally {
    pub(super) fn merge(&mut self, set: &Self) {
        Losing::merge(&mut self.captions, set.captions.as_ref());
        Losing::merge(&mut self.pictures, set.pictures.as_ref());
        self.unreadable += set.unreadable;
    }

    pub(super) fn report(&self, title: String) -> SetReport {
        let captions = self.captions.as_ref().map(|losing| {
            let rows = [
                ("another photo", Some(losing.other.clone())),
                ("a captioner trained blind", losing.blind.clone()),
                (
                    "the frequency of each token",
                    Some(by_frequency(&losing.symbols)),
                ),
            ];
            Report::new("captioner", "nats a token", &losing.own, rows, 1.0)
        });
        let pictures = self.pictures.as_ref().map(|losing| {
            let rows = [
                ("another caption", Some(losing.other.clone())),
                ("a generator trained blind", losing.blind.clone()),
                (
                    "the frequency of each value",
                    Some(by_frequency_in_channel(&losing.symbols)),
                ),
            ];
            let unit = "bits a sub-pixel";
            Report::new("image generator", unit, &losing.own, rows, bits(1.0))
        });
        SetReport {
            title,
            unreadable: self.unreadable,
            decoders: captions.into_iter().chain(pictures).collect(),
        }
    }
}

/// The values of each picture's sub-pixels; each channel's are others.
pub(super) fn values(thumbnails: &[Thumbnail]) -> Vec<Vec<u32>> {
    let plane = Thumbnail::LENGTH / 3;
    (thumbnails.iter())
        .map(|thumbnail| {
            (thumbnail.bytes().iter().enumerate())
                .map(|(at, &byte)| (at / plane) as u32 * 256 + u32::from(byte))
                .collect()
        })
        .collect()
}

/// What the symbols of each photo cost when each is coded by its frequency among all.
fn by_frequency(symbols: &[Vec<u32>]) -> Losses {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for &symbol in symbols.iter().flatten() {
        *counts.entry(symbol).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let cost = |symbol: &u32| (total as f64 / counts[symbol] as f64).ln();
    (symbols.iter())
        .map(|symbols| Sum {
            nats: symbols.iter().map(cost).sum(),
            count: symbols.len(),
        })
        .collect()
}

/// What pictures cost when each sub-pixel is coded by the frequency of its value in its channel.
fn by_frequency_in_channel(values: &[Vec<u32>]) -> Losses {
    let mut losses = by_frequency(values);
    for sum in &mut losses {
        // Three histograms, each of a third of the values: the frequency within a channel is three times that among all.
        sum.nats = sum.nats / sum.count as f64 - 3f64.ln();
        sum.count = 1;
    }
    losses
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
        rows: [(&'static str, Option<Losses>); 3],
        scale: f64,
    ) -> Self {
        let compared = rows.into_iter().filter_map(|(with, losses)| {
            let (gain, interval) = gain(own, &losses?);
            Some(Compared {
                with,
                // The other's mean where each photo counts as it does here.
                loss: scale * (mean(own) + gain),
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
}

impl SetReport {
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{}", self.title)?;
        if self.unreadable > 0 {
            write!(out, ", unreadable photos: {}", self.unreadable)?;
        }
        writeln!(out)?;
        for report in &self.decoders {
            let Report {
                decoder,
                unit,
                photos,
                loss,
                ..
            } = report;
            writeln!(out, "{decoder}: {loss:.4} {unit}, on {photos} photos")?;
            for row in &report.compared {
                writeln!(
                    out,
                    "  {:28} {:.4}   gain {:.4} ± {:.4}",
                    row.with, row.loss, row.gain, row.interval
                )?;
            }
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
        let losses = by_frequency(&[vec![0, 0, 1], vec![2]]);
        let (half, quarter) = (2f64.ln(), 4f64.ln());
        assert!((losses[0].nats - (2.0 * half + quarter)).abs() < 1e-12);
        assert!((losses[1].nats - quarter).abs() < 1e-12);
        assert!((mean(&losses) - 1.5 * 2f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_channel_of_one_value_costs_nothing() {
        let one = Thumbnail::LENGTH / 3;
        let shades = |green: u8| {
            let rest = (0..one).map(move |at| if at % 2 == 0 { green } else { 7 });
            let bytes = std::iter::repeat_n(5, one).chain(rest);
            Thumbnail::from_bytes(bytes.chain(std::iter::repeat_n(5, one)).collect())
        };
        let thumbnails = [7, 7].map(|green| shades(green).expect("a thumbnail"));
        let even = by_frequency_in_channel(&values(&thumbnails));
        assert!(
            even.iter()
                .all(|sum| sum.nats.abs() < 1e-9 && sum.count == 1)
        );
        // Of one channel in three half of the values are others: ln 2 / 3 on average.
        let thumbnails = [9, 9].map(|green| shades(green).expect("a thumbnail"));
        let losses = by_frequency_in_channel(&values(&thumbnails));
        assert!((mean(&losses) - 2f64.ln() / 3.0).abs() < 1e-9, "{losses:?}");
    }

    #[test]
    fn a_rows_loss_is_the_own_loss_and_the_gain() {
        // The other side has other numbers of captions a photo.
        let own = sums(&[(10.0, 10), (2.0, 1)]);
        let other = sums(&[(4.0, 2), (30.0, 10)]);
        let rows = [
            ("other", Some(other)),
            ("none", None),
            ("own", Some(own.clone())),
        ];
        let report = Report::new("captioner", "nats", &own, rows, 2.0);
        assert_eq!(report.compared.len(), 2);
        let [row, same] = &report.compared[..] else {
            panic!("{report:?}");
        };
        // 10 tokens at 2 and 1 at 3.
        assert!((row.loss - 2.0 * 23.0 / 11.0).abs() < 1e-12, "{row:?}");
        assert!((row.loss - report.loss - row.gain).abs() < 1e-12);
        assert!(same.gain.abs() < 1e-12);
    }
}
