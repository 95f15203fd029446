//! What the sentiment head is taught to answer, where that is not just the label.

use muse_core::objective::Part;

use super::corpus::Post;

/// Changes each post's target t to `Σ_c t_c · w_c · ((1 − ε)·onehot(c) + ε/K)`, over K classes c.
///
/// ε is the `smoothing` (Szegedy et al., arXiv:1512.00567). The weights are `w_c ∝ n_c^−b` with b the `balance`, where the
/// posts have n_c of class c, and 1 on average over all posts.
pub fn adjust(posts: &mut [Post], smoothing: f64, balance: f64) {
    if smoothing == 0.0 && balance == 0.0 {
        return;
    }
    let targets = || {
        let labels = posts
            .iter()
            .filter_map(|post| post.labels.classes.get(&Part::Sentiment));
        labels.map(|label| &label.target)
    };
    let Some(classes) = targets().next().map(Vec::len) else {
        return;
    };
    let mut counts = vec![0.0; classes];
    for target in targets() {
        for (count, share) in counts.iter_mut().zip(target) {
            *count += f64::from(*share);
        }
    }
    // A class that does not occur weighs nothing and teaches nothing.
    let weights: Vec<f64> = (counts.iter())
        .map(|&count| match count > 0.0 {
            true => count.powf(-balance),
            false => 0.0,
        })
        .collect();
    let weighed = counts
        .iter()
        .zip(&weights)
        .map(|(count, weight)| count * weight);
    let mean = weighed.sum::<f64>() / counts.iter().sum::<f64>();
    let labels = posts.iter_mut();
    for label in labels.filter_map(|post| post.labels.classes.get_mut(&Part::Sentiment)) {
        let target = &mut label.target;
        let shares = target.iter().zip(&weights);
        let weighed: Vec<f64> = shares
            .map(|(share, weight)| f64::from(*share) * weight / mean)
            .collect();
        let spread = smoothing / classes as f64 * weighed.iter().sum::<f64>();
        for (value, weighed) in target.iter_mut().zip(weighed) {
            *value = ((1.0 - smoothing) * weighed + spread) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use muse_core::heads::Labels;
    use muse_core::heads::classifier::Label;

    use super::*;

    fn of<const N: usize>(smoothing: f64, balance: f64, targets: [[f32; 3]; N]) -> Vec<Vec<f32>> {
        let label = |target: [f32; 3]| Label {
            class: 0,
            target: target.to_vec(),
        };
        let mut posts = targets.map(|target| Post {
            windows: Vec::new(),
            recased: Vec::new(),
            labels: Labels {
                classes: [(Part::Sentiment, label(target))].into(),
                ..Labels::default()
            },
            image: None,
            tokens: None,
        });
        adjust(&mut posts, smoothing, balance);
        posts
            .map(|post| post.labels.classes[&Part::Sentiment].target.clone())
            .to_vec()
    }

    fn assert_close(values: Vec<Vec<f32>>, expected: &[[f32; 3]]) {
        assert_eq!(values.len(), expected.len());
        for (value, expected) in values.iter().flatten().zip(expected.as_flattened()) {
            assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
        }
    }

    const A: [f32; 3] = [1.0, 0.0, 0.0];
    const B: [f32; 3] = [0.0, 1.0, 0.0];
    const C: [f32; 3] = [0.0, 0.0, 1.0];

    #[test]
    fn targets_are_smoothed_and_weighed() {
        assert_eq!(of(0.0, 0.0, [A, B]), [A, B]);
        assert_eq!(of(0.1, 0.5, []), Vec::<Vec<f32>>::new());
        let one = 0.3 / 3.0;
        let own = 0.7 + one;
        assert_close(of(0.3, 0.0, [A, B]), &[[own, one, one], [one, own, one]]);
        // Of four labels one is A and three are C: weights 1 and 1/3, on average 1/2.
        let third = [0.0, 0.0, 2.0 / 3.0];
        assert_close(
            of(0.0, 1.0, [C, C, A, C]),
            &[third, third, [2.0, 0.0, 0.0], third],
        );
        // Shares count as parts of a label: one and a half of each.
        let half = [0.5, 0.0, 0.5];
        assert_close(of(0.0, 1.0, [half, A, C]), &[half, A, C]);
        assert_close(of(0.3, 0.0, [half]), &[[0.35 + one, one, 0.35 + one]]);
    }
}
