//! Where a model runs.

use burn::tensor::Device;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::failure::{Code, failure};

/// The kind of a device.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[cfg(feature = "cpu")]
    Cpu,
    #[cfg(feature = "webgpu")]
    WebGpu,
}

/// What a page may say of a device.
#[derive(Serialize)]
pub(crate) struct Description {
    kind: Kind,
    name: &'static str,
}

impl Kind {
    pub(crate) fn describe(self) -> Description {
        let name = match self {
            #[cfg(feature = "cpu")]
            Self::Cpu => "CPU",
            #[cfg(feature = "webgpu")]
            Self::WebGpu => "WebGPU",
        };
        Description { kind: self, name }
    }
}

/// Opens a device by its name.
///
/// # Errors
///
/// `device`: this module or this browser has none of that name.
pub(crate) async fn open(name: &str) -> Result<(Device, Kind), JsValue> {
    match name {
        #[cfg(feature = "cpu")]
        "cpu" => Ok((Device::flex(), Kind::Cpu)),
        #[cfg(feature = "webgpu")]
        "webgpu" => Ok((webgpu::open().await?, Kind::WebGpu)),
        _ => Err(failure(
            Code::Device,
            &format!("this module has no device called {name:?}"),
        )),
    }
}

#[cfg(feature = "webgpu")]
mod webgpu {
    use std::cell::RefCell;

    use super::{Code, Device, JsValue, failure};

    thread_local! {
        /// burn opens the browser's adapter once; later models share it.
        static OPENED: RefCell<Option<Device>> = const { RefCell::new(None) };
    }

    pub(super) async fn open() -> Result<Device, JsValue> {
        if let Some(device) = OPENED.with_borrow(Clone::clone) {
            return Ok(device);
        }
        let device = Device::wgpu_options()
            .init_async()
            .await
            .map_err(|error| failure(Code::Device, &error))?;
        OPENED.set(Some(device.clone()));
        Ok(device)
    }
}
