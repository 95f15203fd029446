//! `muse train`: from a configuration and data to a model file.
//!
//! `config` → `corpus` (samples in pieces) and `gallery` (pictures) → `feed` (batches) → `learner` (steps) in `epochs`
//! (validation, best model, `checkpoint`s), reported by `report` and `progress`.

pub mod checkpoint;
pub mod config;
pub mod corpus;
pub mod decode;
pub mod epochs;
pub mod feed;
pub mod folder;
pub mod gallery;
pub mod learner;
pub mod losses;
pub mod progress;
pub mod report;
pub mod start;
pub mod targets;
pub mod workers;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use burn::module::{Module, ParamGroup};
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};
use muse_core::MuseConfig;
use muse_core::model::Muse;

use self::checkpoint::{AtomicCheckpointer, KeepTwo, PARTS};
use self::config::{TrainConfig, Tune};
use self::epochs::Epochs;
use self::feed::{PhotoNoise, TrainFeed, ValidFeed};
use self::folder::RunFolder;
use self::gallery::Gallery;
use self::learner::Trainee;
use self::progress::Bar;
use self::report::{MetricsFile, ValidSet};
use self::start::Start;
use self::workers::Workers;
use crate::data::cache::FeatureCache;
use crate::data::views::View;
use crate::data::{Sample, read_source};
use crate::device::DeviceChoice;
use crate::output::tell;

/// What `muse train` was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The TOML file.
    pub config: PathBuf,
    /// The run's folder.
    pub out: PathBuf,
    /// A model file to start from.
    pub init: Option<PathBuf>,
    /// Whether to go on from the last checkpoint.
    pub resume: bool,
    /// `key=value` overrides of the configuration.
    pub overrides: Vec<String>,
    /// Where to train.
    pub device: DeviceChoice,
}

impl Options {
    /// The command that goes on with the run.
    fn again(&self) -> String {
        let quoted = |text: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
            match !text.is_empty() && text.chars().all(is_plain) {
                true => text.to_owned(),
                false => format!("'{}'", text.replace('\'', r"'\''")),
            }
        };
        let mut words = vec!["muse train".to_owned()];
        words.push(quoted(&self.config.to_string_lossy()));
        words.push(format!("--out {}", quoted(&self.out.to_string_lossy())));
        words.extend(
            self.overrides
                .iter()
                .map(|pair| format!("--set {}", quoted(pair))),
        );
        words.push(format!("--device {} --resume", self.device.name()));
        words.join(" ")
    }
}

