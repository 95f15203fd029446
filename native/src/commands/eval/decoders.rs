//! `muse eval --decoders`: what the decoders know of the other modality, beside what could be known without it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use muse_core::decoders::{DecoderScores, Thumbnail};
use muse_core::describer::{Describer, EncodedPhoto};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::super::read_bytes;
use super::{Options, Set, print, read_set};
use crate::data::picture::read_picture;
use crate::output::tell;
use crate::train::progress;
use report::{Losing, Losses, SetReport, Sum, Tally, values};

mod report;

/// Pairs that run through a model together.
const BATCH_SIZE: usize = 20;

/// What is scored: captions with their photos, photo by photo.
struct Pairs {
    words: Vec<Vec<String>>,
    /// Which photo each caption has.
    photo: Vec<usize>,
    paths: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
///
/// When a model or the data cannot be read, the model has no decoder or is a control, the control is none or does not go with
/// the model, or fewer than two photos have a caption.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let describer = load(&options.model, options)?;
    ensure!(
        !is_blind(&describer),
        "{} was trained with train.blind_decoders: it is a control; give it with --control, and with --model the model to \
         compare it with",
        options.model.display()
    );
    let control = match &options.control {
        Some(path) => Some(load_control(path, options, &describer)?),
        None => None,
    };
    let sets = (options.data.iter())
        .map(|path| read_set(path, options))
        .collect::<anyhow::Result<Vec<_>>>()?;

    let mut pooled = Tally::default();
    let mut reports = Vec::new();
    for set in sets {
        let title = set.title.clone();
        let tally = tally(&describer, control.as_ref(), set)
            .with_context(|| format!("cannot score the decoders on {title}"))?;
        pooled.merge(&tally);
        reports.push(tally.report(title));
    }
    let pooled = pooled.report("pooled".to_owned());
    print(&reports, &pooled, options.json, SetReport::write)
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

fn is_blind(describer: &Describer) -> bool {
    let decoders = describer.config().decoders.as_ref();
    decoders.is_some_and(|decoders| decoders.blind)
}

fn load_control(path: &Path, options: &Options, model: &Describer) -> anyhow::Result<Describer> {
    let control = load(path, options)?;
    ensure!(
        is_blind(&control),
        "{} is no control: train one with train.blind_decoders = true",
        path.display()
    );
    let has = |describer: &Describer| {
        let decoders = describer.config().decoders.as_ref();
        decoders.map(|decoders| [decoders.captioner.is_some(), decoders.generator.is_some()])
    };
    ensure!(
        has(&control) == has(model),
        "{} does not have the same decoders as {}",
        path.display(),
        options.model.display()
    );
    Ok(control)
}

impl Pairs {
    /// The samples that have both words and a photo, the photos in an order that chance makes: neighbours in a folder are
    /// often of one event.
    fn new(set: Set) -> anyhow::Result<Self> {
        let mut photos: BTreeMap<PathBuf, Vec<Vec<String>>> = BTreeMap::new();
        for sample in set.samples {
            if let Some(image) = sample.image.filter(|_| !sample.words.is_empty()) {
                photos.entry(image).or_default().push(sample.words);
            }
        }
        let mut photos: Vec<_> = photos.into_iter().collect();
        photos.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
        let mut pairs = Self {
            words: Vec::new(),
            photo: Vec::new(),
            paths: Vec::new(),
        };
        for (path, captions) in photos {
            for words in captions {
                pairs.words.push(words);
                pairs.photo.push(pairs.paths.len());
            }
            pairs.paths.push(path);
        }
        Ok(pairs)
    }

