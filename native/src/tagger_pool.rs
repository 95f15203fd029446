//! One model, and several batches of captions at once.

use std::path::Path;
use std::thread;

use anyhow::Context;
use muse_core::heads::entities::UnknownStyle;
use muse_core::tagger::TaggerError;
use muse_core::{Caption, Request, Tagged, Tagger};

use crate::data::picture::read_picture;
use crate::data::{Sample, loader};
use crate::device::DeviceChoice;
use crate::output::tell;
use crate::workers::Workers;

/// Captions that are prepared ahead of the model. A decoded photo takes tens of megabytes.
const AHEAD: usize = 8;

/// Decoded pictures in a batch, in bytes; a batch that goes beyond is closed.
const MAX_PICTURE_BYTES: usize = 128 << 20;

/// A model, and how captions are best put to it.
#[derive(Debug)]
pub struct TaggerPool {
    tagger: Tagger,
    /// Captions in a batch.
    batch_size: usize,
    /// They share batches among them.
    workers: Workers,
}

impl TaggerPool {
    /// Opens the device and loads the model; `batch_size` is what suits the device when `None`.
    ///
    /// # Errors
    ///
    /// When the device cannot be opened, or the file is not a model.
    pub fn load(
        model: &Path,
        device: DeviceChoice,
        batch_size: Option<usize>,
    ) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(model).with_context(|| format!("cannot read {}", model.display()))?;
        Self::from_bytes(&bytes, model, device, batch_size)
    }

    /// [`Self::load`] of the `bytes` of a file `model`.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn from_bytes(
        bytes: &[u8],
        model: &Path,
        device: DeviceChoice,
        batch_size: Option<usize>,
    ) -> anyhow::Result<Self> {
        let chosen = device.open()?;
        let tagger = Tagger::from_bytes(bytes, &chosen.device)
            .with_context(|| format!("cannot use {} as a model", model.display()))?;
        Ok(Self {
            tagger,
            batch_size: batch_size.unwrap_or(chosen.batch_size),
            workers: Workers::new(chosen.workers)?,
        })
    }

    /// From now on entities are annotated in this style; see [`Tagger::set_style`].
    ///
    /// # Errors
    ///
    /// When the model has no such style.
    pub fn set_style(&mut self, name: Option<&str>) -> Result<(), UnknownStyle> {
        self.tagger.set_style(name)
    }

    /// From now on answers tell so many readings; see [`Tagger::set_readings`].
    pub fn set_readings(&mut self, count: usize) {
        self.tagger.set_readings(count);
    }

    /// The model.
    pub fn tagger(&self) -> &Tagger {
        &self.tagger
    }

    /// Captions in a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Batches that the device has side by side.
    pub fn workers(&self) -> usize {
        self.workers.count()
    }

    /// As many captions as keep every worker busy once.
    pub fn capacity(&self) -> usize {
        self.batch_size * self.workers()
    }

    /// Tags captions, the answers in the same order.
    ///
    /// # Errors
    ///
    /// As [`Tagger::tag_batch`].
    pub fn tag(&self, requests: &[Request]) -> Result<Vec<Tagged>, TaggerError> {
        let share = requests
            .len()
            .div_ceil(self.workers())
            .clamp(1, self.batch_size);
        if requests.len() <= share {
            // All cores have to do with one batch.
            return self.tagger.tag_batch(requests);
        }
        let batches = requests.chunks(share).collect();
        let tagged = (self.workers).map(batches, |batch| self.tagger.tag_batch(batch));
        let tagged: Result<Vec<_>, _> = tagged.into_iter().collect();
        Ok(tagged?.into_iter().flatten().collect())
    }

    /// Tags samples, and hands each on with its answer; `resplit` splits their words, joined by spaces, anew. A picture that
    /// cannot be read is told, and its caption tagged without. The order is another.
    ///
    /// # Errors
    ///
    /// When threads cannot be started.
    pub fn tag_samples(
        &self,
        mut samples: Vec<Sample>,
        resplit: bool,
        mut each: impl FnMut(&Sample, &Request, &Tagged),
    ) -> anyhow::Result<()> {
        // Captions of one length do not pad each other.
        samples.sort_by_key(|sample| sample.words.len());
        let workers = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(4);
        let mut requests = loader::ordered(samples, workers, AHEAD, move |sample| {
            let request = request(&sample, resplit);
            Ok((sample, request))
        })?;
        while let Some(batch) = gather(&mut requests, self.capacity())? {
            let (samples, requests): (Vec<Sample>, Vec<Request>) = batch.into_iter().unzip();
            let tagged = self.tag(&requests)?;
            for ((sample, request), tagged) in samples.iter().zip(&requests).zip(&tagged) {
                each(sample, request, tagged);
            }
        }
        Ok(())
    }
}

fn request(sample: &Sample, resplit: bool) -> Request {
    let picture = sample.image.as_ref().and_then(|path| {
        read_picture(path)
            .inspect_err(|error| tell(format_args!("warning: {error:#}")))
            .ok()
    });
    let caption = match resplit {
        true => Caption::Text(sample.words.join(" ")),
        false => Caption::Words(sample.words.clone()),
    };
    Request { caption, picture }
}

/// The next batch: `size` captions, or fewer with large pictures. `None` at the end.
fn gather(
    requests: &mut impl Iterator<Item = anyhow::Result<(Sample, Request)>>,
    size: usize,
) -> anyhow::Result<Option<Vec<(Sample, Request)>>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < size && bytes < MAX_PICTURE_BYTES {
        let Some(next) = requests.next() else { break };
        let (sample, request) = next?;
        bytes += request
            .picture
            .as_ref()
            .map_or(0, |picture| picture.rgb.len());
        batch.push((sample, request));
    }
    Ok((!batch.is_empty()).then_some(batch))
}
