//! From a model file to a model on a device.

#[cfg(all(test, feature = "cpu"))]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::ConfigError;
use crate::decoders::PREFIX;
pub(crate) use crate::file::Weights;
use crate::file::{ModelFile, ModelFileError, SMALLEST_REDUCED, StoredModel, Whole};
use crate::layers::linear::Linear;
use crate::layers::{cpu, gpu};
use crate::model::Muse;
use crate::weights::{StateDict, WeightsError, apply_rest, apply_state};

/// Why a model file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not a model that this version reads.
    #[error(transparent)]
    File(#[from] ModelFileError),
    /// The file's configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file's weights do not fit its configuration.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl ModelFile {
    /// The model without its decoders, with weights that are taken out of the file.
    ///
    /// # Errors
    ///
    /// When the weights do not fit the configuration, or that contradicts itself.
    pub fn take_muse(&mut self, device: &Device) -> Result<Muse, LoadError> {
        let state: StateDict = std::mem::take(&mut self.state);
        let muse = Muse::new(&self.config, device)?;
        Ok(apply_state(muse, state)?)
    }
}

impl StoredModel<'_> {
    /// The model without its decoders, to be asked and no more: where its tensors lie in this process's memory, its weights stay
    /// as the file has them; on a GPU some of them are put side by side.
    ///
    /// # Errors
    ///
    /// As [`ModelFile::take_muse`].
    pub(crate) fn take_muse(&mut self, device: &Device) -> Result<Muse, LoadError> {
        let mut muse = Muse::new(&self.config, device)?;
        let mut packing = Packing {
            tensors: std::mem::take(&mut self.tensors),
            taken: BTreeSet::new(),
            gpu: gpu::is_there(device).then_some(device),
        };
        packing.tensors.retain(|name, _| !name.starts_with(PREFIX));
        if packing.gpu.is_some() || cpu::is_here(device) {
            muse.pack(&mut packing);
        }
        let Packing { tensors, taken, .. } = packing;
        let tensors = tensors.into_iter();
        let state = tensors.map(|(name, weights)| (name, weights.into_tensor()));
        Ok(apply_rest(muse, state.collect(), &taken)?)
    }
}

/// The weights of a file on their way into a model. Who takes some has checked that they are there and fit; what is left is
/// checked once more when it is put in.
pub(crate) struct Packing<'a> {
    tensors: BTreeMap<String, Weights<'a>>,
    taken: BTreeSet<String>,
    /// Where the weights go, if that is a GPU: all but [joint layers](Self::joint) stay parameters there.
    gpu: Option<&'a Device>,
}

impl<'a> Packing<'a> {
    /// Whether there is a tensor of this shape to be taken.
    pub(crate) fn has(&self, name: &str, shape: &[usize]) -> bool {
        self.gpu.is_none() && self.is_there(name, shape)
    }

    fn is_there(&self, name: &str, shape: &[usize]) -> bool {
        let tensor = self.tensors.get(name);
        tensor.is_some_and(|weights| weights.shape() == shape)
    }

    /// Linear layers of these shapes `[in, out]` as one, on a GPU: their outputs side by side.
    pub(crate) fn joint(
        &mut self,
        paths: &[String],
        [input, output]: [usize; 2],
    ) -> Option<Linear> {
        let device = self.gpu?;
        let names = |path: &String| [format!("{path}.weight"), format!("{path}.bias")];
        let there = paths.iter().map(names).all(|[weight, bias]| {
            self.is_there(&weight, &[input, output]) && self.is_there(&bias, &[output])
        });
        if !there {
            return None;
        }
        let outputs = paths.len() * output;
        let mut joint = vec![0.0; input * outputs];
        let mut biases = Vec::with_capacity(outputs);
        for (layer, [weight, bias]) in paths.iter().map(names).enumerate() {
            let weight = self.floats(&weight);
            for (to, from) in joint
                .chunks_exact_mut(outputs)
                .zip(weight.chunks_exact(output))
            {
                to[layer * output..][..output].copy_from_slice(from);
            }
            biases.extend(self.floats(&bias));
        }
        let weight = Tensor::from_data(TensorData::new(joint, [input, outputs]), device);
        Some(Linear::with(
            weight,
            Tensor::from_floats(biases.as_slice(), device),
        ))
    }

    /// A tensor of this shape, if it is of 8 bits.
    pub(crate) fn take_whole(&mut self, name: &str, shape: &[usize]) -> Option<Whole<'a>> {
        if self.gpu.is_some() {
            return None;
        }
        let (name, weights) = self.tensors.remove_entry(name)?;
        match weights {
            Weights::Whole(whole) if whole.shape == shape => {
                self.taken.insert(name);
                Some(whole)
            }
            other => {
                self.tensors.insert(name, other);
                None
            }
        }
    }

    /// A tensor of this shape, if it is of 8 bits or so small that it is not in any file.
    pub(crate) fn take_small(&mut self, name: &str, shape: &[usize]) -> Option<Weights<'a>> {
        let small = match self.tensors.get(name)? {
            Weights::Whole(_) => true,
            Weights::Floats(tensor) => tensor.data.len() < SMALLEST_REDUCED,
        };
        (small && self.has(name, shape)).then(|| self.take(name))
    }

    /// A tensor that [is there](Self::has).
    pub(crate) fn take(&mut self, name: &str) -> Weights<'a> {
        self.taken.insert(name.to_owned());
        let weights = self.tensors.remove(name);
        weights.expect("who takes weights has seen that they are there")
    }

    /// A tensor that [is there](Self::has), as floats.
    pub(crate) fn floats(&mut self, name: &str) -> Vec<f32> {
        self.take(name).into_tensor().data
    }
}