    /// The photos as the models' image encoders see them, and as the generators draw them; what cannot be read is told, and
    /// leaves with its captions.
    fn encode<const N: usize>(
        &mut self,
        models: [&Describer; N],
    ) -> anyhow::Result<([Vec<EncodedPhoto>; N], Vec<Thumbnail>)> {
        let bar = progress::bar(self.paths.len(), "photos");
        let mut seen = models.map(|_| Vec::new());
        let mut thumbnails = Vec::new();
        let mut places = Vec::new();
        for path in &self.paths {
            match read_picture(path) {
                Ok(photo) => {
                    places.push(Some(thumbnails.len()));
                    thumbnails.push(Thumbnail::new(&photo));
                    for (seen, model) in seen.iter_mut().zip(models) {
                        seen.push(model.encode_photo(&photo));
                    }
                }
                Err(error) => {
                    places.push(None);
                    bar.suspend(|| tell(format_args!("warning: {error:#}")));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let (words, photo) = (std::mem::take(&mut self.words).into_iter())
            .zip(std::mem::take(&mut self.photo))
            .filter_map(|(words, photo)| Some((words, places[photo]?)))
            .unzip();
        (self.words, self.photo) = (words, photo);
        ensure!(
            thumbnails.len() > 1,
            "the decoders are scored on captions with their photos, at least two; the data has {}",
            thumbnails.len()
        );
        Ok((seen, thumbnails))
    }
}

fn tally(model: &Describer, control: Option<&Describer>, set: Set) -> anyhow::Result<Tally> {
    let mut pairs = Pairs::new(set)?;
    let photos = pairs.paths.len();
    let (seen, thumbnails) = match control {
        None => {
            let ([seen], thumbnails) = pairs.encode([model])?;
            ([seen, Vec::new()], thumbnails)
        }
        Some(control) => pairs.encode([model, control])?,
    };
    let tokens = tokens(model, &pairs, thumbnails.len());
    if let Some(control) = control
        && self::tokens(control, &pairs, thumbnails.len()) != tokens
    {
        bail!(
            "the control knows other tokens than the model; train it with the same data and the same text encoder"
        );
    }
    let own = score(model, &pairs, &seen[0], "own", 0);
    let other = score(model, &pairs, &seen[0], "mixed", 1);
    let blind = control.map(|control| score(control, &pairs, &seen[1], "control", 0));
    let of = |pick: fn(&Scored) -> &Option<Losses>, symbols: Vec<Vec<u32>>| {
        Some(Losing {
            own: pick(&own).clone()?,
            other: pick(&other).clone()?,
            blind: blind.as_ref().and_then(|blind| pick(blind).clone()),
            symbols,
        })
    };
    Ok(Tally {
        captions: of(|scored| &scored.captions, tokens),
        pictures: of(|scored| &scored.pictures, values(&thumbnails)),
        unreadable: photos - thumbnails.len(),
    })
}

/// Losses of both decoders, by photo.
struct Scored {
    captions: Option<Losses>,
    pictures: Option<Losses>,
}

/// Scores each caption with the photo that is `shift` after its own. A caption's loss is its own photo's, a picture's the one
/// of the photo that is drawn.
fn score(
    describer: &Describer,
    pairs: &Pairs,
    seen: &[EncodedPhoto],
    title: &'static str,
    shift: usize,
) -> Scored {
    let photos = seen.len();
    let bar = progress::bar(pairs.words.len(), "captions");
    bar.set_prefix(title);
    let mut captions = vec![Sum::default(); photos];
    let mut pictures = captions.clone();
    let order: Vec<usize> = (0..pairs.words.len()).collect();
    for group in order.chunks(BATCH_SIZE) {
        let shown = |caption: usize| (pairs.photo[caption] + shift) % photos;
        let inputs: Vec<(&[String], &EncodedPhoto)> = (group.iter())
            .map(|&caption| (&pairs.words[caption][..], &seen[shown(caption)]))
            .collect();
        let DecoderScores {
            captions: said,
            pictures: drawn,
        } = describer.scores(&inputs);
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

/// The tokens that the captions of each photo have in a captioner's vocabulary.
fn tokens(describer: &Describer, pairs: &Pairs, photos: usize) -> Vec<Vec<u32>> {
    let mut tokens = vec![Vec::new(); photos];
    for (words, &photo) in pairs.words.iter().zip(&pairs.photo) {
        if let Some(caption) = describer.tokens(words) {
            tokens[photo].extend(&caption[1..]);
        }
    }
    tokens
}
