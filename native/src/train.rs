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
pub mod gradients;
pub mod learner;
pub mod losses;
pub mod optimizer;
pub mod progress;
pub mod report;
pub mod start;
pub mod targets;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use burn::module::{Module, ParamGroup};
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};
use clap::Args;
use muse_core::model::Muse;

use self::checkpoint::{AtomicCheckpointer, KeepTwo, PARTS};
use self::config::{TrainConfig, Tune};
use self::corpus::{Corpus, Samples};
use self::epochs::Epochs;
use self::feed::{TrainFeed, ValidFeed};
use self::folder::RunFolder;
use self::gallery::Gallery;
use self::learner::Trainee;
use self::progress::Bar;
use self::report::MetricsFile;
use self::start::Start;
use crate::data::cache::FeatureCache;
use crate::data::views::View;
use crate::device::{Chosen, DeviceChoice};
use crate::output::tell;
use crate::values::assignment;
use crate::workers::Workers;

/// What `muse train` was asked for.
#[derive(Debug, Args)]
pub struct Options {
    /// The configuration, a TOML file
    pub config: PathBuf,
    /// Folder of the run: configuration, metrics, checkpoints and the best model [default: runs/ and the
    /// configuration's name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Model file to start from, instead of the configuration's model.init
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub init: Option<PathBuf>,
    /// Go on from the last checkpoint in the run's folder
    #[arg(long)]
    pub resume: bool,
    /// Override a setting of the configuration; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub overrides: Vec<String>,
    /// Where to train
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
}

impl Options {
    /// The run's folder.
    fn folder(&self) -> PathBuf {
        run_folder(self.out.as_deref(), &self.config)
    }

    /// The command that goes on with the run.
    fn again(&self) -> String {
        let places = [&self.config, &self.folder()];
        again("train", places, &self.overrides, self.device)
    }
}

/// The folder of a run: the one that was named, or one below `runs/` that is called like the configuration.
pub(crate) fn run_folder(named: Option<&Path>, config: &Path) -> PathBuf {
    match named {
        Some(folder) => folder.to_path_buf(),
        None => Path::new("runs").join(config.file_stem().unwrap_or_default()),
    }
}

/// The command line that goes on with a run of `muse COMMAND`, for people to copy; the `places` are its configuration and folder.
pub(crate) fn again(
    command: &str,
    [config, folder]: [&PathBuf; 2],
    overrides: &[String],
    device: DeviceChoice,
) -> String {
    let quoted = |text: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        match !text.is_empty() && text.chars().all(is_plain) {
            true => text.to_owned(),
            false => format!("'{}'", text.replace('\'', r"'\''")),
        }
    };
    let mut words = vec![format!("muse {command}")];
    words.push(quoted(&config.to_string_lossy()));
    words.push(format!("--out {}", quoted(&folder.to_string_lossy())));
    words.extend(
        overrides
            .iter()
            .map(|pair| format!("--set {}", quoted(pair))),
    );
    words.push(format!("--device {} --resume", device.name()));
    words.join(" ")
}

/// Trains.
///
/// # Errors
///
/// When the configuration, the data, the pretrained weights or the run's folder cannot be used, or the disk fails; what a
/// run has saved until then stays whole.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let config = TrainConfig::load(&options.config, &options.overrides)?;
    let (folder, saved) = RunFolder::open(&options.folder(), &config, options.resume)?;
    let named = config.model.init.as_ref().map(|path| config.path(path));
    let asked = options.init.clone().or(named);
    let chosen = options.device.open()?;

    let samples = Samples::read(&config)?;
    let init = folder.init(asked.as_deref());
    let start = Start::new(init, &config, &samples.training(), &chosen.device)?;
    let mut corpus = Corpus::prepare(samples, &config.train, &start.config, &start.tokenizer)?;
    let train = &config.train;
    targets::adjust(
        &mut corpus.train,
        train.label_smoothing,
        train.class_balance,
    );
    let gallery = Arc::new(open_gallery(&config, &start, &chosen.device)?);
    let pictures = corpus.pictures(train.photo_views);

    let valid = Arc::new(corpus.valid);
    let valid_feed = ValidFeed::new(Arc::clone(&valid), Arc::clone(&gallery), train);
    let feed = Arc::new(TrainFeed::new(corpus.train, Arc::clone(&gallery), &config));
    let (done, steps) = (saved.last().copied().unwrap_or(0), feed.steps());
    let total = steps * train.epochs;
    if done >= total {
        let best = folder.best.display();
        tell(format_args!("this run is complete: {best}"));
        return Ok(());
    }
    ensure!(
        done == 0 || folder.best.exists() || done < steps,
        "{} is gone; train anew into another folder",
        folder.best.display()
    );

    let (model, tokenizer) = (start.config.clone(), start.tokenizer.clone());
    let learner = new_learner(start, &config, &chosen, total)?;
    if done > 0 {
        // Before the pictures, which take long.
        checkpoint::verify(&folder.checkpoints, done, &learner.model(), &folder.best)?;
    }
    fill(&gallery, &pictures, &config)?;
    folder.begin(asked.as_deref())?;
    let epochs = Epochs {
        feed,
        done,
        posts: valid,
        sets: corpus.sets,
        config: model,
        tokenizer,
        weights: train.weights.clone(),
        best: folder.best.clone(),
        checkpoints: folder.checkpoints.clone(),
        metrics: Mutex::new(MetricsFile::open(&folder.metrics, done / steps)?),
        bar: progress::bar(total, "steps"),
        failure: Arc::default(),
    };
    launch(options, train.epochs, epochs, valid_feed, learner, saved)
}

