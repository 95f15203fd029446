//! The parts of the objective `L = L_task + α·L_it + β·L_ti` (arXiv:2309.02190).

use serde::{Deserialize, Serialize};

/// A part, in the order in which they are told: of L_task the heads, then the decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The entity head's.
    Entities,
    /// The sentiment head's.
    Sentiment,
    /// L_it, the captioner's.
    Captioning,
    /// L_ti, the image generator's.
    Generation,
}

impl Part {
    /// The heads', in order. A list without one of them is too short for its type.
    pub const HEADS: [Self; Self::Captioning as usize] = [Self::Entities, Self::Sentiment];

    /// All of them, in order.
    pub const ALL: [Self; Self::Generation as usize + 1] = [
        Self::Entities,
        Self::Sentiment,
        Self::Captioning,
        Self::Generation,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entities => "entities",
            Self::Sentiment => "sentiment",
            Self::Captioning => "captioning",
            Self::Generation => "generation",
        }
    }
}
