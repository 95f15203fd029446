
// x·Φ(x). The error function to 1.5e-7: Abramowitz and Stegun, 7.1.26.
fn finish(x: vec4<f32>, at: u32) -> vec4<f32> {
    let z = abs(x) * 0.70710678;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return 0.5 * x * (1.0 + sign(x) * (1.0 - tail * exp(-z * z)));
}
