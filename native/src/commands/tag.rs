//! `muse tag`: one caption, or a stream of them.

use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context, anyhow, ensure};
use muse_core::heads::entities::spans;
use muse_core::{Caption, Request, Tagged, Tagger};
use serde_json::{Map, Value, json};

use super::line::{self, Failure, Line};
use super::stream::{self, Item};
use crate::data::conll;
use crate::data::picture::read_picture;
use crate::device::DeviceChoice;
use crate::output;
use crate::tagger_pool::TaggerPool;

/// What to tag and how to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The model file.
    pub model: PathBuf,
    /// Where to run.
    pub device: DeviceChoice,
    /// Entities of a lower confidence are hidden.
    pub threshold: f32,
    /// What is tagged.
    pub source: Source,
    /// How the answer is printed.
    pub format: Format,
}

/// Where captions come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// One caption.
    One {
        /// The caption; standard input when `None`.
        caption: Option<String>,
        /// Its picture.
        image: Option<PathBuf>,
    },
    /// JSON lines.
    Stream {
        /// The file; standard input when `None`.
        input: Option<PathBuf>,
        /// At most so many are tagged at a time; what suits the device when `None`.
        batch_size: Option<usize>,
    },
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The marked caption, then what the heads say of it.
    People,
    /// One JSON object on a line.
    Json,
    /// CoNLL, as [`conll`] reads it.
    Conll,
}

/// A caption on standard input is no longer than this.
const MAX_CAPTION_BYTES: u64 = stream::MAX_LINE_BYTES as u64;

const OUTPUT: &str = "cannot write to standard output";

/// Runs the command.
///
/// # Errors
///
/// When the model, the caption, its picture or the stream cannot be read, or standard output cannot be written. A line
/// of a stream that cannot be tagged is no error of JSON lines, which hold the fault in its place; where the answer
/// is CoNLL, the count of such lines is one, at the end.
pub fn run(options: Options) -> anyhow::Result<()> {
    match &options.source {
        Source::One { caption, image } => tag_one(&options, caption.as_deref(), image.as_deref()),
        Source::Stream { input, batch_size } => tag_stream(&options, input.as_deref(), *batch_size),
    }
}

fn tag_one(options: &Options, caption: Option<&str>, image: Option<&Path>) -> anyhow::Result<()> {
    let caption = match caption {
        Some(caption) => caption.to_owned(),
        None => read_caption()?,
    };
    let request_caption = Caption::Text(caption.clone());
    line::check_length(&request_caption)?;
    // Decoding a photo takes about as long as loading the model.
    let (pool, picture) = thread::scope(|scope| {
        let picture = scope.spawn(|| image.map(read_picture).transpose());
        let pool = TaggerPool::load(&options.model, options.device, None);
        let picture = picture
            .join()
            .map_err(|_| anyhow!("the picture's decoder failed"));
        (pool, picture)
    });
    let (pool, picture) = (pool?, picture??);
    let tagger = pool.tagger();
    let request = Request {
        caption: request_caption,
        picture,
    };
    let mut tagged = tagger.tag(&request)?;
    hide_unsure(&mut tagged, options.threshold);

    let stdout = io::stdout();
    let color = AutoStream::choice(&stdout) != ColorChoice::Never;
    let mut out = stdout.lock();
    let has_entities = !tagger.config().names.tags.is_empty();
    match options.format {
        Format::People => {
            output::write_answer(&mut out, &caption, &tagged, has_entities, color)
                .context(OUTPUT)?;
        }
        Format::Json => {
            let mut object = Map::from_iter([("text".to_owned(), Value::String(caption))]);
            output::put_answer(&mut object, &tagged, has_entities);
            writeln!(out, "{}", output::json_line(&Value::Object(object))).context(OUTPUT)?;
        }
        Format::Conll => {
            ensure_tags(tagger, options)?;
            write_conll(&mut out, None, &tagged).context(OUTPUT)?;
        }
    }
    out.flush().context(OUTPUT)
}

