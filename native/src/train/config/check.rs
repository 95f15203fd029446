//! What a configuration's settings may be.

use std::collections::BTreeSet;
use std::ops::RangeBounds;

use anyhow::{anyhow, ensure};
use muse_core::objective::Part;
use muse_core::validate::{ConfigError, dropout};

use super::{DataSection, LossWeights, Rates, TrainConfig, TrainSection};

/// Each view of a photo is kept; more than this is a slip.
const MOST_VIEWS: u32 = 100;

impl TrainConfig {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.train.check()?;
        self.check_dropouts().map_err(said)?;
        self.check_exchange()?;
        self.train.rates.check()?;
        self.train.weights.check()?;
        self.check_decoders()?;
        self.data.check()
    }

    fn check_dropouts(&self) -> Result<(), ConfigError> {
        dropout("model.image.dropout", self.model.image.dropout)?;
        dropout("model.fusion_dropout", self.model.fusion_dropout)
    }

    fn check_exchange(&self) -> anyhow::Result<()> {
        let Some(exchange) = &self.model.exchange else {
            return Ok(());
        };
        exchange
            .validate()
            .map_err(|error| said(error.within("model.exchange")))?;
        let (first, last) = (exchange.first_layer, exchange.last_layer);
        ensure!(
            exchange.layers == 0 || (first <= last && last < exchange.layers),
            "the exchange goes from model.exchange.first_layer = {first} to last_layer = {last}, both included and \
             counted from 0; of {} layers that is nothing. Without any exchange: model.exchange.theta = 0",
            exchange.layers
        );
        Ok(())
    }

    /// A decoder that has a weight needs sizes.
    fn check_decoders(&self) -> anyhow::Result<()> {
        let weights = &self.train.weights;
        let sizes = self.model.decoders.as_ref();
        let captioner = sizes.is_some_and(|sizes| sizes.captioner.is_some());
        let generator = sizes.is_some_and(|sizes| sizes.generator.is_some());
        for (name, weight, section, sized) in [
            ("captioning", weights.captioning, "captioner", captioner),
            ("generation", weights.generation, "generator", generator),
        ] {
            ensure!(
                weight == 0.0 || sized,
                "train.weights.{name} is {weight}, but there is no [model.decoders.{section}] that says its sizes"
            );
        }
        Ok(())
    }
}

impl TrainSection {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.epochs > 0, "train.epochs must be at least 1");
        ensure!(self.batch_size > 0, "train.batch_size must be at least 1");
        ensure!(self.clip > 0.0, "train.clip must be above 0");
        ensure!(
            (1..=MOST_VIEWS).contains(&self.photo_views),
            "train.photo_views is {}, must be 1 to {MOST_VIEWS}",
            self.photo_views
        );
        let shares = [
            ("train.warmup", self.warmup),
            ("train.stray_photos", self.stray_photos),
            ("train.withheld_photos", self.withheld_photos),
            // There are two other cases, and what remains.
            ("train.recased, twice,", 2.0 * self.recased),
            ("train.label_smoothing", self.label_smoothing),
            ("train.class_balance", self.class_balance),
        ];
        all_within(&shares, 0.0..=1.0, "0 to 1")?;
        let decay = [("train.weight_decay", self.weight_decay)];
        all_within(&decay, 0.0..f64::INFINITY, "0 or above")
    }
}

impl Rates {
    fn check(&self) -> anyhow::Result<()> {
        let rates = [
            ("train.rates.text", self.text),
            ("train.rates.image", self.image),
            ("train.rates.exchange", self.exchange),
            ("train.rates.heads", self.heads),
            ("train.rates.crf", self.crf),
            ("train.rates.decoders", self.decoders),
        ];
        all_within(&rates, 0.0..=1.0, "0 to 1")
    }
}

impl LossWeights {
    fn check(&self) -> anyhow::Result<()> {
        for part in Part::ALL {
            let name = format!("train.weights.{}", part.name());
            let weight = [(&*name, self.of(part))];
            all_within(&weight, 0.0..f64::INFINITY, "0 or above")?;
        }
        Ok(())
    }
}

impl DataSection {
    fn check(&self) -> anyhow::Result<()> {
        let mut titles = BTreeSet::from(["all".to_owned()]);
        for source in &self.valid {
            let title = source.title();
            ensure!(
                titles.insert(title.clone()),
                "data.valid has two sets called {title:?} (\"all\" is what they are called together); give one another \
                 name"
            );
        }
        Ok(())
    }
}

/// In the words of the other settings' errors.
fn said(error: ConfigError) -> anyhow::Error {
    anyhow!("{} {}", error.setting, error.problem)
}

/// Checks that each of these settings is in a range, which is `shown` where one is not.
pub(crate) fn all_within(
    settings: &[(&str, f64)],
    range: impl RangeBounds<f64>,
    shown: &str,
) -> anyhow::Result<()> {
    for (name, value) in settings {
        ensure!(range.contains(value), "{name} is {value}, must be {shown}");
    }
    Ok(())
}
