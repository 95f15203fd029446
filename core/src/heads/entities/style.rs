//! Annotation styles. Corpora disagree about what an entity is, and of which type: a model that learns from several can keep apart
//! how each of them is annotated.

use serde::{Deserialize, Serialize};

use crate::validate::ConfigError;

/// The styles that an entity head tells apart; none where its data agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Styles {
    /// Their names.
    pub names: Vec<String>,
    /// Which of them answers where none is asked for; the first when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// A style that a model does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model has no style {name:?}; {}", match known.len() {
    0 => "it has none, since its data was all annotated alike".to_owned(),
    _ => format!("its styles are {}", known.join(", ")),
})]
pub struct UnknownStyle {
    name: String,
    known: Vec<String>,
}

impl Styles {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.default.is_none()
    }

    /// The place of a style, or of the one that answers where none is asked for; 0 where there are none.
    ///
    /// # Errors
    ///
    /// When the model has no such style.
    pub fn place(&self, name: Option<&str>) -> Result<usize, UnknownStyle> {
        let Some(name) = name.or(self.default.as_deref()) else {
            return Ok(0);
        };
        let place = self.names.iter().position(|known| known == name);
        place.ok_or_else(|| UnknownStyle {
            name: name.to_owned(),
            known: self.names.clone(),
        })
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (place, name) in self.names.iter().enumerate() {
            if name.trim().is_empty() || self.names[..place].contains(name) {
                let problem = format!("{name:?} is not a name of its own");
                return Err(ConfigError::new("styles", problem));
            }
        }
        match self.place(None) {
            Ok(_) => Ok(()),
            Err(error) => Err(ConfigError::new("styles", error.to_string())),
        }
    }
}