fn open_gallery(config: &TrainConfig, start: &Start, device: &Device) -> anyhow::Result<Gallery> {
    let folder = config.path(&config.cache.folder);
    let cache = FeatureCache::open(folder, config.cache.limit_mb.saturating_mul(1 << 20))?;
    let image = &start.config.image;
    let gallery = match config.model.image.tune {
        Tune::Frozen => Gallery::features(
            start.muse.image.clone().valid(),
            image.clone(),
            cache,
            device.clone(),
        ),
        Tune::Last(_) | Tune::Whole => Gallery::pixels(image.preparation.clone(), cache),
    };
    let decoders = start.config.decoders.as_ref();
    Ok(gallery.with_thumbnails(decoders.is_some_and(|d| d.generator.is_some())))
}

/// Computes the features that are not kept yet.
fn fill(
    gallery: &Gallery,
    pictures: &[(PathBuf, View)],
    config: &TrainConfig,
) -> anyhow::Result<()> {
    if !pictures.is_empty() {
        gallery.check_room(pictures.len(), &config.cache);
        let bar = progress::bar(pictures.len(), "pictures");
        bar.set_prefix("features");
        gallery.fill(pictures, config.train.workers.max(1), &bar)?;
        bar.finish_and_clear();
    }
    Ok(())
}

/// The model with its optimiser, and the rates of `total` steps.
fn new_learner(
    start: Start,
    config: &TrainConfig,
    chosen: &Chosen,
    total: usize,
) -> anyhow::Result<Learner<Trainee>> {
    let device = chosen.device.clone().autodiff();
    // Loaded weights carry no gradients; here they do, where they are wanted.
    let muse = freeze(config, start.muse.train().set_require_grad(true))?;
    let decoders = start
        .decoders
        .map(|decoders| decoders.train().set_require_grad(true));
    let settings = learner::Settings {
        config: start.config,
        weights: config.train.weights.clone(),
        clip: config.train.clip,
        pad: start.tokenizer.pad(),
        device: device.clone(),
        microbatch: chosen.microbatch,
        workers: Arc::new(Workers::new(chosen.workers)?),
    };
    let trainee = Trainee::new(muse, decoders, settings);
    let optimizer = optimizer::optimizer(&trainee, config.train.weight_decay, &device);
    let schedule = learner::schedule(config, total)?;
    Ok(Learner::new(trainee, optimizer, schedule))
}

/// Trains until all epochs are done, or one is interrupted or fails; says which.
fn launch(
    options: &Options,
    num_epochs: usize,
    epochs: Epochs,
    valid: ValidFeed,
    learner: Learner<Trainee>,
    saved: Vec<usize>,
) -> anyhow::Result<()> {
    let interrupter = Interrupter::new();
    stop_on_ctrl_c(&interrupter)?;
    let (feed, failure) = (Arc::clone(&epochs.feed), Arc::clone(&epochs.failure));
    let (best, bar, done) = (epochs.best.clone(), epochs.bar.clone(), epochs.done);
    bar.set_position(done as u64);
    bar.reset_eta();
    let steps = feed.steps();
    let checkpointer = |part| AtomicCheckpointer::new(&epochs.checkpoints, PARTS[part]);
    let checkpointers = (checkpointer(0), checkpointer(1), checkpointer(2));
    let mut training = SupervisedTraining::new(options.folder(), feed, Arc::new(valid))
        .num_epochs(num_epochs)
        .with_training_strategy(TrainingStrategy::Custom(Arc::new(epochs)))
        .with_custom_checkpointers(checkpointers.0, checkpointers.1, checkpointers.2)
        .with_checkpointing_strategy(KeepTwo::after(saved))
        .with_metric_logger(InMemoryMetricLogger::default())
        .with_application_logger(None)
        .with_interrupter(interrupter.clone())
        .renderer(Box::new(Bar::new(bar, steps, interrupter)));
    if done > 0 {
        training = training.checkpoint(done);
        let total = steps * num_epochs;
        tell(format_args!("going on after step {done} of {total}"));
    } else {
        tell(format_args!(
            "training: {num_epochs} epochs of {steps} steps"
        ));
    }
    let result = training.launch(learner);
    drop(result.renderer);

    let failure = failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(error) = failure {
        return Err(error);
    }
    if let Some(error) = result.error {
        bail!("{error}");
    }
    if result.interrupted.is_some() {
        bail!(
            "interrupted; what was learned is saved, go on with: {}",
            options.again()
        );
    }
    tell(format_args!("the best model: {}", best.display()));
    Ok(())
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
pub(crate) fn stop_on_ctrl_c(interrupter: &Interrupter) -> anyhow::Result<()> {
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
