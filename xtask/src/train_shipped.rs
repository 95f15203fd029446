//! `cargo xtask train-shipped`: from the default encoders and the data to the model that the page ships, and its card.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use crate::{
    command::{self, cargo},
    progress::clock,
    project::Project,
    weights,
};

/// What the models of the crossfit's folds teach.
const FOLDS: usize = 4;

/// The shipped model is the mean of the students of these.
const SEEDS: [u32; 3] = [1, 2, 3];

/// Each style of the shipped model, and the data that show what it does: the flags are those of `muse eval`.
const STYLES: [(&str, &str, &[&str]); 2] = [
    ("twitter2017", "twitter2017/valid.txt", &[]),
    (
        "twitter2015",
        "twitter2015/valid.txt",
        &["--rename", "OTHER=MISC", "--split-hashtags"],
    ),
];

/// Where things are.
struct Recipe {
    muse: PathBuf,
    configs: PathBuf,
    weights: PathBuf,
    data: PathBuf,
    out: PathBuf,
    device: String,
}

/// A command of `muse`, whose answer is kept in a file: where that is, nothing is left to do.
struct Step {
    name: String,
    arguments: Vec<String>,
    /// What it fills, and goes on with where it was interrupted.
    run: Option<PathBuf>,
}

/// Runs what is left to do; `out` is the folder of all that comes of it.
pub(crate) fn run(project: &Project, data: &Path, out: &Path, device: &str) -> Result<()> {
    ensure!(
        data.is_dir(),
        "{} is no folder; --data names that of the data, laid out as docs/training.md says",
        data.display()
    );
    let weights = project.weights()?;
    weights::ensure(&weights)?;
    let mut build = cargo(&project.root);
    build.args(["build", "--release", "--workspace", "--bin", "muse"]);
    command::run(&mut build)?;
    let recipe = Recipe {
        muse: project.target.join("release").join("muse"),
        configs: project.root.join("configs").join("shipped"),
        weights,
        data: std::path::absolute(data)?,
        out: std::path::absolute(out)?,
        device: device.to_owned(),
    };
    fs::create_dir_all(&recipe.out)?;
    let steps = recipe.steps();
    let mut card = String::from("# How this model came about\n");
    for (number, step) in steps.iter().enumerate() {
        eprintln!("\n=== {} ({} of {})", step.name, number + 1, steps.len());
        if recipe.is_done(step) {
            eprintln!("done before");
        } else {
            // What comes of it comes anew.
            for later in &steps[number + 1..] {
                recipe.forget(later)?;
            }
            recipe.take(step)?;
        }
        recipe.tell(step, &mut card)?;
    }
    fs::write(recipe.out.join("card.md"), card)?;
    eprintln!(
        "\nthe model: {}\nits card: {}",
        recipe.model().display(),
        recipe.out.join("card.md").display()
    );
    Ok(())
}

