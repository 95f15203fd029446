//! What the tests stand on: a browser of their own, servers that misbehave on demand, and the page as its user sees it.

pub(crate) mod browser;
pub(crate) mod chromedriver;
pub(crate) mod outside;
pub(crate) mod page;
pub(crate) mod pictures;
pub(crate) mod setup;

pub(crate) use browser::{Browser, Gpu};
pub(crate) use page::Page;
pub(crate) use setup::{Setup, run, run_alone};
