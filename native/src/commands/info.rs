//! `muse info`: what a model file, or a model that a configuration describes, is made of.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use burn::tensor::Device;
use clap::Args;
use muse_core::config::MuseConfig;
use muse_core::decoders::captioner::Vocabulary;
use muse_core::decoders::{Decoders, DecodersConfig, PREFIX};
use muse_core::exchange::ExchangeRule;
use muse_core::file::ModelFile;
use muse_core::heads::calibration::{Calibration, Scaling};
use muse_core::model::Muse;
use muse_core::weights::layout;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde_json::{Value, json};

use super::read_bytes;
use crate::data::{Sample, names_of, read_source};
use crate::output::{json_line, plain};
use crate::pretrained::read_tokenizer;
use crate::train::config::TrainConfig;
use crate::train::start::vocabulary;

/// What to tell about, and how.
#[derive(Debug, Args)]
pub struct Options {
    /// Model file, or a training configuration (.toml)
    pub model: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Parts of the model by the names of their parameters; the first that fits counts. Others are called what their parameters are:
/// `sentiment.fusion.weight` is of `sentiment: fusion`.
const PARTS: &[(&str, &str)] = &[
    ("text.", "text encoder"),
    ("word_shapes.", "word shapes"),
    ("image.", "image encoder"),
    ("projection.", "projection"),
    ("absent", "absent picture"),
    ("text_cls", "cls rows"),
    ("image_cls", "cls rows"),
    ("entities.crf.", "entities: CRF"),
    ("cross.", "cross transformer"),
    ("decoders.mlp.", "decoders: MLP"),
    ("decoders.captioner.", "decoders: captioner"),
    ("decoders.generator.", "decoders: image generator"),
];

/// Weights of each part, in the model's order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts(Vec<(String, usize)>);

impl Parts {
    fn add(&mut self, name: &str, weights: usize) {
        let part = part_of(name);
        match self.0.iter_mut().find(|(known, _)| *known == part) {
            Some((_, sum)) => *sum += weights,
            None => self.0.push((part, weights)),
        }
    }

    fn total(&self) -> usize {
        self.0.iter().map(|(_, weights)| weights).sum()
    }

