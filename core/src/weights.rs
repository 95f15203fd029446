//! Weights by name: into a model and out of it.
//!
//! Loading is strict. The whole set is compared with the module before any tensor is made, and everything that is
//! missing, unexpected or of another shape is reported at once, under the name that the file gives it.

pub(crate) mod foreign;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use thiserror::Error;

use self::foreign::Foreign;

/// One tensor on the host, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its elements; as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// Tensors by name.
pub type StateDict = BTreeMap<String, NamedTensor>;

/// Why weights could not be read or do not belong to a model.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The bytes are not a whole safetensors file.
    #[error("not a safetensors file, or a damaged one: {0}")]
    Safetensors(#[from] SafeTensorError),
    /// A tensor has a number format that is not read.
    #[error(
        "tensor `{name}` is stored as {dtype}, which is not read here; store it as F32, F16 or BF16"
    )]
    Dtype {
        /// The tensor's name in the file.
        name: String,
        /// Its format.
        dtype: String,
    },
    /// The tensors are not those of the model.
    #[error("the weights do not fit {module}:{}", Listed(.problems))]
    Mismatch {
        /// What they were loaded into.
        module: String,
        /// All that is wrong, in the order of the names.
        problems: Vec<Problem>,
    },
}

/// What is wrong with one tensor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The model needs it, the file does not have it.
    #[error("`{name}` {shape:?} is missing")]
    Missing {
        /// Name in the file's own terms.
        name: String,
        /// The shape it should have.
        shape: Vec<usize>,
    },
    /// The file has it, the model has no place for it.
    #[error("`{name}` {shape:?} is unexpected")]
    Unexpected {
        /// Name in the file.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Its shape is not the model's.
    #[error("`{name}` is {found:?}, expected {expected:?}")]
    Shape {
        /// Name in the file.
        name: String,
        /// The model's shape, in the file's layout.
        expected: Vec<usize>,
        /// The file's shape.
        found: Vec<usize>,
    },
    /// It does not hold as many elements as its shape says.
    #[error("`{name}` {shape:?} holds {elements} elements")]
    Elements {
        /// Name in the file.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The elements that are there.
        elements: usize,
    },
    /// Two tensors of the file stand for the same weights.
    #[error("`{name}` is there twice, under names that mean the same")]
    Twice {
        /// The name that both mean.
        name: String,
    },
}

/// Prints at most [`Self::SHOWN`] problems; a file of another network has hundreds.
struct Listed<'a>(&'a [Problem]);

impl Listed<'_> {
    const SHOWN: usize = 20;
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.0.iter().take(Self::SHOWN) {
            write!(f, "\n  {problem}")?;
        }
        match self.0.len().saturating_sub(Self::SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Reads a safetensors file. Floats become f32; integers and booleans (position ids, counters) are converted too, so
/// that a loader can name them.
///
/// # Errors
/// Bytes that are not a whole safetensors file, or a tensor in a format of less than 8 bits.
pub fn read_safetensors(bytes: &[u8]) -> Result<StateDict, WeightsError> {
    SafeTensors::deserialize(bytes)?
        .iter()
        .map(|(name, view)| {
            let data = match view.dtype() {
                Dtype::F32 => elements(view.data(), f32::from_le_bytes),
                Dtype::F16 => elements(view.data(), |b| f16::from_le_bytes(b).to_f32()),
                Dtype::BF16 => elements(view.data(), |b| bf16::from_le_bytes(b).to_f32()),
                Dtype::F64 => elements(view.data(), |b| f64::from_le_bytes(b) as f32),
                Dtype::I64 => elements(view.data(), |b| i64::from_le_bytes(b) as f32),
                Dtype::I32 => elements(view.data(), |b| i32::from_le_bytes(b) as f32),
                Dtype::I16 => elements(view.data(), |b| i16::from_le_bytes(b) as f32),
                Dtype::I8 => elements(view.data(), |b| f32::from(i8::from_le_bytes(b))),
                Dtype::U8 | Dtype::BOOL => elements(view.data(), |[b]: [u8; 1]| f32::from(b)),
                other => {
                    return Err(WeightsError::Dtype {
                        name: name.to_owned(),
                        dtype: format!("{other:?}"),
                    });
                }
            };
            let shape = view.shape().to_vec();
            Ok((name.to_owned(), NamedTensor { shape, data }))
        })
        .collect()
}

/// Little-endian elements of `N` bytes each, converted one by one; the compiler makes vectors of it.
pub(crate) fn elements<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| read(*chunk)).collect()
}

/// All float parameters of a module under their burn paths, without the variant names of enums. Reads the device back.
pub fn state_dict<M: Module>(module: &M) -> StateDict {
    struct Reader {
        path: Path,
        state: StateDict,
    }
    impl ModuleVisitor for Reader {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }
        fn exit_module(&mut self, name: &str, container_type: &str) {
            self.path.exit(name, container_type);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let data = param.val().into_data();
            let shape = data.shape().as_slice().to_vec();
            let data = data
                .convert::<f32>()
                .try_into_vec::<f32>()
                .expect("the data was just converted to f32");
            self.state
                .insert(self.path.join(), NamedTensor { shape, data });
        }
    }
    let mut reader = Reader {
        path: Path::default(),
        state: StateDict::new(),
    };
    module.visit(&mut reader);
    reader.state
}

