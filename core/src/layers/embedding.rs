//! A table of rows.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor};
use muse_kernels::Table;

use crate::layers::cpu;
use crate::load::Packing;

/// A row of width d for each number.
///
/// Its rows are parameters, or, where a model of 8 bits is only asked, these 8 bits.
#[derive(Module, Debug)]
pub(crate) struct Embedding {
    weight: Param<Tensor<2>>, // [rows, d]
    /// In the place of the parameters, which are then never made.
    #[module(skip)]
    packed: Option<Arc<Table>>,
}

impl Embedding {
    /// Random rows, as BERT begins.
    pub(crate) fn new(rows: usize, width: usize, device: &Device) -> Self {
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        Self {
            weight: normal.init([rows, width], device),
            packed: None,
        }
    }

    /// Takes its rows from a model file, if they are of 8 bits there.
    pub(crate) fn pack(&mut self, path: &str, weights: &mut Packing) {
        let shape: [usize; 2] = self.weight.lazy_shape().dims();
        let whole = weights.take_whole(&format!("{path}.weight"), &shape);
        self.packed = whole.map(|whole| Arc::new(whole.table()));
    }

    /// All rows `[rows, d]`, of a table that is not packed.
    pub(crate) fn weight(&self) -> Tensor<2> {
        self.weight.val()
    }

    /// Rows `[B, N, d]` of numbers `[B, N]`.
    pub(crate) fn forward(&self, numbers: Tensor<2, Int>) -> Tensor<3> {
        match &self.packed {
            Some(table) => cpu::rows(table, numbers),
            None => burn::tensor::module::embedding(self.weight.val(), numbers),
        }
    }
}
