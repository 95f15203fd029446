//! What the training tests train on: tiny encoders, sentences and posts made by formula, and runs of the real binary.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use burn::tensor::Device;
use muse::output::write_file;
use muse_core::config::MuseConfig;
use muse_core::encoders::image::{CnnKind, ImageEncoder};
use muse_core::encoders::text::TextEncoder;
use muse_core::file::ModelFile;
use muse_core::weights::{Problem, StateDict, WeightsError};
use muse_tests::{ImageFormat, picture, tiny_config, tiny_tokenizer, write};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const PEOPLE: [&str; 6] = ["Ann", "Bob", "Carl", "Dora", "Eve", "Fred"];
pub(crate) const PLACES: [&str; 6] = ["Rome", "Oslo", "Paris", "Lima", "Cairo", "Texas"];
const OTHERS: [&str; 12] = [
    "met", "saw", "in", "at", "and", "went", "to", "a", "happy", "sad", "plain", "day",
];

/// Steps of an epoch over all training data in batches of eight.
pub(crate) const STEPS: usize = (SENTENCES + POSTS) / 8;
const SENTENCES: usize = 32;
const POSTS: usize = 32;

/// The sentences, in validation too.
const CONLL: &str = "
[[data.train]]
path = \"train.txt\"
[[data.valid]]
path = \"valid.txt\"
name = \"sentences\"
";

/// The posts, in validation too.
const JSONL: &str = "
[[data.train]]
path = \"train.jsonl\"
[[data.valid]]
path = \"valid.jsonl\"
name = \"posts\"
";

/// A folder with data, a configuration and the runs of one test.
pub(crate) struct World {
    folder: TempDir,
}

/// Which data a configuration lists.
#[derive(Clone, Copy)]
pub(crate) enum Data {
    Sentences,
    Posts,
    Both,
}

/// What a run of the binary left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    /// Writes the data, and `train.toml`, which lists some of them.
    pub(crate) fn new(data: Data) -> Self {
        let world = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        world.write("train.txt", sentences(0..SENTENCES));
        world.write("valid.txt", sentences(100..110));
        for (class, color) in [[250, 30, 30], [30, 250, 30], [30, 30, 250]]
            .iter()
            .enumerate()
        {
            let width = 20 + 4 * class as u32;
            world.write(&photo(class), picture(width, 24, *color, ImageFormat::Png));
        }
        world.write("train.jsonl", posts(0..POSTS));
        world.write("valid.jsonl", posts(100..109));
        let listed = match data {
            Data::Sentences => CONLL.to_owned(),
            Data::Posts => JSONL.to_owned(),
            Data::Both => format!("{CONLL}{JSONL}"),
        };
        world.write("train.toml", configuration() + &listed);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        write(self.folder.path(), name, bytes)
    }

    /// `muse train` with overrides such as `seed=2`, into the run `out`.
    pub(crate) fn train(&self, out: &str, overrides: &[&str]) -> Command {
        let mut command = muse(&["train", "--device", "cpu"]);
        command
            .arg(self.path("train.toml"))
            .arg("--out")
            .arg(self.path(out));
        for pair in overrides {
            command.args(["--set", pair]);
        }
        command
    }

    /// Trains to the end.
    pub(crate) fn trained(&self, out: &str, overrides: &[&str]) -> Run {
        let ran = done(&mut self.train(out, overrides));
        self.run(out, ran)
    }

    pub(crate) fn run(&self, out: &str, ran: Ran) -> Run {
        let folder = self.path(out);
        Run {
            metrics: metrics(&folder),
            best: std::fs::read(folder.join("best.muse")).expect("the best model"),
            folder,
            err: ran.err,
        }
    }
}

/// A run that is over.
pub(crate) struct Run {
    pub(crate) folder: PathBuf,
    pub(crate) metrics: Vec<BTreeMap<String, String>>,
    pub(crate) best: Vec<u8>,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn model(&self) -> ModelFile {
        ModelFile::from_bytes(&self.best).expect("a model file")
    }