/// Trains.
///
/// # Errors
///
/// When the configuration, the data, the pretrained weights or the run's folder cannot be used, or the disk fails; what a
/// run has saved until then stays whole.
pub fn run(options: Options) -> anyhow::Result<()> {
    let config = TrainConfig::load(&options.config, &options.overrides)?;
    let (folder, saved) = RunFolder::open(&options.out, &config, options.resume)?;
    let done = saved.last().copied().unwrap_or(0);
    let asked = options.init.clone();
    let asked = asked.or_else(|| config.model.init.as_ref().map(|path| config.path(path)));
    let init = folder.init(asked.as_deref());
    let chosen = options.device.open()?;
    let device = chosen.device.clone().autodiff();

    let train = read_sources(&config, &config.data.train)?;
    let valid = read_sources(&config, &config.data.valid)?;
    let samples = || train.iter().flat_map(|(_, samples)| samples);
    corpus::check_labels(samples(), &config.train.weights)?;
    let Start {
        muse,
        decoders,
        config: model,
        tokenizer,
    } = Start::new(
        init,
        &config,
        &samples().collect::<Vec<_>>(),
        &chosen.device,
    )?;

    let prepare = |sets: Vec<(String, Vec<Sample>)>| -> anyhow::Result<_> {
        let mut posts = Vec::new();
        let mut ranges = Vec::new();
        for (title, samples) in sets {
            let first = posts.len();
            posts.extend(corpus::prepare(samples, &title, &model, &tokenizer)?);
            ranges.push(ValidSet {
                title,
                posts: first..posts.len(),
            });
        }
        Ok((posts, ranges))
    };
    let (mut train_posts, _) = prepare(train)?;
    targets::adjust(
        &mut train_posts,
        config.train.label_smoothing,
        config.train.class_balance,
    );
    let (valid_posts, sets) = prepare(valid)?;

    let workers = config.train.workers.max(1);
    let gallery = Arc::new(open_gallery(&config, &model, &muse, &chosen.device)?);
    let strays = corpus::pictures(&train_posts);
    ensure!(
        config.train.stray_photos == 0.0 || !strays.is_empty(),
        "train.stray_photos is {}, but the training data has no photo; set it to 0 or add a source with photos",
        config.train.stray_photos
    );
    let views = 0..config.train.photo_views;
    let whole = corpus::pictures(train_posts.iter().chain(&valid_posts));
    let pictures: Vec<(PathBuf, View)> = (strays.iter())
        .flat_map(|path| views.clone().skip(1).map(|view| (path.clone(), View(view))))
        .chain(whole.into_iter().map(|path| (path, View::WHOLE)))
        .collect();
    if !pictures.is_empty() {
        gallery.check_room(pictures.len(), &config.cache);
        let bar = progress::bar(pictures.len(), "pictures");
        bar.set_prefix("features");
        gallery.fill(&pictures, workers, &bar)?;
        bar.finish_and_clear();
    }

    let feed = Arc::new(TrainFeed::new(
        train_posts,
        strays,
        PhotoNoise {
            stray: config.train.stray_photos,
            withheld: config.train.withheld_photos,
            views: config.train.photo_views,
        },
        Arc::clone(&gallery),
        (config.train.batch_size, workers, config.seed),
    ));
    let steps = feed.steps();
    let total = steps * config.train.epochs;
    if done >= total {
        tell(format_args!(
            "this run is complete: {}",
            folder.best.display()
        ));
        return Ok(());
    }
    ensure!(
        done == 0 || folder.best.exists() || done < steps,
        "{} is gone; train anew into another folder",
        folder.best.display()
    );

    // Loaded weights carry no gradients; here they do, where they are wanted.
    let muse = freeze(&config, muse.train().set_require_grad(true))?;
    let decoders = decoders.map(|decoders| decoders.train().set_require_grad(true));
    let trainee = Trainee::new(
        (muse, decoders),
        model.clone(),
        &config.train,
        tokenizer.pad(),
        &device,
        (chosen.together, Workers::new(chosen.workers)?),
    );
    if done > 0 {
        checkpoint::verify(&folder.checkpoints, done, &trainee)?;
    }
    let optimizer = learner::optimizer(&trainee, &config.train, &device);
    let schedule = learner::schedule(&config, total)?;
    let valid_posts = Arc::new(valid_posts);
    let valid_feed = Arc::new(ValidFeed::new(
        Arc::clone(&valid_posts),
        gallery,
        config.train.batch_size,
        workers,
    ));

    folder.begin(asked.as_deref())?;
    let bar = progress::bar(total, "steps");
    bar.set_position(done as u64);
    bar.reset_eta();
    let failure = Arc::new(Mutex::new(None));
    let epochs = Epochs {
        feed: Arc::clone(&feed),
        done,
        posts: valid_posts,
        sets,
        config: model,
        tokenizer,
        weights: config.train.weights.clone(),
        best: folder.best.clone(),
        checkpoints: folder.checkpoints.clone(),
        metrics: Mutex::new(MetricsFile::open(&folder.metrics, done / steps)?),
        bar: bar.clone(),
        failure: Arc::clone(&failure),
    };
    let interrupter = Interrupter::new();
    stop_on_ctrl_c(&interrupter)?;
    let checkpointer = |part| AtomicCheckpointer::new(&folder.checkpoints, PARTS[part]);
    let mut training = SupervisedTraining::new(&options.out, feed, valid_feed)
        .num_epochs(config.train.epochs)
        .with_training_strategy(TrainingStrategy::Custom(Arc::new(epochs)))
        .with_custom_checkpointers(checkpointer(0), checkpointer(1), checkpointer(2))
        .with_checkpointing_strategy(KeepTwo::after(saved))
        .with_metric_logger(InMemoryMetricLogger::default())
        .with_application_logger(None)
        .with_interrupter(interrupter.clone())
        .renderer(Box::new(Bar::new(bar, steps, interrupter)));
    if done > 0 {
        training = training.checkpoint(done);
        tell(format_args!("going on after step {done} of {total}"));
    } else {
        let epochs = config.train.epochs;
        tell(format_args!("training: {epochs} epochs of {steps} steps"));
    }
    let result = training.launch(Learner::new(trainee, optimizer, schedule));
    drop(result.renderer);

    if let Some(error) = failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
    {
        return Err(error);
    }
    if let Some(error) = result.error {
        bail!("{error}");
    }
    match result.interrupted {
        Some(_) => bail!(
            "interrupted; what was learned is saved, go on with: {}",
            options.again()
        ),
        None => {
            tell(format_args!("the best model: {}", folder.best.display()));
            Ok(())
        }
    }
}

