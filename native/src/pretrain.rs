//! `muse pretrain`: an encoder goes on learning from plain text, before `muse train` takes it.
//!
//! `config` → `texts` (in pieces, some held out) → `masking` (what is hidden) → `session` (steps, scores, checkpoints), for which it
//! has the run's folder, the optimiser and the progress of [`crate::train`].

pub mod config;
mod masking;
mod session;
mod texts;
mod trainer;

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use burn::module::Module;
use burn::train::Interrupter;
use clap::Args;
use muse_core::encoders::text::TextEncoder;
use muse_core::pretraining::Pretraining;

use self::config::PretrainConfig;
use self::masking::Masking;
use self::session::Session;
use self::texts::Texts;
use self::trainer::Trainer;
use crate::device::DeviceChoice;
use crate::output::tell;
use crate::pretrained::{read_text_encoder, write_text_encoder};
use crate::train::folder::RunFolder;
use crate::train::{again, run_folder, stop_on_ctrl_c};
use crate::values::assignment;

/// What `muse pretrain` was asked for.
#[derive(Debug, Args)]
pub struct Options {
    /// The configuration, a TOML file
    pub config: PathBuf,
    /// Folder of the run: configuration, metrics, checkpoints and, at the end, the encoder [default: runs/ and the
    /// configuration's name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
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

/// Trains.
///
/// # Errors
///
/// When the configuration, the texts, the encoder or the run's folder cannot be used, or the disk fails; what a run has
/// saved until then stays whole.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let config = PretrainConfig::load(&options.config, &options.overrides)?;
    let out = run_folder(options.out.as_deref(), &options.config);
    let (folder, saved) = RunFolder::open(&out, &config, options.resume)?;
    let place = out.join("encoder");
    if options.resume && place.exists() {
        tell(format_args!("this run is complete: {}", place.display()));
        return Ok(());
    }
    let chosen = options.device.open()?;

    let from = config.path(&config.encoder.folder);
    let encoder = read_text_encoder(&from)?;
    let sizes = std::fs::read(from.join("config.json"))
        .with_context(|| format!("cannot read the config.json in {}", from.display()))?;
    let (most, asked) = (encoder.config.max_positions(), config.train.max_pieces);
    ensure!(
        asked <= most,
        "train.max_pieces is {asked}, but the encoder in {} reads {most} pieces at most",
        from.display()
    );
    let tokenizer = encoder.tokenizer;
    let masking = Masking {
        share: config.train.mask,
        mask: tokenizer.mask().with_context(|| {
            format!(
                "the tokenizer in {} has no piece [MASK], behind which words are hidden; take an encoder that was \
                 pretrained in this way",
                from.display()
            )
        })?,
        vocabulary: tokenizer.vocab_size() as u32,
    };
    let texts = Texts::read(&config, &tokenizer)?;

    let device = &chosen.device;
    device.seed(config.seed);
    let text = TextEncoder::new(&encoder.config, device)
        .load_published(encoder.state)
        .with_context(|| format!("the text encoder in {}", from.display()))?;
    let model = Pretraining::new(text, device)
        .train()
        .set_require_grad(true);
    let interrupter = Interrupter::new();
    let session = Session::new(
        &config,
        &folder,
        &texts,
        masking,
        tokenizer.pad(),
        &interrupter,
    );
    let trainer = Trainer::new(model, &config, &device.clone().autodiff(), session.total())?;
    let done = saved.last().copied().unwrap_or(0);
    let trainer = match done {
        0 => trainer,
        _ => trainer.restored(&folder.checkpoints, done)?,
    };
    folder.begin(None)?;
    stop_on_ctrl_c(&interrupter)?;
    match session.run(trainer, saved)? {
        Some(model) => {
            let files = [
                ("config.json", sizes),
                ("tokenizer.json", tokenizer.json().into_bytes()),
            ];
            write_text_encoder(&place, files, &model.text.published())?;
            tell(format_args!(
                "the encoder, for model.text.folder of muse train: {}",
                place.display()
            ));
            Ok(())
        }
        None => bail!(
            "interrupted; what was learned is saved, go on with: {}",
            again(
                "pretrain",
                [&options.config, &out],
                &options.overrides,
                options.device
            )
        ),
    }
}