/// Puts `state` in place of all float parameters of `module`, under the names that [`state_dict`] gives.
///
/// Nothing is read back from the device, and no random initialisation is run for parameters not yet initialised.
///
/// # Errors
/// [`WeightsError::Mismatch`] unless names and shapes are exactly those of the module.
pub fn apply_state<M: Module>(module: M, state: StateDict) -> Result<M, WeightsError> {
    apply_rest(module, state, &BTreeSet::new())
}

/// [`apply_state`] but for the parameters in `taken`, which the module has in another form.
pub(crate) fn apply_rest<M: Module>(
    module: M,
    state: StateDict,
    taken: &BTreeSet<String>,
) -> Result<M, WeightsError> {
    let foreign = |path: &str| (!taken.contains(path)).then(|| Foreign::plain(path));
    fill(module, "the model", state, foreign)
}

/// The strict loader: compares first, then puts the tensors in. `what` is what errors call the module, and `foreign` says
/// where in the file a parameter of it is.
pub(crate) fn load<M: Module>(
    module: M,
    what: &str,
    dict: StateDict,
    foreign: impl Fn(&str) -> Foreign,
) -> Result<M, WeightsError> {
    fill(module, what, dict, |path| Some(foreign(path)))
}

/// [`load`], in which a parameter stays as it is where `foreign` gives none.
fn fill<M: Module>(
    module: M,
    what: &str,
    mut dict: StateDict,
    foreign: impl Fn(&str) -> Option<Foreign>,
) -> Result<M, WeightsError> {
    let mut problems = Vec::new();
    let mut state = StateDict::new();
    for (path, mut expected) in layout(&module) {
        let Some(Foreign { name, transposed }) = foreign(&path) else {
            continue;
        };
        if transposed {
            expected.reverse();
        }
        let Some(tensor) = dict.remove(&name) else {
            problems.push(Problem::Missing {
                name,
                shape: expected,
            });
            continue;
        };
        if tensor.shape != expected {
            problems.push(Problem::Shape {
                name,
                expected,
                found: tensor.shape,
            });
        } else if tensor.data.len() != expected.iter().product::<usize>() {
            problems.push(Problem::Elements {
                name,
                shape: expected,
                elements: tensor.data.len(),
            });
        } else {
            let tensor = if transposed {
                transpose(tensor)
            } else {
                tensor
            };
            state.insert(path, tensor);
        }
    }
    problems.extend(dict.into_iter().map(|(name, tensor)| Problem::Unexpected {
        name,
        shape: tensor.shape,
    }));
    if !problems.is_empty() {
        let module = what.to_owned();
        return Err(WeightsError::Mismatch { module, problems });
    }
    let path = Path::default();
    Ok(module.map(&mut Writer { path, state }))
}

/// Path and shape of every float parameter, in the module's order, under the names that [`state_dict`] gives. Initialises
/// nothing.
pub fn layout<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    struct Layout {
        path: Path,
        parameters: Vec<(String, Vec<usize>)>,
    }
    impl ModuleVisitor for Layout {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }
        fn exit_module(&mut self, name: &str, container_type: &str) {
            self.path.exit(name, container_type);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let shape = param.lazy_shape().as_slice().to_vec();
            self.parameters.push((self.path.join(), shape));
        }
    }
    let mut layout = Layout {
        path: Path::default(),
        parameters: Vec::new(),
    };
    module.visit(&mut layout);
    layout.parameters
}

struct Writer {
    path: Path,
    state: StateDict,
}

impl ModuleMapper for Writer {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.path.exit(name, container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // `fill` found every parameter but those that stay.
        let Some(NamedTensor { shape, data }) = self.state.remove(&self.path.join()) else {
            return param;
        };
        let (id, device) = (param.id, param.lazy_device());
        let tensor = Tensor::from_data(TensorData::new(data, shape), &device);
        param.transform_for_load(tensor, id)
    }
}

/// Where a traversal stands. burn reports an enum's variant as a step of its own; it is left out, as it would tie the
/// names in a model file to those of our types. So is the field that holds a model's heads, each of which has a name.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container_type: &str) {
        if Self::is_named(name, container_type) {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, name: &str, container_type: &str) {
        if Self::is_named(name, container_type) {
            self.0.pop();
        }
    }

    fn is_named(name: &str, container_type: &str) -> bool {
        !container_type.starts_with("Enum:") && (name, container_type) != ("heads", "Struct:Muse")
    }

    fn join(&self) -> String {
        self.0.join(".")
    }
}

/// A matrix, rows and columns swapped; in tiles, since either side of a plain loop would miss the cache.
fn transpose(matrix: NamedTensor) -> NamedTensor {
    const TILE: usize = 32;
    let [rows, columns] = matrix.shape[..] else {
        unreachable!("only the two-dimensional weights of linear layers are transposed")
    };
    let mut data = vec![0.0; matrix.data.len()];
    for row_tile in (0..rows).step_by(TILE) {
        for column_tile in (0..columns).step_by(TILE) {
            for row in row_tile..rows.min(row_tile + TILE) {
                for column in column_tile..columns.min(column_tile + TILE) {
                    data[column * rows + row] = matrix.data[row * columns + column];
                }
            }
        }
    }
    let shape = vec![columns, rows];
    NamedTensor { shape, data }
}