fn read_sources(
    config: &TrainConfig,
    sources: &[crate::data::Source],
) -> anyhow::Result<Vec<(String, Vec<Sample>)>> {
    sources
        .iter()
        .map(|source| Ok((source.title(), read_source(source, &config.base)?)))
        .collect()
}

fn open_gallery(
    config: &TrainConfig,
    model: &MuseConfig,
    muse: &Muse,
    device: &Device,
) -> anyhow::Result<Gallery> {
    let folder = config.path(&config.cache.folder);
    let cache = FeatureCache::open(folder, config.cache.limit_mb.saturating_mul(1 << 20))?;
    let draws = model
        .decoders
        .as_ref()
        .is_some_and(|d| d.generator.is_some());
    let gallery = match config.model.image.tune {
        Tune::Frozen => Gallery::features(
            muse.image.clone().valid(),
            model.image.clone(),
            cache,
            device.clone(),
        ),
        Tune::Last(_) | Tune::Whole => Gallery::pixels(model.image.preparation.clone(), cache),
    };
    Ok(gallery.with_thumbnails(draws))
}

/// Takes the gradients off what of the image encoder is not trained.
///
/// # Errors
///
/// When the image encoder has not so many stages as are to be trained.
pub fn freeze(config: &TrainConfig, muse: Muse) -> anyhow::Result<Muse> {
    let image = ParamGroup::from_regex(r"^image\.").map_err(|e| anyhow::anyhow!("{e:?}"))?;
    Ok(match config.model.image.tune {
        Tune::Whole => muse,
        Tune::Frozen => muse.set_require_grad_group(image, false),
        Tune::Last(stages) => {
            let known = muse.image.stages();
            ensure!(
                (1..=known.len()).contains(&stages),
                "model.image.tune.last is {stages}; the image encoder has 1 to {} stages",
                known.len()
            );
            let mut muse = muse.set_require_grad_group(image, false);
            for stage in &known[known.len() - stages..] {
                let pattern = format!(r"^image\.(.*\.)?{}\.", stage.replace('.', r"\."));
                let group = ParamGroup::from_regex(&pattern)
                    .map_err(|e| anyhow::anyhow!("{pattern}: {e:?}"))?;
                muse = muse.set_require_grad_group(group, true);
            }
            muse
        }
    })
}

/// The first Ctrl-C stops after the step and saves; the second ends at once.
fn stop_on_ctrl_c(interrupter: &Interrupter) -> anyhow::Result<()> {
    let interrupter = interrupter.clone();
    let asked = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        tell("stopping after this step, then saving; once more ends at once, without saving");
        interrupter.stop(Some("Ctrl-C"));
    })
    .context("cannot listen for Ctrl-C")
}
