//! Batches for the trainer, prepared by worker threads and handed out in an order that the seed alone decides.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use muse_core::batch::{Example, Picture};
use muse_core::decoders::DecoderTarget;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::{TrainConfig, TrainSection};
use super::corpus::{Post, pictures};
use super::gallery::Gallery;
use crate::data::loader::{Ordered, ordered, plan_epoch};
use crate::data::views::View;

/// Batches that may wait for the step.
const AHEAD: usize = 8;

/// One training step's samples.
#[derive(Clone, Debug)]
pub struct StepInput {
    /// The windows with their labels and pictures.
    pub examples: Vec<Example>,
    /// What the decoders learn from each of them.
    pub targets: Vec<Option<DecoderTarget>>,
    /// Seeds the step's dropout, so that a resumed run repeats what an uninterrupted one does.
    pub seed: u64,
}

/// One validation batch.
#[derive(Clone, Debug)]
pub struct ValidInput {
    /// The posts, as indices into the validation set.
    pub posts: Vec<usize>,
    /// All windows of these posts, in order.
    pub examples: Vec<Example>,
    /// What the decoders are scored by, of each window.
    pub targets: Vec<Option<DecoderTarget>>,
}

/// How captions and pictures are shown in training besides as they are.
#[derive(Clone, Copy, Debug)]
struct Noise {
    /// Share of the entity captions without a picture that are shown a random one.
    stray: f64,
    /// Share of the pictures that are withheld.
    withheld: f64,
    /// Views of a photo, the whole of it among them.
    views: u32,
    /// Share of the captions in small letters, and of those in capitals.
    recased: f64,
}

impl Noise {
    fn of(train: &TrainSection) -> Self {
        Self {
            stray: train.stray_photos,
            withheld: train.withheld_photos,
            views: train.photo_views,
            recased: train.recased,
        }
    }
}

/// The training data.
pub struct TrainFeed {
    shared: Arc<TrainShared>,
    batch_size: usize,
    workers: usize,
    /// Which epoch, counted from 1, and how many of its batches are done already.
    cursor: Mutex<(usize, usize)>,
}

struct TrainShared {
    posts: Vec<Post>,
    /// Post and window of each training example.
    windows: Vec<(usize, usize)>,
    lengths: Vec<usize>,
    strays: Vec<PathBuf>,
    noise: Noise,
    gallery: Arc<Gallery>,
    seed: u64,
}

impl TrainFeed {
    /// Feeds `posts`; those without a photo may be shown any of the others'.
    pub fn new(posts: Vec<Post>, gallery: Arc<Gallery>, config: &TrainConfig) -> Self {
        let strays = pictures(&posts);
        let windows: Vec<(usize, usize)> = posts
            .iter()
            .enumerate()
            .flat_map(|(post, p)| (0..p.windows.len()).map(move |window| (post, window)))
            .collect();
        let lengths = windows
            .iter()
            .map(|&(post, window)| posts[post].windows[window].encoded.pieces.len())
            .collect();
        Self {
            shared: Arc::new(TrainShared {
                posts,
                windows,
                lengths,
                strays,
                noise: Noise::of(&config.train),
                gallery,
                seed: config.seed,
            }),
            batch_size: config.train.batch_size,
            workers: config.train.workers.max(1),
            cursor: Mutex::new((1, 0)),
        }
    }

    /// Batches in an epoch.
    pub fn steps(&self) -> usize {
        self.shared.windows.len().div_ceil(self.batch_size)
    }

    /// Says where the next iteration begins: the epoch, counted from 1, and how many of its batches to leave out.
    pub fn seek(&self, epoch: usize, skip: usize) {
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = (epoch, skip);
    }
}

impl TrainShared {
    fn step(&self, batch: &[usize], epoch: usize, seed: u64) -> anyhow::Result<StepInput> {
        let (examples, targets) = batch
            .iter()
            .map(|&index| self.example(index, epoch))
            .collect::<anyhow::Result<_>>()?;
        Ok(StepInput {
            examples,
            targets,
            seed,
        })
    }

    fn example(
        &self,
        index: usize,
        epoch: usize,
    ) -> anyhow::Result<(Example, Option<DecoderTarget>)> {
        let (post, number) = self.windows[index];
        let post = &self.posts[post];
        let window = &post.windows[number];
        // Of its own, so that neither workers nor batches have a say.
        let mut rng = ChaCha8Rng::seed_from_u64(mix(&[self.seed, epoch as u64, index as u64]));
        let path = match &post.image {
            Some(_) if rng.random_bool(self.noise.withheld) => None,
            Some(own) => Some(own),
            None if post.labels.entities.is_some()
                && !self.strays.is_empty()
                && rng.random_bool(self.noise.stray) =>
            {
                Some(&self.strays[rng.random_range(0..self.strays.len())])
            }
            None => None,
        };
        let view = match self.noise.views {
            0 | 1 => View::WHOLE,
            views => View(rng.random_range(0..views)),
        };
        // A pair is a caption's beginning and its own picture.
        let own = path.filter(|_| window.words.start == 0 && post.is_pair());
        let target = match own {
            Some(path) => self.gallery.decoder_target(post, path)?,
            None => None,
        };
        let mut text = &window.encoded;
        if let Some([small, large]) = post.recased.get(number) {
            text = match rng.random::<f64>() {
                draw if draw < self.noise.recased => small,
                draw if draw < 2.0 * self.noise.recased => large,
                _ => text,
            };
        }
        let example = Example {
            text: text.clone(),
            picture: path.map(|p| self.gallery.picture(p, view)).transpose()?,
            labels: post.labels.of_window(window.words.clone()),
        };
        Ok((example, target))
    }
}

