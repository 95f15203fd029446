//! `muse caption`: what a model says of a photo.

mod attention;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use muse_core::decoders::captioner::{Beam, Vocabulary};
use muse_core::describer::Describer;
use muse_core::text::detokenizer::{JoinedWord, sentence, words};
use muse_core::text::tokenizer::TextTokenizer;
use serde_json::{Value, json};

use super::read_bytes;
use crate::data::picture::read_picture;
use crate::device::DeviceChoice;
use crate::output;
use crate::values::count;

/// What to caption and how to answer.
#[derive(Debug, Args)]
pub struct Options {
    /// The photo: JPEG, PNG, WebP or GIF
    #[arg(value_name = "PHOTO")]
    pub image: PathBuf,
    /// Model file, exported with its decoders
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Captions that are followed side by side; 1 takes the likeliest piece each time
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = count(1..=100))]
    pub beams: usize,
    /// The greatest length, in word pieces
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = count(1..=200))]
    pub max_len: usize,
    /// Draw where each word looked, into this PNG
    #[arg(long, value_name = "PNG")]
    pub attention: Option<PathBuf>,
    /// Print JSON, with the other captions that were found
    #[arg(long)]
    pub json: bool,
    /// Where to run
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
}

/// A beam as text.
struct Said {
    beam: Beam,
    pieces: Vec<String>,
    words: Vec<JoinedWord>,
}

/// Runs the command.
///
/// # Errors
///
/// When the model or the photo cannot be read, when the model has no captioner, or when the answer cannot be written.
pub fn run(options: Options) -> anyhow::Result<()> {
    let unusable = || format!("cannot use {} as a model", options.model.display());
    if let Some(path) = &options.attention {
        output::check_place(path)?;
    }
    let bytes = read_bytes(&options.model)?;
    let photo = read_picture(&options.image)?;
    let device = options.device.open()?.device;
    let describer = Describer::from_bytes(&bytes, &device).with_context(unusable)?;
    let (captioner, vocabulary, regions) = describer
        .captioning_inputs(&photo)
        .with_context(|| format!("{} cannot caption", options.model.display()))?;
    let said: Vec<Said> = captioner
        .beam_search(regions, options.beams, options.max_len)
        .into_iter()
        .map(|beam| Said::new(beam, vocabulary, describer.tokenizer()))
        .collect();
    let best = said.first().context("the search found no caption")?;

    let answer = match options.json {
        true => output::json_line(&json!({
            "image": options.image.to_string_lossy(),
            "caption": best.text(),
            "alternatives": said.iter().map(Said::json).collect::<Vec<_>>(),
        })),
        false => output::plain(&best.text()).into_owned(),
    };
    writeln!(io::stdout(), "{answer}").context("cannot write to standard output")?;
    match &options.attention {
        Some(path) => output::write_file(path, &attention::png(&photo, &best.looks())?),
        None => Ok(()),
    }
}

impl Said {
    fn new(beam: Beam, vocabulary: &Vocabulary, tokenizer: &TextTokenizer) -> Self {
        // A piece that the tokenizer does not have is the file's fault; it is no reason to say nothing.
        let piece = |id: u32| tokenizer.piece(id).unwrap_or_else(|| "[UNK]".into());
        let pieces: Vec<String> = vocabulary
            .decode(&beam.tokens)
            .into_iter()
            .map(piece)
            .collect();
        Self {
            beam,
            words: words(&pieces),
            pieces,
        }
    }

    fn text(&self) -> String {
        sentence(self.words.iter().map(|word| word.text.as_str()))
    }

    /// Each word and how much was looked at each region, on average over its pieces.
    fn looks(&self) -> Vec<(&str, Vec<f32>)> {
        let mean = |word: &JoinedWord| {
            let maps = &self.beam.attention[word.pieces.clone()];
            let regions = maps.first().map_or(0, Vec::len);
            let sum = |region: usize| maps.iter().map(|map| map[region]).sum::<f32>();
            (0..regions)
                .map(|region| sum(region) / maps.len() as f32)
                .collect()
        };
        (self.words.iter())
            .map(|word| (word.text.as_str(), mean(word)))
            .collect()
    }

    fn json(&self) -> Value {
        let rounded = |number: f64| (number * 1e6).round() / 1e6;
        json!({
            "text": self.text(),
            "log_probability": rounded(self.beam.log_probability),
            "score": rounded(self.beam.score()),
            "ended": self.beam.ended,
            "tokens": self.pieces,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_looked_where_its_pieces_did_on_average() {
        let pieces = ["a", "sun", "##set", "."].map(str::to_owned).to_vec();
        let at = |region: usize| (0..4).map(|r| f32::from(u8::from(r == region))).collect();
        let said = Said {
            beam: Beam {
                tokens: vec![4, 5, 6, 7],
                log_probability: 0.0,
                attention: vec![at(3), at(0), at(1), at(2)],
                ended: true,
            },
            words: words(&pieces),
            pieces,
        };
        let expected: [(&str, Vec<f32>); 3] = [
            ("a", at(3)),
            ("sunset", vec![0.5, 0.5, 0.0, 0.0]),
            (".", at(2)),
        ];
        assert_eq!(said.looks(), expected);
    }
}
