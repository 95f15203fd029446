//! A kernel in WGSL and what it is launched with.
//!
//! A kernel's file has the body alone: the bindings and the sizes are declared here, in the order in which they are given, so that
//! they stand in one place. A shader that does not compile is only logged in a browser, and computes nothing.

use burn::backend::wgpu::{
    CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, Wgpu, into_contiguous,
};
use burn::cubecl::ir::attributes::BufferIOAttr;
use burn::cubecl::prelude::{CubeCount, KernelId};
use burn::cubecl::server::{Handle, KernelArguments, MetadataBindingInfo};
use burn::tensor::{DType, Int, Shape, Tensor};

/// Groups of threads along an axis, at most.
const GROUPS: usize = 65_535;
/// Bytes at whose multiples a part of a buffer may begin.
const ALIGNMENT: usize = 256;
/// Natively buffers share memory, all of which is writable where a part of it is.
const READ: &str = match cfg!(target_family = "wasm") {
    true => "read",
    false => "read_write",
};

/// Numbers of 32 bits on a GPU, side by side.
pub(crate) struct Buffer(CubeTensor);

impl Buffer {
    /// Of a tensor of floats; `None` where it is elsewhere, and where gradients are wanted.
    pub(crate) fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        Self::checked(
            tensor.clone().try_into_primitive::<Wgpu>().ok()?,
            DType::F32,
        )
    }

    /// Of a tensor of whole numbers.
    pub(crate) fn of_ints<const D: usize>(tensor: &Tensor<D, Int>) -> Option<Self> {
        Self::checked(
            tensor.clone().try_into_primitive::<Wgpu>().ok()?,
            DType::I32,
        )
    }

    fn checked(tensor: CubeTensor, wanted: DType) -> Option<Self> {
        (tensor.dtype == wanted && tensor.qparams.is_none()).then(|| Self(into_contiguous(tensor)))
    }

    /// A fresh one of so many floats, on the same GPU.
    pub(crate) fn beside(&self, count: usize) -> Self {
        let handle = self.0.client.empty(count * size_of::<f32>());
        Self(self.with(handle, Shape::from([count])))
    }

    fn with(&self, handle: Handle, shape: Shape) -> CubeTensor {
        let (client, device) = (self.0.client.clone(), self.0.device.clone());
        CubeTensor::new_contiguous(client, device, shape, handle, DType::F32)
    }

    /// All of it as a tensor.
    pub(crate) fn tensor<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        self.part(0, shape)
    }

    /// The numbers from `start` on, where [a part may begin](begin), as a tensor.
    pub(crate) fn part<const D: usize>(&self, start: usize, shape: [usize; D]) -> Tensor<D> {
        let all: usize = self.0.meta.shape().iter().product();
        let shape = Shape::from(shape);
        let count: usize = shape.iter().product();
        let bytes = |numbers: usize| (numbers * size_of::<f32>()) as u64;
        let handle = self.0.handle.clone();
        let handle = handle.offset_start(bytes(start));
        let handle = handle.offset_end(bytes(all - start - count));
        Tensor::from_primitive::<Wgpu>(self.with(handle, shape))
    }
}

/// The first place from `number` on where a [part](Buffer::part) may begin.
pub(crate) fn begin(number: usize) -> usize {
    number.next_multiple_of(ALIGNMENT / size_of::<f32>())
}

/// A launch, as it is put together.
pub(crate) struct Launch<'a> {
    source: Source,
    buffers: Vec<(&'a Buffer, BufferIOAttr)>,
    sizes: Vec<u32>,
}

/// What a kernel is made of.
#[derive(Clone)]
struct Source {
    /// Kernels of the same names and constants are the same.
    names: Vec<&'static str>,
    constants: Vec<(&'static str, usize)>,
    parts: Vec<&'static str>,
    bindings: Vec<(&'static str, &'static str, &'static str)>,
    sizes: Vec<&'static str>,
}

impl KernelSource for Source {
    fn source(&self) -> SourceTemplate {
        let mut text = String::new();
        for (name, value) in &self.constants {
            text += &format!("const {name}: u32 = {value}u;\n");
        }
        let sizes: Vec<String> = (self.sizes.iter())
            .map(|name| format!("{name}: u32"))
            .collect();
        text += &format!("struct Sizes {{ {} }}\n", sizes.join(", "));
        let last = ("sizes", "Sizes", "read");
        for (index, (name, kind, access)) in self.bindings.iter().chain([&last]).enumerate() {
            text +=
                &format!("@group(0) @binding({index}) var<storage, {access}> {name}: {kind};\n");
        }
        for part in &self.parts {
            text += part;
        }
        SourceTemplate::new(text)
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info((self.names.clone(), self.constants.clone()))
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

impl<'a> Launch<'a> {
    /// Of a kernel by its name and its body, in groups of so many threads (`THREADS` to the kernel).
    pub(crate) fn new(name: &'static str, body: &'static str, threads: usize) -> Self {
        Self {
            source: Source {
                names: vec![name],
                constants: vec![("THREADS", threads)],
                parts: vec![body],
                bindings: Vec::new(),
                sizes: Vec::new(),
            },
            buffers: Vec::new(),
            sizes: Vec::new(),
        }
    }

    /// Adds a variant of what the body leaves open.
    pub(crate) fn variant(mut self, name: &'static str, part: &'static str) -> Self {
        self.source.names.push(name);
        self.source.parts.push(part);
        self
    }

    /// Adds a number that the kernel is compiled with.
    pub(crate) fn constant(mut self, name: &'static str, value: usize) -> Self {
        self.source.constants.push((name, value));
        self
    }

    /// Adds a buffer that is read, by the name and the type that it has in the kernel.
    pub(crate) fn read(
        mut self,
        name: &'static str,
        kind: &'static str,
        buffer: &'a Buffer,
    ) -> Self {
        self.source.bindings.push((name, kind, READ));
        self.buffers.push((buffer, BufferIOAttr::ReadOnly));
        self
    }

    /// Adds a buffer that is written.
    pub(crate) fn write(
        mut self,
        name: &'static str,
        kind: &'static str,
        buffer: &'a Buffer,
    ) -> Self {
        self.source.bindings.push((name, kind, "read_write"));
        self.buffers.push((buffer, BufferIOAttr::WriteOnly));
        self
    }

    /// Adds a number below 2³² (or a float by its bits) that the kernel reads as `sizes.name`.
    pub(crate) fn size(mut self, name: &'static str, value: usize) -> Self {
        self.source.sizes.push(name);
        self.sizes.push(value as u32);
        self
    }

    /// Runs it in so many groups along each axis; `None` where those are none or too many.
    pub(crate) fn run(self, groups: [usize; 3]) -> Option<()> {
        if !groups.iter().all(|count| (1..=GROUPS).contains(count)) {
            return None;
        }
        let client = self.buffers.first()?.0.0.client.clone();
        // Pairs of 32-bit numbers.
        let sizes = self.sizes.chunks(2);
        let sizes = sizes
            .map(|pair| u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 32);
        let arguments = (self.buffers.iter())
            .fold(KernelArguments::new(), |arguments, (buffer, access)| {
                arguments.with_buffer_io(buffer.0.handle.clone().binding(), *access)
            })
            .with_info(MetadataBindingInfo::custom(sizes.collect()));
        let [x, y, z] = groups.map(|count| count as u32);
        let threads = self.source.constants[0].1 as u32;
        let kernel = SourceKernel::new(self.source, CubeDim::new_1d(threads));
        client.launch(Box::new(kernel), CubeCount::Static(x, y, z), arguments);
        Some(())
    }
}