    /// A column's numbers, an epoch each; NaN where there is none.
    pub(crate) fn column(&self, name: &str) -> Vec<f64> {
        let cell = |row: &BTreeMap<String, String>| row[name].parse().unwrap_or(f64::NAN);
        self.metrics.iter().map(cell).collect()
    }

    /// Everything but the time it took.
    pub(crate) fn results(&self) -> (Vec<BTreeMap<String, String>>, &[u8]) {
        let mut metrics = self.metrics.clone();
        metrics
            .iter_mut()
            .for_each(|row| drop(row.remove("seconds")));
        (metrics, &self.best)
    }

    /// Whether two runs had the same results. (An `assert_eq` would print the models.)
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.results() == other.results()
    }
}

/// A run's `metrics.csv`, a map from column to cell for each row.
pub(crate) fn metrics(run: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(run.join("metrics.csv")).expect("metrics");
    let rows = reader.deserialize();
    rows.collect::<Result<_, _>>()
        .expect("rows of equal length")
}

/// The weights whose names begin so.
pub(crate) fn part(file: &ModelFile, prefix: &str) -> StateDict {
    let state = file
        .state
        .iter()
        .filter(|(name, _)| name.starts_with(prefix));
    let part: StateDict = state
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .collect();
    assert!(!part.is_empty(), "nothing is called {prefix}");
    part
}

pub(crate) fn muse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muse"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn run(command: &mut Command) -> Ran {
    wait(command.spawn().expect("the binary starts"))
}

