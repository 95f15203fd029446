//! What the browser tests share with the project's chores.

pub mod preview;
