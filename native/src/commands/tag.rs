//! `muse tag`: one caption, or a stream of them.

use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context, anyhow, ensure};
use muse_core::heads::entities::spans;
use muse_core::{Caption, Request, Tagged, Tagger};
use serde_json::{Map, Value, json};

use super::line::{self, Failure, Line, parse};
use super::stream;
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
    /// Entities of a lower confidence are hidden; by the model's choice when `None`.
    pub threshold: Option<f32>,
    /// How entities are annotated; by the model's choice when `None`.
    pub style: Option<String>,
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
    let (mut pool, picture) = (pool?, picture??);
    pool.set_style(options.style.as_deref())?;
    let tagger = pool.tagger();
    let request = Request {
        caption: request_caption,
        picture,
    };
    let mut tagged = tagger.tag(&request)?;
    hide_unsure(&mut tagged, options.threshold.unwrap_or(tagger.threshold()));

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
pub(super) fn hide_unsure(tagged: &mut Tagged, threshold: f32) {
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

/// What a line of a stream comes to.
type Answer = Result<(Map<String, Value>, Tagged), Failure>;

/// Where a stream's answers go, and how.
struct Answers<'a, W> {
    out: W,
    options: &'a Options,
    threshold: f32,
    has_entities: bool,
    failures: usize,
}

fn tag_stream(
    options: &Options,
    input: Option<&Path>,
    batch_size: Option<usize>,
) -> anyhow::Result<()> {
    let mut pool = TaggerPool::load(&options.model, options.device, batch_size)?;
    pool.set_style(options.style.as_deref())?;
    let pool = Arc::new(pool);
    if options.format == Format::Conll {
        ensure_tags(pool.tagger(), options)?;
    }
    let folder = input
        .and_then(Path::parent)
        .unwrap_or(Path::new(""))
        .to_owned();
    let lines: Box<dyn BufRead + Send> = match input {
        Some(path) => {
            let file = std::fs::File::open(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(BufReader::new(io::stdin())),
    };
    let mut answers = Answers {
        out: BufWriter::new(io::stdout().lock()),
        options,
        threshold: options.threshold.unwrap_or(pool.tagger().threshold()),
        has_entities: !pool.tagger().config().names.tags.is_empty(),
        failures: 0,
    };
    let work = {
        let pool = Arc::clone(&pool);
        move || {
            let (pool, folder) = (Arc::clone(&pool), folder.clone());
            // Each worker has a thread, and needs no others for what it computes.
            let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build();
            move |lines: Vec<stream::Line>| match &alone {
                Ok(alone) => alone.install(|| tag_lines(&pool, &folder, lines)),
                Err(_) => tag_lines(&pool, &folder, lines),
            }
        }
    };
    // At least two, so that one decodes pictures while a device computes for the other.
    let workers = pool.workers().max(2);
    let mut stream = stream::answer(lines, workers, pool.batch_size(), work)?;
    let name = input.map_or("standard input".into(), |path| path.display().to_string());
    let reading = || format!("cannot read {name}");
    loop {
        let answer = match stream.try_next().with_context(reading)? {
            Some(answer) => answer,
            None => {
                // Whoever feeds the stream may be waiting for what there is.
                answers.out.flush().context(OUTPUT)?;
                match stream.wait().with_context(reading)? {
                    Some(answer) => answer,
                    None => break,
                }
            }
        };
        let (line, answer): (usize, anyhow::Result<Answer>) = answer;
        answers.write(line, answer?).context(OUTPUT)?;
    }
    ensure!(
        answers.failures == 0 || options.format != Format::Conll,
        "{} of the lines could not be tagged",
        answers.failures
    );
    Ok(())
}

/// Answers lines, as many at a time as their captions and pictures leave room for.
fn tag_lines(
    pool: &TaggerPool,
    folder: &Path,
    lines: Vec<stream::Line>,
) -> Vec<(usize, anyhow::Result<Answer>)> {
    let mut answers = Vec::new();
    let mut batch = Vec::new();
    let mut room = Room::default();
    for stream::Line { number, bytes } in lines {
        let line = match bytes {
            Some(bytes) => parse(&bytes, folder),
            None => Err(Failure {
                id: None,
                message: format!("the line is over {} MiB", stream::MAX_LINE_BYTES >> 20),
            }),
        };
        room.take(&line);
        batch.push((number, line));
        if room.is_full() {
            answers.extend(tag_batch(pool, std::mem::take(&mut batch)));
            room = Room::default();
        }
    }
    answers.extend(tag_batch(pool, batch));
    answers
}

/// What the captions and pictures of a batch take.
#[derive(Default)]
struct Room {
    chars: usize,
    picture_bytes: usize,
}

impl Room {
    fn take(&mut self, line: &Result<Line, Failure>) {
        let Ok(line) = line else { return };
        self.chars += line::length(&line.request.caption);
        let picture = line.request.picture.as_ref();
        self.picture_bytes += picture.map_or(0, |picture| picture.rgb.len());
    }

    fn is_full(&self) -> bool {
        self.chars >= 50_000 || self.picture_bytes >= 128 << 20
    }
}

fn tag_batch(
    pool: &TaggerPool,
    batch: Vec<(usize, Result<Line, Failure>)>,
) -> Vec<(usize, anyhow::Result<Answer>)> {
    let mut requests = Vec::new();
    let slots: Vec<_> = batch
        .into_iter()
        .map(|(number, line)| {
            let slot = line.map(|line| {
                requests.push(line.request);
                (line.object, line.places)
            });
            (number, slot)
        })
        .collect();
    let (mut tagged, fault) = match pool.tagger().tag_batch(&requests) {
        Ok(tagged) => (tagged.into_iter(), String::new()),
        Err(error) => (Vec::new().into_iter(), error.to_string()),
    };
    let mut answer = |slot: Result<(Map<String, Value>, Option<line::Places>), Failure>| {
        let (object, places) = match slot {
            Ok(slot) => slot,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut tagged = tagged.next().with_context(|| fault.clone())?;
        if let Some(places) = places {
            places.put(&mut tagged);
        }
        Ok(Ok((object, tagged)))
    };
    let slots = slots.into_iter();
    slots.map(|(number, slot)| (number, answer(slot))).collect()
}

impl<W: Write> Answers<'_, W> {
    fn write(&mut self, line: usize, answer: Answer) -> io::Result<()> {
        match answer {
            Ok((object, mut tagged)) => {
                hide_unsure(&mut tagged, self.threshold);
                self.answer(object, &tagged)
            }
            Err(failure) => self.fail(line, failure),
        }
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