    /// Without the decoders.
    fn inference(&self) -> usize {
        let own = self
            .0
            .iter()
            .filter(|(part, _)| !part.starts_with("decoders"));
        own.map(|(_, weights)| weights).sum()
    }
}

/// The part that a parameter belongs to; each layer of the cross transformer is one.
fn part_of(name: &str) -> String {
    let Some((_, part)) = PARTS.iter().find(|(start, _)| name.starts_with(start)) else {
        let parts: Vec<&str> = name.split('.').collect();
        return parts[..(parts.len() - 1).clamp(1, 2)].join(": ");
    };
    let layer = name
        .split('.')
        .find_map(|field| field.parse::<usize>().ok());
    match (*part, layer) {
        ("cross transformer", Some(layer)) => format!("{part}, layer {layer}"),
        _ => (*part).to_owned(),
    }
}

/// Weights by part of the model that `config` describes.
///
/// # Errors
///
/// When `config` contradicts itself.
fn count(config: &MuseConfig) -> anyhow::Result<Parts> {
    let device = Device::flex();
    let mut parts = Parts::default();
    // Without making them: parameters that nobody has looked at yet know their shape.
    for (name, shape) in layout(&Muse::new(config, &device)?) {
        parts.add(&name, shape.iter().product());
    }
    if let Some(sizes) = &config.decoders {
        let decoders = Decoders::new(sizes, config.text.width(), &device);
        for (name, shape) in layout(&decoders) {
            parts.add(&format!("{PREFIX}{name}"), shape.iter().product());
        }
    }
    Ok(parts)
}

/// Runs the command.
///
/// # Errors
///
/// When the file cannot be read, or what it describes makes no sense.
pub fn run(options: Options) -> anyhow::Result<()> {
    let is_config = options
        .model
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
    let (config, parts, file) = match is_config {
        true => {
            let config = model_of(&options.model)?;
            let parts = count(&config)?;
            (config, parts, None)
        }
        false => {
            let bytes = read_bytes(&options.model)?;
            let context = || format!("cannot use {} as a model", options.model.display());
            let model = ModelFile::from_bytes(&bytes).with_context(context)?;
            // Counted from the shape, not from the file: the file's tensors come in the order of their names.
            let parts = count(&model.config).with_context(context)?;
            let stored: usize = model.state.values().map(|tensor| tensor.data.len()).sum();
            ensure!(
                stored == parts.total(),
                "{} holds {stored} weights, but its configuration has {}",
                options.model.display(),
                parts.total()
            );
            (model.config, parts, Some((precision(&bytes), bytes.len())))
        }
    };
    let mut out = io::stdout().lock();
    match options.json {
        true => writeln!(out, "{}", json_line(&to_json(&config, &parts, file)?))?,
        false => write_text(&mut out, &config, &parts, file)?,
    }
    Ok(out.flush()?)
}

/// The model that a training configuration makes, with the tags, classes and words of its data.
fn model_of(path: &Path) -> anyhow::Result<MuseConfig> {
    let config = TrainConfig::load(path, &[])?;
    let model = &config.model;
    if let Some(init) = &model.init {
        let init = config.path(init);
        bail!(
            "the training starts from the model {} and keeps its shape; `muse info` of that file describes it",
            init.display()
        );
    }
    let read = || -> anyhow::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for source in &config.data.train {
            samples.extend(read_source(source, &config.data_folder()).context(
                "tags, classes and the captioner's vocabulary are those of the data; without the data, set model.tags or \
                 model.classes, and model.decoders.captioner.tokens",
            )?);
        }
        Ok(samples)
    };
    let samples = match model.names().is_empty() {
        true => read()?,
        false => Vec::new(),
    };
    let decoders = config.decoders(|section| match (section.tokens, &model.text.folder) {
        (Some(tokens), _) => Ok(Vocabulary::of_size(tokens)),
        (None, Some(folder)) => {
            let tokenizer = read_tokenizer(&config.path(folder))?;
            let samples = read()?;
            vocabulary(section, &samples.iter().collect::<Vec<_>>(), &tokenizer)
        }
        (None, None) => {
            bail!("without model.text.folder, model.decoders.captioner.tokens must say the vocabulary's size")
        }
    })?;
    config.model_config(names_of(model.names(), samples.iter()), decoders)
}

/// How the weights of a model file are kept.
fn precision(bytes: &[u8]) -> &'static str {
    let Ok((_, header)) = SafeTensors::read_metadata(bytes) else {
        return "unknown";
    };
    let has = |dtype| {
        header
            .tensors()
            .values()
            .any(|tensor| tensor.dtype == dtype)
    };
    if has(Dtype::I8) {
        "8-bit"
    } else if has(Dtype::F16) {
        "f16"
    } else {
        "f32"
    }
}

fn to_json(
    config: &MuseConfig,
    parts: &Parts,
    file: Option<(&str, usize)>,
) -> anyhow::Result<Value> {
    let rows: Vec<Value> = parts
        .0
        .iter()
        .map(|(part, weights)| json!({ "part": part, "weights": weights }))
        .collect();
    let mut value = json!({
        "weights": parts.total(),
        "parts": rows,
        "config": serde_json::to_value(config)?,
    });
    if let Some((precision, bytes)) = file {
        value["file"] = json!({ "precision": precision, "bytes": bytes });
    }
    Ok(value)
}

fn write_text(
    out: &mut impl Write,
    config: &MuseConfig,
    parts: &Parts,
    file: Option<(&str, usize)>,
) -> io::Result<()> {
    write_parts(out, config, parts)?;
    if let Some((precision, bytes)) = file {
        writeln!(
            out,
            "file       {:.1} MB, {precision} weights",
            bytes as f64 / 1e6
        )?;
    }
    write_shape(out, config)
}

/// A row for each part of the model, and their sums.
fn write_parts(out: &mut impl Write, config: &MuseConfig, parts: &Parts) -> io::Result<()> {
    let width = parts
        .0
        .iter()
        .map(|(part, _)| part.len())
        .chain(["without decoders".len()])
        .max()
        .unwrap_or(0);
    for (part, weights) in &parts.0 {
        writeln!(out, "{part:width$}  {:>12}", grouped(*weights))?;
    }
    if config.decoders.is_some() {
        let inference = grouped(parts.inference());
        writeln!(out, "{:width$}  {inference:>12}", "without decoders")?;
    }
    writeln!(out, "{:width$}  {:>12}", "total", grouped(parts.total()))?;
    writeln!(out)
}