pub(crate) fn wait(child: Child) -> Ran {
    let output = child.wait_with_output().expect("the binary ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

pub(crate) fn done(command: &mut Command) -> Ran {
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

/// The error of a run that must fail, and properly.
pub(crate) fn failed(command: &mut Command) -> String {
    let ran = run(command);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    let error = ran.err.lines().find(|line| line.starts_with("error: "));
    assert!(error.is_some(), "{ran:?}");
    ran.err
}

/// `muse eval --json` of a model on data of the world.
pub(crate) fn eval(world: &World, model: &Path, data: &[&str]) -> Value {
    let mut command = muse(&["eval", "--json", "--model"]);
    command.arg(model);
    for name in data {
        command.arg("--data").arg(world.path(name));
    }
    serde_json::from_str(&done(&mut command).out).expect("JSON")
}

fn configuration() -> String {
    let (bert, cnn) = encoders();
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    format!(
        "
seed = 1

[model]
max_pieces = 24
word_shapes = true
fusion_dropout = 0.2

[model.text]
folder = {:?}

[model.image]
encoder = \"efficientnet-lite0\"
weights = {:?}
size = 32

[model.exchange]
layers = 2
heads = 2
feed_forward = 32
dropout = 0.1
theta = 0.2
first_layer = 0
last_layer = 1

[train]
epochs = 3
batch_size = 8

[train.rates]
text = 3e-3
image = 1e-3
exchange = 3e-3
heads = 1e-2
crf = 2e-2

[cache]
folder = \"cache\"
limit_mb = 10
",
        path(bert),
        path(cnn)
    )
}

/// People met in places, in sentences of several lengths, as CoNLL.
fn sentences(numbers: std::ops::Range<usize>) -> String {
    let mut text = String::new();
    for i in numbers {
        let (one, two) = (PEOPLE[i % 6], PEOPLE[(i / 2 + 3) % 6]);
        let (here, there) = (PLACES[(i / 3) % 6], PLACES[(i + 2) % 6]);
        let line = match i % 4 {
            0 => format!("{one}/B-PER met {two}/B-PER in {here}/B-LOC"),
            1 => format!("a day in {here}/B-LOC {there}/I-LOC"),
            2 => format!("{one}/B-PER {two}/I-PER went to {there}/B-LOC and saw {two}/B-PER"),
            _ => "a plain day".to_owned(),
        };
        writeln!(text, "IMGID:{i}").expect("a string grows");
        for word in line.split(' ') {
            let (word, tag) = word.split_once('/').unwrap_or((word, "O"));
            writeln!(text, "{word}\t{tag}").expect("a string grows");
        }
        text.push('\n');
    }
    text
}

fn photo(class: usize) -> String {
    format!("photos/{class}.png")
}

/// Posts with a sentiment; three of four with a photo, every second with entities.
fn posts(numbers: std::ops::Range<usize>) -> String {
    let lines = numbers.map(|i| {
        let class = i % 3;
        let (mood, sentiment) = [
            ("sad", "negative"),
            ("plain", "neutral"),
            ("happy", "positive"),
        ][class];
        let place = PLACES[i % 6];
        let mut post =
            json!({"id": i, "text": format!("a {mood} day in {place}"), "sentiment": sentiment});
        if i % 4 != 3 {
            post["image"] = photo(class).into();
        }
        if i % 2 == 0 {
            let start = format!("a {mood} day in ").len();
            post["entities"] = json!([[start, start + place.len(), "LOC"]]);
        }
        post.to_string() + "\n"
    });
    lines.collect()
}

/// The folder of a text encoder, and the weights of an image encoder, both with random weights. Made once.
fn encoders() -> (&'static Path, &'static Path) {
    static MADE: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    let (bert, cnn) = MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("encoders");
        let bert = folder.join("bert");
        text_encoder(&bert, &[]);
        let kind = CnnKind::EfficientnetLite0;
        let wanted =
            ImageEncoder::new(kind, &Device::flex()).load_published(kind, StateDict::new());
        let weights = random_weights(wanted.expect_err("no weights"));
        (bert, put(folder.join("cnn.safetensors"), &weights))
    });
    (bert, cnn)
}

/// Writes the folder of a text encoder with random weights, which knows these pieces beside the words of all sentences.
pub(crate) fn text_encoder(folder: &Path, pieces: &[&str]) {
    std::fs::create_dir_all(folder).expect("a folder");
    let words = [&PEOPLE[..], &PLACES, &OTHERS].concat();
    let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let words = words.iter().map(String::as_str);
    let tokenizer = tiny_tokenizer(&words.chain(pieces.iter().copied()).collect::<Vec<_>>());
    let config: MuseConfig = tiny_config(tokenizer.vocab_size());
    let sizes = serde_json::to_vec(&config.text).expect("JSON");
    put(folder.join("config.json"), &sizes);
    put(folder.join("tokenizer.json"), tokenizer.json().as_bytes());
    let wanted = TextEncoder::new(&config.text, &Device::flex()).load_published(StateDict::new());
    let weights = random_weights(wanted.expect_err("no weights"));
    put(folder.join("model.safetensors"), &weights);
}

/// Other tests may be reading what is there: files are replaced as a whole, by the same bytes.
fn put(path: PathBuf, bytes: &[u8]) -> PathBuf {
    write_file(&path, bytes).expect("the file is written");
    path
}

/// A safetensors file of all that a loader misses, under the names that it asks for.
fn random_weights(wanted: WeightsError) -> Vec<u8> {
    let WeightsError::Mismatch { problems, .. } = wanted else {
        panic!("{wanted}");
    };
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = problems
        .into_iter()
        .map(|problem| {
            let Problem::Missing { name, shape } = problem else {
                panic!("{problem}");
            };
            let fan_in: usize = shape.iter().skip(1).product();
            let spread = (6.0 / fan_in as f32).sqrt();
            let one = name.ends_with("running_var") || name.ends_with(".weight");
            let values = (0..shape.iter().product()).map(|_| match shape.len() {
                1 => f32::from(u8::from(one)),
                _ => rng.random_range(-spread..spread),
            });
            let bytes = values.flat_map(f32::to_le_bytes).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor");
        (name.as_str(), view)
    });
    safetensors::serialize(views, None).expect("a safetensors file")
}
