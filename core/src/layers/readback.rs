//! Tensors that are read from the device all at once: a GPU is waited for once.

use burn::tensor::{ExecutionError, Tensor, TensorData, Transaction};

/// What is to be read.
#[derive(Default)]
pub(crate) struct Readback {
    transaction: Transaction,
    shapes: Vec<Vec<usize>>,
}

/// Where in a [`Readback`] a tensor is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(usize);

/// What was read.
pub(crate) struct Numbers(Vec<Host>);

/// A tensor on the host, row-major.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

impl Readback {
    pub(crate) fn push<const D: usize>(&mut self, tensor: Tensor<D>) -> Ticket {
        self.shapes.push(tensor.dims().to_vec());
        self.transaction = std::mem::take(&mut self.transaction).register(tensor);
        Ticket(self.shapes.len() - 1)
    }

    /// Waits for the device.
    pub(crate) fn execute(self) -> Result<Numbers, ExecutionError> {
        Ok(Numbers::new(self.shapes, self.transaction.try_execute()?))
    }

    /// Waits for the device without blocking, as WebGPU requires.
    pub(crate) async fn execute_async(self) -> Result<Numbers, ExecutionError> {
        let data = self.transaction.execute_async().await?;
        Ok(Numbers::new(self.shapes, data))
    }
}

impl Numbers {
    fn new(shapes: Vec<Vec<usize>>, data: Vec<TensorData>) -> Self {
        let data = data
            .into_iter()
            .map(|data| data.convert::<f32>().try_to_vec().unwrap_or_default());
        let hosts = shapes.into_iter().zip(data);
        Self(hosts.map(|(shape, data)| Host { shape, data }).collect())
    }

    /// Hands a tensor out; once.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Host {
        std::mem::take(&mut self.0[ticket.0])
    }
}

impl Host {
    /// The numbers of each index of the outermost axis.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        let row: usize = self.shape[1..].iter().product();
        self.data.chunks(row.max(1))
    }

    /// The numbers of one index of the outermost axis.
    pub(crate) fn row(&self, index: usize) -> &[f32] {
        let row: usize = self.shape[1..].iter().product();
        &self.data[index * row..(index + 1) * row]
    }
}
