//! From a model file to a model on a device.

use burn::tensor::Device;

use crate::config::ConfigError;
use crate::file::{ModelFile, ModelFileError};
use crate::model::Muse;
use crate::weights::{StateDict, WeightsError, apply_state};

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
