//! Where the tensors live: a GPU through wgpu, or burn's own CPU backend (Flex).
//!
//! Adapters are only listed when a GPU may be wanted: asking the graphics drivers takes a noticeable part of the time
//! that a short caption takes altogether, so `--device cpu` never touches them.

use std::fmt;

use anyhow::{Context, bail};
use burn::tensor::wgpu::WgpuInitError;
use burn::tensor::{Device, DeviceKind, DeviceType};
use clap::ValueEnum;
use muse_core::decoders::MicrobatchSize;

use crate::output;

/// cubecl's variable that names the adapter behind [`DeviceKind::DefaultDevice`].
const DEFAULT_ADAPTER: &str = "CUBECL_WGPU_DEFAULT_DEVICE";

/// How many adapters of one kind are looked for.
const MAX_ADAPTERS: usize = 8;

/// More batches side by side would take memory rather than save time.
const MAX_WORKERS: usize = 8;

/// What `--device` asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// A real GPU when there is one, else the CPU
    Auto,
    /// A GPU, or an error
    Gpu,
    /// The CPU
    Cpu,
}

/// A device that was chosen, and what to call it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The device; without autodiff.
    pub device: Device,
    /// What it is, for people: `GPU (NVIDIA ...)` or `CPU`.
    pub description: String,
    /// How many captions are best tagged at a time. A CPU gains nothing from a larger batch and loses by its padding.
    pub batch_size: usize,
    /// How many such batches are best tagged, or parts of one learned from, side by side. Flex keeps about one core
    /// busy; a GPU is busy by itself.
    pub workers: usize,
    /// How many pairs a decoder best learns from at a time.
    pub microbatch: MicrobatchSize,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

impl DeviceChoice {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
        }
    }

    /// The device that this choice means on this machine.
    ///
    /// `Auto` says on standard error which it took. A software rasteriser (lavapipe and the like) is no GPU: `Auto`
    /// never takes it, and `Gpu` only when `CUBECL_WGPU_DEFAULT_DEVICE=Cpu` asks for it by name, as tests of the
    /// GPU code on machines without one do.
    ///
    /// # Errors
    ///
    /// `Gpu` where there is none, or where the driver refuses to open it.
    pub fn open(self) -> anyhow::Result<Chosen> {
        match self {
            Self::Cpu => Ok(cpu()),
            Self::Gpu => gpu(),
            Self::Auto => {
                let chosen = match real_adapter() {
                    Some(kind) => open(kind).unwrap_or_else(|error| {
                        output::tell(format_args!("the GPU cannot be used: {error:#}"));
                        cpu()
                    }),
                    None => cpu(),
                };
                output::tell(format_args!("device: {chosen}"));
                Ok(chosen)
            }
        }
    }
}

fn cpu() -> Chosen {
    Chosen {
        device: Device::flex(),
        description: "CPU".into(),
        batch_size: 4,
        // As many as Flex would share its operations among.
        workers: rayon::current_num_threads().min(MAX_WORKERS),
        microbatch: MicrobatchSize::CPU,
    }
}

fn gpu() -> anyhow::Result<Chosen> {
    let named = std::env::var_os(DEFAULT_ADAPTER).is_some();
    if named {
        return open(DeviceKind::DefaultDevice)
            .with_context(|| format!("the adapter that {DEFAULT_ADAPTER} names cannot be used"));
    }
    match real_adapter() {
        Some(kind) => open(kind),
        None => bail!(
            "no GPU was found; run with --device cpu, or set {DEFAULT_ADAPTER}=Cpu to use a software adapter"
        ),
    }
}

/// The best adapter that is a real GPU. `None` without drivers, too: listing never panics.
fn real_adapter() -> Option<DeviceKind> {
    let found = Device::enumerate(DeviceType::Wgpu);
    if found.is_empty() {
        return None;
    }
    // Comparing with the selectors says which kind an adapter is; burn tells it in no other way short of opening it.
    let kinds: [fn(usize) -> DeviceKind; 3] = [
        DeviceKind::DiscreteGpu,
        DeviceKind::IntegratedGpu,
        DeviceKind::VirtualGpu,
    ];
    let real = kinds
        .into_iter()
        .flat_map(|kind| (0..MAX_ADAPTERS).map(kind))
        .find(|kind| found.contains(&Device::wgpu(kind.clone())))?;
    match std::env::var(DEFAULT_ADAPTER).as_deref() {
        Ok("Cpu") => None,
        Ok(_) => Some(DeviceKind::DefaultDevice),
        Err(_) => Some(real),
    }
}

/// Opens the adapter now, so that a driver's refusal is an error here and not a panic at the first tensor.
fn open(kind: DeviceKind) -> anyhow::Result<Chosen> {
    let device = match Device::wgpu_options().device_kind(kind.clone()).init() {
        Ok(device) => device,
        // Opened before in this process: the same adapter again.
        Err(WgpuInitError::Registration { .. }) => Device::wgpu(kind),
        Err(error) => return Err(error.into()),
    };
    let name = device.identity().map(|identity| identity.name);
    Ok(Chosen {
        device,
        description: format!("GPU ({})", name.as_deref().unwrap_or("unnamed")),
        batch_size: 32,
        workers: 1,
        microbatch: MicrobatchSize::GPU,
    })
}
