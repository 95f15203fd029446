//! The page and the package in a real browser. `cargo xtask test browser` builds both, and says where they and the
//! browser are by the environment that [`support::setup`] reads.

mod support;

mod accessibility;
mod bundler;
mod cache;
mod captions;
mod downloads;
mod element;
mod element_life;
mod flow;
mod inputs;
mod kept;
mod launches;
mod long;
mod module;
mod monkey;
mod parity;
mod pictures;
mod preview;
mod privacy;
mod save_data;
mod smooth;
mod states;
mod styles;
mod trial;
mod unsupported;
mod webgpu;
