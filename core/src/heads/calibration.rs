//! What turns a model's own probabilities into shares that come true: of all that is told with 80 %, 80 % is right.
//!
//! A network is surer of itself than it is right. The logits of classes are divided by a temperature (Guo et al. 2017,
//! arXiv:1706.04599). A found entity is either right or not, so that the logit of its probability can have a slope and an offset
//! (Platt 1999). Neither changes which tags and classes are the likeliest.

use libm::{exp, log};
use serde::{Deserialize, Serialize};

use super::{Classes, Names};
use crate::validate::{ConfigError, range};

/// Entities of a calibrated model with this confidence or more are its answer: the expected F1 is greatest when those are kept that
/// are surer than half of it (Lipton et al. 2014, arXiv:1402.1892), and F1 is 0.75 to 0.87.
const THRESHOLD: f32 = 0.4;

/// Probabilities nearer to 0 or 1 count as this near: nobody is surer, and an f32 that rounds to 1 has no logit.
const LEAST: f64 = 1e-6;

/// How sure the answers are told to be. Of what is left out, as sure as the model has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Calibration {
    /// Of found entities, for each style, or for the model without styles; empty where none is calibrated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Scaling>,
    /// What the logits of a head's classes are divided by.
    #[serde(skip_serializing_if = "Classes::is_empty")]
    pub temperatures: Classes<f64>,
}

/// A straight line through logits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// What a logit is multiplied by.
    pub slope: f64,
    /// What is then added.
    pub offset: f64,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            slope: 1.0,
            offset: 0.0,
        }
    }
}

impl Scaling {
    /// The logit of a probability.
    pub fn logit(probability: f64) -> f64 {
        let probability = probability.clamp(LEAST, 1.0 - LEAST);
        log(probability / (1.0 - probability))
    }

    /// The calibrated probability of a logit.
    pub fn probability(self, logit: f64) -> f64 {
        1.0 / (1.0 + exp(-(self.slope * logit + self.offset)))
    }

    /// The calibrated probability; without a calibration the same, to the last bit.
    pub fn apply(self, probability: f64) -> f64 {
        match self == Self::default() {
            true => probability,
            false => self.probability(Self::logit(probability)),
        }
    }
}

impl Calibration {
    /// How sure an entity in a style must be to be worth telling, where nobody asks for anything else. Of a model that is not
    /// calibrated all are: it hardly ever says that it is not sure.
    pub fn threshold(&self, style: usize) -> f32 {
        match self.entities.get(style) {
            Some(scaling) if *scaling != Scaling::default() => THRESHOLD,
            _ => 0.0,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn validate(&self, names: &Names) -> Result<(), ConfigError> {
        let (given, wanted) = (self.entities.len(), names.styles.names.len().max(1));
        if given != 0 && given != wanted {
            let problem = format!("has {given} numbers of entities, must have {wanted}");
            return Err(ConfigError::new("calibration", problem));
        }
        // Slopes and temperatures are above 0, or the order of the answers would be another.
        for Scaling { slope, offset } in &self.entities {
            range("calibration.entities.slope", *slope, 0.01..=100.0)?;
            range("calibration.entities.offset", *offset, -100.0..=100.0)?;
        }
        for temperature in self.temperatures.values() {
            range("calibration.temperatures", *temperature, 0.01..=100.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::Part;

    #[test]
    fn only_a_calibrated_model_knows_what_is_worth_telling() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.threshold(0), 0.0);
        let halved = Scaling {
            slope: 0.5,
            offset: 0.0,
        };
        calibration.entities = vec![Scaling::default(), halved];
        let thresholds = [0, 1, 2].map(|style| calibration.threshold(style));
        assert_eq!(thresholds, [0.0, THRESHOLD, 0.0]);
    }

    #[test]
    fn a_line_through_logits() {
        let halved = Scaling {
            slope: 0.5,
            offset: 0.0,
        };
        // The odds of 9 to 1 become 3 to 1; the offset ln 3 makes them 9 to 1 again.
        assert!((halved.apply(0.9) - 0.75).abs() < 1e-12);
        let raised = Scaling {
            offset: 3_f64.ln(),
            ..halved
        };
        assert!((raised.apply(0.9) - 0.9).abs() < 1e-12);
        assert_eq!(halved.apply(0.5), 0.5);
        assert!(halved.apply(1.0) < 1.0 && halved.apply(0.0) > 0.0);
        for same in [0.0, 1e-9, 0.3, 1.0] {
            assert_eq!(Scaling::default().apply(same), same);
        }
    }

    #[test]
    fn what_would_turn_answers_round_is_refused() {
        let names = Names::default();
        let sound = Calibration {
            entities: vec![Scaling::default()],
            temperatures: [(Part::Sentiment, 2.0)].into(),
        };
        sound.validate(&names).expect("sound");
        let error = |change: &dyn Fn(&mut Calibration)| {
            let mut calibration = sound.clone();
            change(&mut calibration);
            calibration.validate(&names).expect_err("not sound").setting
        };
        assert_eq!(error(&|c| c.entities.push(c.entities[0])), "calibration");
        assert_eq!(
            error(&|c| c.entities[0].slope = -1.0),
            "calibration.entities.slope"
        );
        assert_eq!(
            error(&|c| c.entities[0].offset = f64::NAN),
            "calibration.entities.offset"
        );
        assert_eq!(
            error(&|c| c.temperatures = [(Part::Sentiment, 0.0)].into()),
            "calibration.temperatures"
        );
    }
}