/// The caption on standard input, less the line end that `echo` puts there.
fn read_caption() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_CAPTION_BYTES + 1)
        .read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= MAX_CAPTION_BYTES,
        "the caption on standard input is over {} MiB",
        MAX_CAPTION_BYTES >> 20
    );
    let text = String::from_utf8(bytes)
        .map_err(|_| anyhow!("the caption on standard input is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// CoNLL holds tags and nothing else.
fn ensure_tags(tagger: &Tagger, options: &Options) -> anyhow::Result<()> {
    ensure!(
        !tagger.config().names.tags.is_empty(),
        "{} does not find entities, so there is no CoNLL to write",
        options.model.display()
    );
    Ok(())
}

/// Takes out entities below the threshold, and their tags.
fn hide_unsure(tagged: &mut Tagged, threshold: f32) {
    // The tagger gives an entity for each span of its tags, in the same order.
    for (span, entity) in spans(&tagged.tags).iter().zip(&tagged.entities) {
        if entity.score < threshold {
            tagged.tags[span.first..=span.last].fill("O".into());
        }
    }
    tagged.entities.retain(|entity| entity.score >= threshold);
}

fn write_conll(out: &mut impl Write, id: Option<&str>, tagged: &Tagged) -> io::Result<()> {
    // What a program reads stays as it is; what a person sees must not steer the terminal.
    let terminal = io::stdout().is_terminal();
    let show = |text: &str| match terminal {
        true => output::plain(text).into_owned(),
        false => text.to_owned(),
    };
    let words: Vec<String> = tagged.words.iter().map(|word| show(&word.text)).collect();
    let tags: Vec<String> = tagged.tags.iter().map(|tag| show(tag)).collect();
    conll::write(out, id.map(show).as_deref(), &words, &tags)
}

/// Where a stream's answers go, and how.
struct Answers<'a, W> {
    out: W,
    options: &'a Options,
    has_entities: bool,
    failures: usize,
}

fn tag_stream(
    options: &Options,
    input: Option<&Path>,
    batch_size: Option<usize>,
) -> anyhow::Result<()> {
    let pool = TaggerPool::load(&options.model, options.device, batch_size)?;
    if options.format == Format::Conll {
        ensure_tags(pool.tagger(), options)?;
    }
    let folder = input
        .and_then(Path::parent)
        .unwrap_or(Path::new(""))
        .to_owned();
    let mut items = match input {
        Some(path) => {
            let file = std::fs::File::open(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            stream::read(BufReader::new(file), folder, pool.capacity())
        }
        None => stream::read(BufReader::new(io::stdin()), folder, pool.capacity()),
    };
    let mut answers = Answers {
        out: BufWriter::new(io::stdout().lock()),
        options,
        has_entities: !pool.tagger().config().names.tags.is_empty(),
        failures: 0,
    };
    while let Some(batch) = items.next_batch() {
        let batch = batch.with_context(|| match input {
            Some(path) => format!("cannot read {}", path.display()),
            None => "cannot read standard input".into(),
        })?;
        answers.write(&pool, batch)?;
    }
    ensure!(
        answers.failures == 0 || options.format != Format::Conll,
        "{} of the lines could not be tagged",
        answers.failures
    );
    Ok(())
}

impl<W: Write> Answers<'_, W> {
    /// Tags a batch and writes its answers at once: whoever feeds the stream may be waiting for them.
    fn write(&mut self, pool: &TaggerPool, batch: Vec<Item>) -> anyhow::Result<()> {
        let mut requests = Vec::new();
        let slots: Vec<(usize, Result<_, Failure>)> = batch
            .into_iter()
            .map(|item| {
                let result = item.line.map(
                    |Line {
                         object,
                         request,
                         places,
                     }| {
                        requests.push(request);
                        (object, places)
                    },
                );
                (item.number, result)
            })
            .collect();
        let mut tagged = pool.tag(&requests)?.into_iter();
        for (line, slot) in slots {
            match slot {
                Ok((object, places)) => {
                    let mut tagged = tagged.next().context("the tagger left a caption out")?;
                    hide_unsure(&mut tagged, self.options.threshold);
                    if let Some(places) = places {
                        places.put(&mut tagged);
                    }
                    self.answer(object, &tagged).context(OUTPUT)?;
                }
                Err(failure) => self.fail(line, failure).context(OUTPUT)?,
            }
        }
        self.out.flush().context(OUTPUT)
    }

    fn answer(&mut self, mut object: Map<String, Value>, tagged: &Tagged) -> io::Result<()> {
        if self.options.format == Format::Conll {
            let id = object.get("id").and_then(line::id_text);
            return write_conll(&mut self.out, id.as_deref(), tagged);
        }
        output::put_answer(&mut object, tagged, self.has_entities);
        writeln!(self.out, "{}", output::json_line(&Value::Object(object)))
    }

    fn fail(&mut self, line: usize, failure: Failure) -> io::Result<()> {
        self.failures += 1;
        if self.options.format == Format::Conll {
            output::tell(format_args!("line {line}: {}", failure.message));
            return Ok(());
        }
        let mut object = json!({ "line": line, "error": failure.message });
        if let (Some(id), Some(object)) = (failure.id, object.as_object_mut()) {
            object.insert("id".into(), id);
        }
        writeln!(self.out, "{}", output::json_line(&object))
    }
}
