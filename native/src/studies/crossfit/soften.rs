//! From a label and what models say to a target.

use crate::data::Shares;

/// Smaller probabilities count as this: nobody is surer.
const LEAST: f64 = 1e-6;

/// An answer with its logits divided by a temperature (Guo et al. 2017, arXiv:1706.04599).
pub fn tempered(answer: &Shares, temperature: f64) -> Shares {
    let powers = answer.iter().map(|(class, share)| {
        let power = (share.max(LEAST).ln() / temperature).exp();
        (class.clone(), power)
    });
    let mut shares: Shares = powers.collect();
    let sum: f64 = shares.values().sum();
    shares.values_mut().for_each(|share| *share /= sum);
    shares
}

/// Mean negative log-probability of the labels, nats, at a temperature. A label that is no class of the answer costs the most.
pub fn log_loss(pairs: &[(&str, &Shares)], temperature: f64) -> f64 {
    let cost = |(label, answer): &(&str, &Shares)| {
        let share = tempered(answer, temperature).get(*label).copied();
        -share.unwrap_or(0.0).max(LEAST).ln()
    };
    pairs.iter().map(cost).sum::<f64>() / pairs.len().max(1) as f64
}

/// The temperature, 1/8 to 8, at which the log-loss is least: models are surer of themselves than they are right.
pub fn temperature(pairs: &[(&str, &Shares)]) -> f64 {
    // The loss has one valley over the logarithm.
    lowest(0.125_f64.ln(), 8_f64.ln(), |log| log_loss(pairs, log.exp())).exp()
}

/// Where a function with one valley is lowest, between two bounds.
pub fn lowest(mut low: f64, mut high: f64, value: impl Fn(f64) -> f64) -> f64 {
    // The golden section: of two places in between, one stays one of the two of the next step.
    let share = 0.5 * (5_f64.sqrt() - 1.0);
    let (mut left, mut right) = (high - share * (high - low), low + share * (high - low));
    let (mut at_left, mut at_right) = (value(left), value(right));
    for _ in 0..45 {
        match at_left < at_right {
            true => {
                (high, right, at_right) = (right, left, at_left);
                left = high - share * (high - low);
                at_left = value(left);
            }
            false => {
                (low, left, at_left) = (left, right, at_right);
                right = low + share * (high - low);
                at_right = value(right);
            }
        }
    }
    0.5 * (low + high)
}

/// A target of which the models' answer has a share, and the label's own the rest.
pub fn mixed(own: &Shares, answer: &Shares, share: f64) -> Shares {
    let mut mixed = Shares::new();
    for (weight, shares) in [(1.0 - share, own), (share, answer)] {
        for (class, part) in shares {
            *mixed.entry(class.clone()).or_default() += weight * part;
        }
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(pairs: &[(&str, f64)]) -> Shares {
        let pairs = pairs.iter();
        pairs
            .map(|&(class, share)| (class.to_owned(), share))
            .collect()
    }

    fn assert_close(shares: &Shares, expected: &[(&str, f64)]) {
        assert_eq!(shares.len(), expected.len());
        for (class, share) in expected {
            assert!((shares[*class] - share).abs() < 1e-9, "{shares:?}");
        }
    }

    #[test]
    fn a_temperature_evens_out() {
        let answer = shares(&[("a", 0.8), ("b", 0.2)]);
        assert_close(&tempered(&answer, 1.0), &[("a", 0.8), ("b", 0.2)]);
        // The ratio of 4 becomes its square root.
        assert_close(
            &tempered(&answer, 2.0),
            &[("a", 2.0 / 3.0), ("b", 1.0 / 3.0)],
        );
        let sure = tempered(&shares(&[("a", 1.0), ("b", 0.0)]), 1.0);
        assert!(sure["b"] > 0.0 && sure["b"] < 1e-5);
    }

    #[test]
    fn the_temperature_makes_the_answers_as_sure_as_they_are_right() {
        // Right three times in four, and 0.9 sure: that is 9 to 1 for 3 to 1, the square of it.
        let answer = shares(&[("a", 0.9), ("b", 0.1)]);
        let pairs = [
            ("a", &answer),
            ("a", &answer),
            ("b", &answer),
            ("a", &answer),
        ];
        let found = temperature(&pairs);
        assert!((found - 2.0).abs() < 1e-4, "{found}");
        let entropy = -(0.75 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln());
        assert!((log_loss(&pairs, found) - entropy).abs() < 1e-6);
        assert!(log_loss(&pairs, 1.0) > entropy);
        let foreign = [("c", &answer)];
        assert!((log_loss(&foreign, 1.0) + LEAST.ln()).abs() < 1e-9);
    }

    #[test]
    fn a_target_is_part_label_and_part_answer() {
        let answer = shares(&[("a", 0.25), ("b", 0.75)]);
        let label = shares(&[("a", 1.0)]);
        assert_close(&mixed(&label, &answer, 0.5), &[("a", 0.625), ("b", 0.375)]);
        assert_close(&mixed(&label, &answer, 0.0), &[("a", 1.0), ("b", 0.0)]);
    }
}
