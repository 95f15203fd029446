//! Cuts data into folds so that none knows the answers of another.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::data::Sample;

/// The samples of each of `folds` folds, as places in `samples`, ascending. Samples with the same words or the same picture are
/// in one fold: posts are shared and photos used again, and a model knows what it has seen. The seed makes the cut.
///
/// # Errors
///
/// When a picture cannot be read, or there are fewer such groups than folds.
pub fn split(samples: &[Sample], folds: usize, seed: u64) -> anyhow::Result<Vec<Vec<usize>>> {
    let mut groups = Groups((0..samples.len()).collect());
    let mut first: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut pictures = BTreeMap::new();
    for (place, sample) in samples.iter().enumerate() {
        let mut join = |key: Vec<u8>| match first.get(&key) {
            Some(&other) => groups.join(place, other),
            None => drop(first.insert(key, place)),
        };
        if !sample.words.is_empty() {
            join(sample.words.join(" ").to_lowercase().into_bytes());
        }
        if let Some(path) = &sample.image {
            if !pictures.contains_key(path) {
                let bytes = std::fs::read(path)
                    .with_context(|| format!("cannot read the picture {}", path.display()))?;
                pictures.insert(path, Sha256::digest(&bytes));
            }
            // No text is a digest behind a zero byte.
            join([&[0], &pictures[path][..]].concat());
        }
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for place in 0..samples.len() {
        members.entry(groups.root(place)).or_default().push(place);
    }
    ensure!(
        members.len() >= folds,
        "{folds} folds cannot be made of {} samples that have nothing in common",
        members.len()
    );
    let mut members: Vec<Vec<usize>> = members.into_values().collect();
    members.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    // Large groups first, each to the smallest fold.
    members.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let mut cut = vec![Vec::new(); folds];
    for group in members {
        if let Some(smallest) = cut.iter_mut().min_by_key(|fold| fold.len()) {
            smallest.extend(group);
        }
    }
    cut.iter_mut().for_each(|fold| fold.sort_unstable());
    Ok(cut)
}

/// Which samples belong together: each points to another of its group, or is the group's root.
struct Groups(Vec<usize>);

impl Groups {
    fn root(&mut self, mut place: usize) -> usize {
        while self.0[place] != place {
            self.0[place] = self.0[self.0[place]];
            place = self.0[place];
        }
        place
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one] = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(words: &str, image: Option<&std::path::Path>) -> Sample {
        Sample {
            words: words.split_whitespace().map(str::to_owned).collect(),
            image: image.map(Into::into),
            ..Sample::default()
        }
    }

    #[test]
    fn what_has_words_or_photo_in_common_is_in_one_fold() {
        let folder = tempfile::tempdir().expect("a folder");
        let photo = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("a file");
            path
        };
        // The second is the first under another name.
        let (a, b, c) = (photo("a", b"1"), photo("b", b"1"), photo("c", b"2"));
        let mut samples = vec![
            sample("so it is", Some(&a)),
            sample("other", Some(&b)),
            sample("So IT is", Some(&c)),
            sample("", Some(&c)),
        ];
        samples.extend((0..16).map(|at| sample(&format!("post {at}"), None)));
        let folds = split(&samples, 4, 1).expect("folds");
        assert!(folds.iter().all(|fold| fold.len() == 5), "{folds:?}");
        assert!(
            folds
                .iter()
                .any(|fold| [0, 1, 2, 3].iter().all(|place| fold.contains(place)))
        );
        let mut all = folds.concat();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert_eq!(split(&samples, 4, 1).expect("folds"), folds);
        assert_ne!(split(&samples, 4, 2).expect("folds"), folds);
        // Posts without words or picture have nothing in common.
        let silent = vec![sample("", None); 3];
        assert_eq!(split(&silent, 3, 1).expect("folds").len(), 3);
        let error = split(&samples[..4], 2, 1)
            .expect_err("one group")
            .to_string();
        assert!(
            error.contains("1 samples that have nothing in common"),
            "{error}"
        );
    }
}
