//! What others call the parameters of our modules: how a published encoder is read is beside the encoder.

use burn::module::Module;

use super::{StateDict, state_dict, transpose};

/// Where a parameter is found in a file that is not ours.
pub(crate) struct Foreign {
    /// Its name there.
    pub(crate) name: String,
    /// Stored as `[out, in]` where burn has `[in, out]`.
    pub(crate) transposed: bool,
}

impl Foreign {
    /// Stored under this name, in our layout.
    pub(crate) fn plain(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            transposed: false,
        }
    }
}

/// The weights of a module as others have them, of which `foreign` says where each parameter is.
pub(crate) fn publish<M: Module>(module: &M, foreign: impl Fn(&str) -> Foreign) -> StateDict {
    let own = state_dict(module).into_iter();
    own.map(|(path, tensor)| {
        let Foreign { name, transposed } = foreign(&path);
        let tensor = match transposed {
            true => transpose(tensor),
            false => tensor,
        };
        (name, tensor)
    })
    .collect()
}

/// What PyTorch calls a parameter of a normalisation.
pub(crate) fn norm_parameter(name: &str) -> &str {
    match name {
        "gamma" => "weight",
        "beta" => "bias",
        statistics => statistics,
    }
}

/// Replaces the first of each.
pub(crate) fn replace_all(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        text.replacen(from, to, 1)
    })
}
