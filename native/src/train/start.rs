//! The model that a run starts from: pretrained encoders, or a model file.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use burn::tensor::Device;
use muse_core::MuseConfig;
use muse_core::captioner::Vocabulary;
use muse_core::decoders::{Decoders, DecodersConfig, take_state};
use muse_core::file::ModelFile;
use muse_core::model::Muse;
use muse_core::text::tokenizer::TextTokenizer;
use muse_core::weights::{StateDict, apply_state, load_bert, load_cnn, state_dict};

use super::config::{CaptionerSection, TrainConfig};
use crate::data::{Sample, classes_of, tags_of};
use crate::output::tell;
use crate::weights::{read_bert_folder, read_state_dict};

/// A model on the device without autodiff.
pub struct Start {
    /// Encoders, exchange and heads.
    pub muse: Muse,
    /// The decoders, where the objective has them.
    pub decoders: Option<Decoders>,
    /// What they are made of.
    pub config: MuseConfig,
    /// The text encoder's tokenizer.
    pub tokenizer: TextTokenizer,
}

impl Start {
    /// Starts from the model file `init`, or else from the pretrained encoders that `config` names; tags, classes and the
    /// captioner's vocabulary are those of `samples` where neither says them.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or does not fit, or the settings contradict each other.
    pub fn new(
        init: Option<&Path>,
        config: &TrainConfig,
        samples: &[&Sample],
        device: &Device,
    ) -> anyhow::Result<Self> {
        device.seed(config.seed);
        match init {
            Some(path) => Self::from_model(path, config, samples, device),
            None => Self::from_encoders(config, samples, device),
        }
    }

    fn from_encoders(
        config: &TrainConfig,
        samples: &[&Sample],
        device: &Device,
    ) -> anyhow::Result<Self> {
        let Some(folder) = &config.model.text.folder else {
            bail!("model.text.folder is needed to train: the pretrained text encoder");
        };
        let encoder = read_bert_folder(&config.path(folder))?;
        let decoders =
            config.decoders(|section| vocabulary(section, samples, &encoder.tokenizer))?;
        let (tags, classes) = labels(samples);
        let model = config.model_config(tags, classes, decoders)?;
        let weights = config.path(&config.model.image.weights);
        let state = read_state_dict(&weights)?;
        let mut muse = Muse::new(&model, device)?;
        muse.text = load_bert(muse.text, encoder.state)
            .with_context(|| format!("the text encoder in {}", folder.display()))?;
        muse.image = load_cnn(muse.image, model.image.encoder, state)
            .with_context(|| format!("the image encoder {}", weights.display()))?;
        let d = model.text.hidden_size;
        Ok(Self {
            muse,
            decoders: (model.decoders.as_ref()).map(|sizes| Decoders::new(sizes, d, device)),
            config: model,
            tokenizer: encoder.tokenizer,
        })
    }

    /// Shape and weights are the file's. A head whose labels cover the data's is kept; else it begins anew. So does a
    /// decoder that the file does not have; one that the objective does not have is dropped.
    fn from_model(
        path: &Path,
        config: &TrainConfig,
        samples: &[&Sample],
        device: &Device,
    ) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read the model {}", path.display()))?;
        let mut file = ModelFile::from_bytes(&bytes)
            .with_context(|| format!("cannot use the model {}", path.display()))?;
        let (tags, classes) = labels(samples);
        let pick = |own: &[String], data: Vec<String>| match own.is_empty() {
            true => data,
            false => own.to_vec(),
        };
        for (known, wanted, head) in [
            (
                &mut file.config.tags,
                pick(&config.model.tags, tags),
                "entities.",
            ),
            (
                &mut file.config.classes,
                pick(&config.model.classes, classes),
                "sentiment.",
            ),
        ] {
            if wanted.iter().all(|label| known.contains(label)) {
                continue;
            }
            tell(format_args!(
                "the labels {} are not all among the model's; the head {head} begins anew",
                wanted.join(", ")
            ));
            *known = wanted;
            file.state.retain(|name, _| !name.starts_with(head));
        }
        let wanted = config.decoders(|section| vocabulary(section, samples, &file.tokenizer))?;
        let mut own = take_state(&mut file.state);
        file.config.decoders = merge(file.config.decoders.take(), wanted, &mut own);
        file.config.validate()?;
        let decoders = match &file.config.decoders {
            Some(sizes) => Some(over(
                Decoders::new(sizes, file.config.text.hidden_size, device),
                own,
            )?),
            None => None,
        };
        Ok(Self {
            muse: over(Muse::new(&file.config, device)?, file.state)?,
            decoders,
            config: file.config,
            tokenizer: file.tokenizer,
        })
    }
}

/// Random weights, where `state` has none.
fn over<M: burn::module::Module>(fresh: M, state: StateDict) -> anyhow::Result<M> {
    let mut whole = state_dict(&fresh);
    whole.extend(state);
    Ok(apply_state(fresh, whole)?)
}

/// The decoders that are wanted, as the file has them where it has them. Of the file's weights `own` only theirs stay.
fn merge(
    known: Option<DecodersConfig>,
    wanted: Option<DecodersConfig>,
    own: &mut StateDict,
) -> Option<DecodersConfig> {
    let Some(mut wanted) = wanted else {
        own.clear();
        return None;
    };
    let (captioner, generator) = known.map_or((None, None), |k| (k.captioner, k.generator));
    match captioner {
        Some(known) if wanted.captioner.is_some() => wanted.captioner = Some(known),
        _ => own.retain(|name, _| !name.starts_with("captioner.")),
    }
    match generator {
        Some(known) if wanted.generator.is_some() => wanted.generator = Some(known),
        _ => own.retain(|name, _| !name.starts_with("generator.")),
    }
    Some(wanted)
}

fn labels(samples: &[&Sample]) -> (Vec<String>, Vec<String>) {
    let samples = || samples.iter().copied();
    (tags_of(samples()), classes_of(samples()))
}

/// The word pieces that captions of pictures have.
///
/// # Errors
///
/// When the vocabulary's size is set, which is for `muse info` alone.
pub fn vocabulary(
    section: &CaptionerSection,
    samples: &[&Sample],
    tokenizer: &TextTokenizer,
) -> anyhow::Result<Vocabulary> {
    ensure!(
        section.tokens.is_none(),
        "model.decoders.captioner.tokens stands in for data that are not at hand; to train, take it out"
    );
    let captions = samples.iter().filter(|sample| sample.image.is_some());
    let pieces = captions.map(|sample| {
        let mut pieces = tokenizer.encode_words(&sample.words).concat();
        // The captioner has a token of its own for what is unknown, and never says it.
        pieces.retain(|&piece| piece != tokenizer.unk());
        pieces
    });
    Ok(Vocabulary::new(pieces, section.least))
}
