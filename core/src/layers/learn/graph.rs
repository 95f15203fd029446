//! Operations of ours among burn's in its graph.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Tensor, TensorData};

/// A tensor in the graph.
pub(super) type Tracked = FloatTensor<Autodiff<Flex>>;

/// An operation of `N` inputs, with what its gradient needs.
pub(super) trait Step<const N: usize>: Clone + Debug + Send + 'static {
    /// The gradients of the inputs that are `wanted`, from the output's.
    fn gradients(self, gradient: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N];
}

/// A tensor of floats in this process's memory, if that is what it is and gradients are wanted.
pub(super) fn tracked<const D: usize>(tensor: &Tensor<D>) -> Option<Tracked> {
    let learns = tensor.device().is_autodiff() && tensor.dtype() == DType::F32;
    let tensor = learns.then(|| tensor.clone())?;
    tensor.try_into_primitive::<Autodiff<Flex>>().ok()
}

/// Whether operations on this tensor are ours.
pub(crate) fn learns<const D: usize>(tensor: &Tensor<D>) -> bool {
    tracked(tensor).is_some()
}

/// The tensor of a step's `output`.
pub(super) fn record<S: Step<N>, const N: usize, const D: usize>(
    inputs: [&Tracked; N],
    step: S,
    output: FlexTensor,
) -> Tensor<D> {
    let recorded = Recorded(PhantomData::<S>);
    let nodes = inputs.map(|input| input.node());
    let output = match recorded
        .prepare::<NoCheckpointing>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prepared) => prepared.finish(step, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

#[derive(Debug)]
struct Recorded<S>(PhantomData<S>);

impl<S: Step<N>, const N: usize> Backward<Flex, N> for Recorded<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let given = ops.state.gradients(gradient, wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(given) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// The same numbers, side by side.
pub(super) fn whole(tensor: FlexTensor) -> FlexTensor {
    match tensor.as_slice::<f32>() {
        Some(numbers) if size_of_val(numbers) == tensor.bytes().len() => tensor,
        Some(numbers) => flex(numbers.to_vec(), tensor.layout().shape().to_vec()),
        None => tensor.to_contiguous(),
    }
}

/// The numbers of a [`whole`] tensor.
pub(super) fn numbers(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("it is whole")
}

/// A tensor of these numbers.
pub(super) fn flex(numbers: Vec<f32>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(numbers, shape))
}
