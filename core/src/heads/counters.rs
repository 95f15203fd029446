//! What the heads of a model score together.

use serde::Serialize;

use super::classifier::{self, ClassCounter, ClassScores};
use super::entities::{EntityCounter, EntityScores};
use super::score::{Metrics, Table};
use super::{Classes, Labels, Predicted};
use crate::config::MuseConfig;

/// Counts what was predicted against what is known; a head is counted from its first label on.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Of the entities.
    pub entities: Option<EntityCounter>,
    /// Of the classes.
    pub classes: Classes<ClassCounter>,
}

/// The heads' scores; `None` where there was no label.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Scores {
    /// Of the entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entities: Option<EntityScores>,
    /// Of the classes; in JSON under the heads' names.
    #[serde(flatten)]
    pub classes: Classes<ClassScores>,
}

impl Counters {
    /// Counts a caption.
    pub fn add(&mut self, config: &MuseConfig, gold: &Labels, predicted: &Predicted) {
        if let Some(gold) = &gold.entities {
            let known = &config.names.tags;
            let names = |tags: &[usize]| -> Vec<&str> {
                tags.iter().map(|&tag| known[tag].as_str()).collect()
            };
            let counter = self.entities.get_or_insert_default();
            counter.add(&names(gold), &names(&predicted.entities));
        }
        for (head, names) in config.names.classifiers() {
            let answer = predicted.classes.get(&head);
            let best = answer.and_then(|answer| classifier::likeliest(answer));
            if let (Some(gold), Some(best)) = (gold.classes.get(&head), best) {
                let counter = self.classes.entry(head).or_default();
                counter.add(&names[gold.class], &names[best]);
            }
        }
    }

    /// Adds what others have counted.
    pub fn merge(&mut self, other: &Self) {
        let Self { entities, classes } = other;
        if let Some(entities) = entities {
            self.entities.get_or_insert_default().merge(entities);
        }
        for (head, counter) in classes {
            self.classes.entry(*head).or_default().merge(counter);
        }
    }

    /// The scores of what was counted so far.
    pub fn scores(&self) -> Scores {
        Scores {
            entities: self.entities.as_ref().map(EntityCounter::scores),
            classes: (self.classes.iter())
                .map(|(head, counter)| (*head, counter.scores()))
                .collect(),
        }
    }
}

impl Scores {
    /// Those of each head, for a trainer.
    pub fn metrics(&self, config: &MuseConfig) -> Vec<Metrics> {
        let Self { entities, classes } = self;
        let entities = entities.iter().map(|s| s.metrics(&config.names.tags));
        let classes = classes.iter().map(|(head, s)| s.metrics(*head));
        entities.chain(classes).collect()
    }

    /// A table for each head.
    pub fn tables(&self) -> Vec<Table> {
        let Self { entities, classes } = self;
        let entities = entities.iter().map(EntityScores::table);
        let classes = classes.iter().map(|(head, s)| s.table(*head));
        entities.chain(classes).collect()
    }
}