impl Recipe {
    fn steps(&self) -> Vec<Step> {
        let (out, data) = (&self.out, &self.data);
        let best = |run: &str| text(&out.join(run).join("best.muse"));
        let mut steps = vec![
            self.learn(
                "pretrain",
                "pretrain",
                "pretrained",
                &[set(
                    "encoder.folder",
                    &self.weights.join("all-MiniLM-L6-v2"),
                )],
            ),
            self.learn(
                "train",
                "others",
                "others",
                &[
                    set("model.text.folder", &out.join("pretrained/encoder")),
                    set(
                        "model.image.weights",
                        &self.weights.join("efficientnet-lite0.pth"),
                    ),
                ],
            ),
            self.learn(
                "crossfit",
                "targets",
                "cross",
                &[
                    set("model.init", &out.join("others/best.muse")),
                    format!("--folds={FOLDS}"),
                ],
            ),
        ];
        let teachers: Vec<String> = (1..=FOLDS)
            .map(|fold| format!("--model={}", best(&format!("cross/fold-{fold}"))))
            .collect();
        for (style, _, _) in STYLES {
            let own = [
                format!("--data={}", text(&data.join("external/tweets.txt"))),
                "--format=text".to_owned(),
                format!("--style={style}"),
                "--sample=20000".to_owned(),
                "--least=0.4".to_owned(),
                format!("--out={}", text(&out.join(format!("tweets-{style}")))),
            ];
            steps.push(step(
                &format!("label-{style}"),
                &["label"],
                &[&teachers, &own],
            ));
        }
        // The posts with photos have no entities yet: those that the captions alone make sure.
        let own = [
            format!("--data={}", text(&out.join("cross/soft.jsonl"))),
            format!("--style={}", STYLES[0].0),
            "--no-images".to_owned(),
            "--least=0.8".to_owned(),
            format!("--out={}", text(&out.join("posts"))),
        ];
        steps.push(step("label-posts", &["label"], &[&teachers, &own]));
        let tweets = STYLES.map(|(style, _, _)| out.join(format!("tweets-{style}/labelled.jsonl")));
        steps.push(self.learn(
            "train",
            "tweets",
            "tweets",
            &[
                set("model.init", &out.join("others/best.muse")),
                sources(&tweets),
            ],
        ));
        for seed in SEEDS {
            steps.push(self.learn(
                "train",
                "targets",
                &format!("student-{seed}"),
                &[
                    set("model.init", &out.join("tweets/best.muse")),
                    sources(&[out.join("posts/labelled.jsonl")]),
                    format!("--set=seed={seed}"),
                ],
            ));
        }
        let students = SEEDS.map(|seed| best(&format!("student-{seed}")));
        let mean = [
            "--precision=int8".to_owned(),
            format!("--out={}", text(&self.model())),
        ];
        steps.push(step("mean", &["export"], &[&students, &mean]));
        for (style, valid, flags) in STYLES {
            let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
            let own = [
                text(&self.model()),
                format!("--data={}", text(&data.join(valid))),
                format!("--style={style}"),
                format!("--out={}", text(&self.model())),
            ];
            steps.push(step(
                &format!("calibrate-{style}"),
                &["calibrate"],
                &[&own, &flags],
            ));
        }
        let posts = format!("--data={}", text(&data.join("mvsa_single/valid.jsonl")));
        let model = text(&self.model());
        let own = [model.clone(), posts.clone(), format!("--out={model}")];
        steps.push(step("calibrate-sentiment", &["calibrate"], &[&own]));
        for (style, valid, flags) in STYLES {
            let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
            let own = [
                format!("--model={model}"),
                format!("--data={}", text(&data.join(valid))),
                format!("--style={style}"),
            ];
            steps.push(step(&format!("score-{style}"), &["eval"], &[&own, &flags]));
        }
        steps.push(step(
            "score-sentiment",
            &["eval"],
            &[&[format!("--model={model}"), posts]],
        ));
        steps
    }

    fn model(&self) -> PathBuf {
        self.out.join("muse-small.muse")
    }

    /// A command that learns, by a configuration of ours, in a folder of its own.
    fn learn(&self, command: &str, config: &str, run: &str, more: &[String]) -> Step {
        let folder = self.out.join(run);
        let common = [
            text(&self.configs.join(format!("{config}.toml"))),
            format!("--out={}", text(&folder)),
            format!("--device={}", self.device),
            set("data.folder", &self.data),
        ];
        let cache = set("cache.folder", &self.out.join("features"));
        let cache = (command != "pretrain").then_some(cache);
        let resumes = command != "crossfit";
        Step {
            run: resumes.then_some(folder),
            ..step(run, &[command], &[&common, cache.as_slice(), more])
        }
    }

    fn answer(&self, step: &Step) -> PathBuf {
        self.out.join(format!("{}.txt", step.name))
    }

    fn is_done(&self, step: &Step) -> bool {
        self.answer(step).exists()
    }

    fn forget(&self, step: &Step) -> Result<()> {
        match self.is_done(step) {
            true => Ok(fs::remove_file(self.answer(step))?),
            false => Ok(()),
        }
    }