/// Mixes numbers into a seed (the finaliser of SplitMix64).
pub fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x9e37_79b9_7f4a_7c15, |state, number| {
        let mut z = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

impl DataLoader<StepInput> for TrainFeed {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<StepInput> + 'a> {
        let (epoch, skip) = *self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = Arc::clone(&self.shared);
        let plan = plan_epoch(&shared.lengths, self.batch_size, shared.seed, epoch as u64);
        let steps = plan.len();
        let jobs: Vec<_> = plan.into_iter().enumerate().skip(skip).collect();
        let batches = ordered(jobs, self.workers, AHEAD, move |(number, batch)| {
            let step = (epoch - 1) * steps + number;
            shared.step(&batch, epoch, mix(&[shared.seed, step as u64]))
        });
        Box::new(Batches::new(batches, skip, steps))
    }

    fn num_items(&self) -> usize {
        self.steps()
    }

    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<StepInput>> {
        unreachable!("samples stay on the host until the step")
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<StepInput>> {
        unreachable!("the trainer uses one device")
    }
}

/// The validation data: all sets one after the other.
pub struct ValidFeed {
    posts: Arc<Vec<Post>>,
    plan: Vec<Vec<usize>>,
    gallery: Arc<Gallery>,
    workers: usize,
}

impl ValidFeed {
    /// Feeds `posts` in batches of similar length.
    pub fn new(posts: Arc<Vec<Post>>, gallery: Arc<Gallery>, train: &TrainSection) -> Self {
        let size = train.batch_size;
        let mut order: Vec<usize> = (0..posts.len()).collect();
        order.sort_by_key(|&p| posts[p].windows[0].encoded.pieces.len());
        Self {
            plan: order.chunks(size).map(<[usize]>::to_vec).collect(),
            posts,
            gallery,
            workers: train.workers.max(1),
        }
    }
}

impl DataLoader<ValidInput> for ValidFeed {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<ValidInput> + 'a> {
        let posts = Arc::clone(&self.posts);
        let gallery = Arc::clone(&self.gallery);
        let batches =
            ordered(self.plan.clone(), self.workers, AHEAD, move |batch| {
                let (mut examples, mut targets) = (Vec::new(), Vec::new());
                for &index in &batch {
                    let post = &posts[index];
                    let picture: Option<Arc<Picture>> = post
                        .image
                        .as_ref()
                        .map(|path| gallery.picture(path, View::WHOLE))
                        .transpose()?;
                    let first = examples.len();
                    examples.extend(post.windows.iter().map(|window| {
                        Example::unlabelled(window.encoded.clone(), picture.clone())
                    }));
                    targets.resize(examples.len(), None);
                    if let Some(path) = post.image.as_ref().filter(|_| post.is_pair()) {
                        targets[first] = gallery.decoder_target(post, path)?;
                    }
                }
                Ok(ValidInput {
                    posts: batch,
                    examples,
                    targets,
                })
            });
        Box::new(Batches::new(batches, 0, self.plan.len()))
    }

    fn num_items(&self) -> usize {
        self.plan.len()
    }

    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<ValidInput>> {
        unreachable!("samples stay on the host until the step")
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<ValidInput>> {
        unreachable!("the trainer uses one device")
    }
}

/// Ordered batches as burn-train takes them.
struct Batches<T> {
    batches: Option<anyhow::Result<Ordered<T>>>,
    done: usize,
    total: usize,
}

impl<T> Batches<T> {
    fn new(batches: anyhow::Result<Ordered<T>>, done: usize, total: usize) -> Self {
        Self {
            batches: Some(batches),
            done,
            total,
        }
    }
}

impl<T> Iterator for Batches<T> {
    type Item = Result<T, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.batches.as_mut()? {
            Ok(batches) => batches.next()?,
            Err(_) => self
                .batches
                .take()
                .map(|b| Err(b.err().expect("seen above")))?,
        };
        self.done += 1;
        Some(batch.map_err(|error| DatasetError::new(Message(format!("{error:#}")))))
    }
}

impl<T> DataLoaderIterator<T> for Batches<T> {
    fn progress(&self) -> Progress {
        Progress::new(self.done, self.total, Some("batches".to_owned()))
    }
}

/// An error's text, for interfaces that ask for an error type.
#[derive(Debug)]
struct Message(String);

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Message {}