/// A row for each module.
fn write_shape(out: &mut impl Write, config: &MuseConfig) -> io::Result<()> {
    let (text, exchange) = (&config.text, &config.exchange);
    writeln!(
        out,
        "text       {} layers, width {}, {} pieces, windows of {}{}",
        text.layers(),
        text.width(),
        text.vocab_size(),
        config.max_pieces,
        if config.word_shapes {
            ", word shapes"
        } else {
            ""
        }
    )?;
    let encoder = name_of(config.image.encoder)?;
    let rule = match exchange.rule == ExchangeRule::default() {
        true => String::new(),
        false => format!(", rule {}", name_of(exchange.rule)?),
    };
    let size = config.image.preparation.size;
    writeln!(out, "image      {encoder}, {size}x{size}")?;
    writeln!(
        out,
        "exchange   {} layers, {} heads, ratio {} in layers {} to {}{rule}",
        exchange.layers, exchange.heads, exchange.theta, exchange.first_layer, exchange.last_layer,
    )?;
    if let Some(decoders) = &config.decoders {
        writeln!(out, "decoders   {}", described(decoders))?;
    }
    for (setting, names) in config.names.lists() {
        writeln!(out, "{setting:<10} {}", listed(names))?;
    }
    let styles = &config.names.styles;
    if let Some(first) = styles.names.first() {
        let default = plain(styles.default.as_ref().unwrap_or(first));
        writeln!(
            out,
            "styles     {}; without --style {default}",
            listed(&styles.names)
        )?;
    }
    write_calibration(out, config)
}

/// What is calibrated; nothing where nothing is.
fn write_calibration(out: &mut impl Write, config: &MuseConfig) -> io::Result<()> {
    let Calibration {
        entities,
        temperatures,
    } = &config.calibration;
    for (place, scaling) in entities.iter().enumerate() {
        if *scaling != Scaling::default() {
            let Scaling { slope, offset } = scaling;
            let style = config.names.styles.names.get(place);
            let style = style.map(|name| format!(" in the style {}", plain(name)));
            writeln!(
                out,
                "calibrated entities{}: slope {slope:.3}, offset {offset:.3}",
                style.unwrap_or_default()
            )?;
        }
    }
    for (head, temperature) in temperatures {
        let head = head.name();
        writeln!(out, "calibrated {head}: temperature {temperature:.3}")?;
    }
    Ok(())
}

fn described(decoders: &DecodersConfig) -> String {
    let captioner = decoders.captioner.as_ref().map(|c| {
        format!(
            "captioner of width {} with {} tokens",
            c.sizes.hidden,
            c.vocabulary.len()
        )
    });
    let generator = decoders.generator.as_ref().map(|g| {
        format!(
            "image generator of {} blocks a stage, {} filters, {} mixtures",
            g.blocks, g.filters, g.mixtures
        )
    });
    let blind = (decoders.blind).then(|| "fed a constant (train.blind_decoders)".to_owned());
    let all: Vec<String> = captioner
        .into_iter()
        .chain(generator)
        .chain(blind)
        .collect();
    all.join(", ")
}

/// What a configuration calls a setting's value.
fn name_of(value: impl Serialize) -> io::Result<String> {
    let value = serde_json::to_value(value)?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

fn listed(names: &[String]) -> String {
    match names.is_empty() {
        true => "none".into(),
        false => plain(&names.join(" ")).into_owned(),
    }
}

/// `204,000,000`
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let table = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (204_123_456, "204,123,456"),
        ];
        for (number, expected) in table {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn parameters_find_their_part() {
        let table = [
            ("text.layers.3.attention.query.weight", "text encoder"),
            ("text_cls", "cls rows"),
            ("image_cls", "cls rows"),
            ("image.stem.conv.weight", "image encoder"),
            ("cross.layers.2.norm1.gamma", "cross transformer, layer 2"),
            ("entities.crf.start", "entities: CRF"),
            ("entities.fusion.weight", "entities: fusion"),
            ("novelty.weight", "novelty"),
        ];
        for (name, expected) in table {
            assert_eq!(part_of(name), expected, "{name}");
        }
    }
}