    fn take(&self, step: &Step) -> Result<()> {
        let answer = self.answer(step);
        let began = Instant::now();
        let mut muse = std::process::Command::new(&self.muse);
        muse.args(&step.arguments);
        if step.run.as_ref().is_some_and(|run| run.exists()) {
            muse.arg("--resume");
        }
        let name = command::announce(&muse);
        let output = muse
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {name}"))?;
        ensure!(
            output.status.success(),
            "{name} ended with {}; the same command goes on",
            output.status
        );
        let said = String::from_utf8_lossy(&output.stdout);
        let time = clock(Duration::from_secs(began.elapsed().as_secs()));
        // Written at once or not at all: it says that the step is done.
        let beside = answer.with_extension("part");
        fs::write(
            &beside,
            format!("{said}({time} since it was begun or resumed)\n"),
        )?;
        fs::rename(&beside, &answer)?;
        Ok(())
    }

    /// What the step's figures are.
    fn tell(&self, step: &Step, card: &mut String) -> Result<()> {
        let said = fs::read_to_string(self.answer(step))?;
        write!(card, "\n## {}\n\n```text\n{said}```\n", step.name)?;
        let metrics = step.run.as_ref().map(|run| run.join("metrics.csv"));
        if let Some(metrics) = metrics.filter(|file| file.exists()) {
            write!(card, "\n```csv\n{}```\n", fs::read_to_string(metrics)?)?;
        }
        Ok(())
    }
}

fn step(name: &str, command: &[&str], arguments: &[&[String]]) -> Step {
    let command = command.iter().map(|&word| word.to_owned());
    Step {
        name: name.to_owned(),
        arguments: command.chain(arguments.concat()).collect(),
        run: None,
    }
}

fn set(key: &str, path: &Path) -> String {
    format!("--set={key}={}", text(path))
}

/// These files in place of the configuration's training data.
fn sources(files: &[PathBuf]) -> String {
    let sources = files
        .iter()
        .map(|file| format!("{{path={:?}}}", text(file)));
    format!(
        "--set=data.train=[{}]",
        sources.collect::<Vec<_>>().join(",")
    )
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn recipe() -> Recipe {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Recipe {
            muse: "muse".into(),
            configs: root.join("configs").join("shipped"),
            weights: "weights".into(),
            data: "data".into(),
            out: "runs/shipped".into(),
            device: "cpu".into(),
        }
    }

    #[test]
    fn what_a_step_reads_an_earlier_one_has_made() {
        let mut names = BTreeSet::new();
        let mut made: Vec<String> = Vec::new();
        for step in recipe().steps() {
            assert!(names.insert(step.name.clone()), "{} twice", step.name);
            let out = "--out=";
            for argument in step.arguments.iter().filter(|a| !a.starts_with(out)) {
                let begin = argument.match_indices("runs/shipped/");
                for (at, begin) in begin.filter(|_| !argument.contains("features")) {
                    let rest = &argument[at + begin.len()..];
                    let folder = rest.split(['/', '"']).next().unwrap_or_default();
                    assert!(made.iter().any(|made| made == folder), "{argument}");
                }
            }
            let places = step.arguments.iter().filter_map(|a| a.strip_prefix(out));
            made.extend(places.map(|place| place.replace("runs/shipped/", "")));
        }
    }

    #[test]
    fn no_stage_learns_from_what_is_listed() {
        let recipe = recipe();
        let mut configs = BTreeSet::new();
        for step in recipe.steps() {
            for argument in &step.arguments {
                if argument.ends_with(".toml") {
                    configs.insert(argument.clone());
                }
            }
        }
        assert_eq!(configs.len(), 4);
        for config in configs {
            let text = fs::read_to_string(&config).expect(&config);
            let config_of: toml::Table = toml::from_str(&text).expect(&config);
            let blocklist = config_of["data"]
                .get("blocklist")
                .and_then(toml::Value::as_str);
            assert_eq!(blocklist, Some("external/blocklist.sha256"), "{config}");
        }
    }
}
