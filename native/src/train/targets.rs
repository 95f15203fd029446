//! What the sentiment head is taught to answer, where that is not just the label.

/// A row for each class c of the `classes`: `w_c · ((1 − ε)·onehot(c) + ε/K)`, `[K, K]`; `None` when that is the label.
///
/// ε is the `smoothing` (Szegedy et al., arXiv:1512.00567). The weights are `w_c ∝ n_c^−b` with b the `balance`, where n_c of
/// the `labels` are c, and 1 on average over all labels.
pub fn targets(
    classes: usize,
    labels: impl IntoIterator<Item = usize>,
    smoothing: f64,
    balance: f64,
) -> Option<Vec<f32>> {
    if smoothing == 0.0 && balance == 0.0 {
        return None;
    }
    let mut counts = vec![0u32; classes];
    for label in labels {
        counts[label] += 1;
    }
    // A class that does not occur weighs nothing and teaches nothing.
    let weights: Vec<f64> = (counts.iter())
        .map(|&count| match count {
            0 => 0.0,
            count => f64::from(count).powf(-balance),
        })
        .collect();
    let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    let weighed = (counts.iter().zip(&weights)).map(|(&count, weight)| f64::from(count) * weight);
    let mean = weighed.sum::<f64>() / total;
    let row = |class: usize| {
        let weight = weights[class] / mean;
        (0..classes).map(move |answer| {
            let label = if answer == class { 1.0 } else { 0.0 };
            (weight * ((1.0 - smoothing) * label + smoothing / classes as f64)) as f32
        })
    };
    (total > 0.0).then(|| (0..classes).flat_map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(smoothing: f64, balance: f64, labels: &[usize]) -> Option<Vec<f32>> {
        targets(3, labels.iter().copied(), smoothing, balance)
    }

    fn assert_close(values: Option<Vec<f32>>, expected: [f32; 9]) {
        for (value, expected) in values.expect("targets").iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
        }
    }

    #[test]
    fn labels_are_smoothed_and_weighed() {
        assert_eq!(of(0.0, 0.0, &[0, 1]), None);
        assert_eq!(of(0.1, 0.5, &[]), None);
        let one = 0.3 / 3.0;
        let own = 0.7 + one;
        assert_close(
            of(0.3, 0.0, &[0, 1, 1, 2]),
            [own, one, one, one, own, one, one, one, own],
        );
        // Of four labels one is 0 and three are 2: weights 1 and 1/3, on average 1/2.
        assert_close(
            of(0.0, 1.0, &[2, 2, 0, 2]),
            [2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0 / 3.0],
        );
    }
}
