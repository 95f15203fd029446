//! The model that a run starts from: pretrained encoders, or a model file.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use burn::tensor::Device;
use muse_core::MuseConfig;
use muse_core::decoders::captioner::Vocabulary;
use muse_core::decoders::{Decoders, DecodersConfig, take_state};
use muse_core::file::ModelFile;
use muse_core::heads::Calibration;
use muse_core::model::Muse;
use muse_core::text::tokenizer::TextTokenizer;
use muse_core::weights::{StateDict, apply_state, state_dict};

use super::config::{CaptionerSection, TrainConfig, missing};
use crate::data::{Sample, names_of};
use crate::output::tell;
use crate::pretrained::{read_state_dict, read_text_encoder};

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
    /// Starts from the model file `init`, or else from the pretrained encoders that `config` names; what the heads choose from and
    /// the captioner's vocabulary are those of `samples` where neither says them.
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
            bail!(missing("model.text.folder"));
        };
        let encoder = read_text_encoder(&config.path(folder))?;
        let decoders =
            config.decoders(|section| vocabulary(section, samples, &encoder.tokenizer))?;
        let names = names_of(config.model.names(), samples.iter().copied());
        let model = config.model_config(names, decoders)?;
        let weights = config.model.image.weights.as_ref();
        let weights = config.path(weights.with_context(|| missing("model.image.weights"))?);
        let state = read_state_dict(&weights)?;
        let mut muse = Muse::new(&model, device)?;
        let text = muse.text.load_published(encoder.state);
        muse.text = text.with_context(|| format!("the text encoder in {}", folder.display()))?;
        let image = muse.image.load_published(model.image.encoder, state);
        muse.image = image.with_context(|| format!("the image encoder {}", weights.display()))?;
        let d = model.text.width();
        Ok(Self {
            muse,
            decoders: (model.decoders.as_ref()).map(|sizes| Decoders::new(sizes, d, device)),
            config: model,
            tokenizer: encoder.tokenizer,
        })
    }

    /// Shape and weights are the file's. The entity head takes in new tags beside those that it has; a head whose classes do not
    /// cover the data's begins anew. So does a decoder that the file does not have; one that the objective
    /// does not have is dropped.
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
        // Of what the training makes of it nobody has measured how sure it is.
        file.config.calibration = Calibration::default();
        let mut wanted = names_of(config.model.names(), samples.iter().copied());
        let tags = &mut file.config.names.tags;
        let known = tags.len();
        let mut new = std::mem::take(&mut wanted.tags);
        new.retain(|tag| !tags.contains(tag));
        if !new.is_empty() && !tags.is_empty() {
            tell(format_args!(
                "the entity head learns {} beside what it knows",
                new.join(", ")
            ));
        }
        tags.extend(new);
        let styles = &mut file.config.names.styles;
        let before = Sizes {
            tags: known,
            styles: styles.names.len(),
        };
        for style in wanted.styles.names.drain(..) {
            if !styles.names.contains(&style) {
                styles.names.push(style);
            }
        }
        styles.default = wanted.styles.default.take().or(styles.default.take());
        for (head, classes) in file.config.names.classifiers_mut() {
            let wanted = wanted.classifiers()[&head];
            if !wanted.iter().all(|class| classes.contains(class)) {
                let head = head.name();
                tell(format_args!(
                    "the classes {} are not all among the model's; the {head} head begins anew",
                    wanted.join(", ")
                ));
                *classes = wanted.to_vec();
                let own = format!("{head}.");
                file.state.retain(|name, _| !name.starts_with(&own));
            }
        }
        let wanted = config.decoders(|section| vocabulary(section, samples, &file.tokenizer))?;
        let mut own = take_state(&mut file.state);
        file.config.decoders = merge(file.config.decoders.take(), wanted, &mut own);
        file.config.validate()?;
        let decoders = match &file.config.decoders {
            Some(sizes) => Some(over(
                Decoders::new(sizes, file.config.text.width(), device),
                own,
            )?),
            None => None,
        };
        let fresh = Muse::new(&file.config, device)?;
        let after = Sizes {
            tags: file.config.names.tags.len(),
            styles: file.config.names.styles.names.len(),
        };
        if known > 0 && before != after {
            grow(&fresh, &mut file.state, before, after);
        }
        Ok(Self {
            muse: over(fresh, file.state)?,
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

/// What the shapes of an entity head follow from.
#[derive(Clone, Copy, PartialEq)]
struct Sizes {
    tags: usize,
    styles: usize,
}

/// Makes the entity head's tensors in `state`, of the sizes `before`, those of `fresh`, which has the sizes `after`; new tags' weights
/// are random, new styles shift nothing. What does not have the shape of the sizes before stays as it is, for [`apply_state`] to
/// complain about.
fn grow(fresh: &Muse, state: &mut StateDict, before: Sizes, after: Sizes) {
    for (name, mut grown) in state_dict(fresh) {
        // Emissions have a group of tags, and one for each style.
        let groups = if name.starts_with("entities.emissions.") {
            1 + before.styles
        } else if name.starts_with("entities.crf.") {
            1
        } else {
            continue;
        };
        let Some(own) = state.get_mut(&name) else {
            continue;
        };
        let wide = grown.shape.last().copied().unwrap_or_default();
        let narrow = groups * before.tags;
        let rows = own.data.len() / narrow.max(1);
        let shaped = own.shape.len() == grown.shape.len()
            && own.shape.last() == Some(&narrow)
            && own.data.len() == rows * narrow
            && rows * wide <= grown.data.len();
        if shaped {
            let places = grown.data.chunks_exact_mut(wide.max(1));
            for (row, place) in own.data.chunks_exact(narrow.max(1)).zip(places) {
                let groups = row.chunks_exact(before.tags.max(1));
                for (group, place) in groups.zip(place.chunks_exact_mut(after.tags.max(1))) {
                    place[..before.tags].copy_from_slice(group);
                }
            }
            *own = grown;
        }
    }
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
