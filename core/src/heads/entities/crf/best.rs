//! The best sequences of tags (Viterbi 1967; several of them as in Seshadri and Sundberg 1994).

use super::Decoder;

/// A way to come to a tag.
#[derive(Clone, Copy)]
struct Way {
    score: f64,
    /// The tag before it, and which of the ways to come there.
    from: (usize, usize),
}

impl Decoder {
    /// The best sequence of tags for `emissions`, row-major `[W, K]`, and its unnormalised score. Where no sequence has a score, as in a
    /// training that has diverged, it is that of the first tag.
    pub fn viterbi(&self, emissions: &[f32]) -> (Vec<usize>, f64) {
        let best = self.best(emissions, 1).pop();
        best.unwrap_or_else(|| (vec![0; emissions.len() / self.tags], f64::NEG_INFINITY))
    }

    /// The `count` best sequences of tags, the best first, and their unnormalised scores; fewer where fewer are allowed, and the empty
    /// one where there is no word.
    ///
    /// # Panics
    ///
    /// When none is asked for.
    pub fn best(&self, emissions: &[f32], count: usize) -> Vec<(Vec<usize>, f64)> {
        assert!(count > 0, "none is asked for");
        let words = emissions.len() / self.tags;
        if words == 0 {
            return vec![(Vec::new(), 0.0)];
        }
        let from = (0, 0);
        let begin = self.begin(emissions).into_iter();
        let begin = begin.map(|score| best_of(vec![Way { score, from }], count));
        // Of each word and tag the best ways.
        let mut ways: Vec<Vec<Vec<Way>>> = vec![begin.collect()];
        for word in 1..words {
            let before = &ways[word - 1];
            let next = (0..self.tags).map(|to| {
                let emission = self.emission(emissions, word, to);
                let step = |from: usize| self.transitions[from * self.tags + to] + emission;
                best_of(all(before, step), count)
            });
            ways.push(next.collect());
        }
        let last = all(&ways[words - 1], |tag| self.end[tag]);
        let paths = best_of(last, count).into_iter().map(|way| {
            let mut at = way.from;
            let mut path = vec![at.0];
            for ways in ways[1..].iter().rev() {
                at = ways[at.0][at.1].from;
                path.push(at.0);
            }
            path.reverse();
            (path, way.score)
        });
        paths.collect()
    }
}

/// Each way with one more step, which depends on its tag.
fn all(ways: &[Vec<Way>], step: impl Fn(usize) -> f64) -> Vec<Way> {
    let tags = ways.iter().enumerate();
    let steps = tags.flat_map(|(tag, ways)| {
        let step = step(tag);
        let ways = ways.iter().enumerate();
        ways.map(move |(rank, way)| Way {
            score: way.score + step,
            from: (tag, rank),
        })
    });
    steps.collect()
}

/// The best, those that are not forbidden; of equal ones the first.
fn best_of(mut ways: Vec<Way>, count: usize) -> Vec<Way> {
    ways.retain(|way| way.score > f64::NEG_INFINITY);
    ways.sort_by(|a, b| b.score.total_cmp(&a.score));
    ways.truncate(count);
    ways
}
