//! A smooth line through some measured points.

/// A monotone cubic (Fritsch and Carlson 1980) through points of depth and value. The depth is on a logarithmic scale. Between
/// two points the curve stays between their values.
///
/// ```
/// use auraio_sim::curve::Curve;
///
/// let curve = Curve::new(&[(1.0, 10.0), (4.0, 30.0), (16.0, 35.0)]);
/// assert_eq!(curve.at(4.0), 30.0);
/// assert!((30.0..35.0).contains(&curve.at(8.0)));
/// assert_eq!(curve.at(100.0), 35.0);
/// ```
#[derive(Clone, Debug)]
pub struct Curve {
    x: Vec<f64>,
    y: Vec<f64>,
    slopes: Vec<f64>,
}

impl Curve {
    /// The curve through points of depth and value. The depths are above 0 and ascend.
    #[must_use]
    pub fn new(points: &[(f64, f64)]) -> Self {
        let x: Vec<f64> = points.iter().map(|point| point.0.ln()).collect();
        let y: Vec<f64> = points.iter().map(|point| point.1).collect();
        let steps: Vec<f64> = x.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let secants: Vec<f64> = y.windows(2).zip(&steps).map(|(pair, step)| (pair[1] - pair[0]) / step).collect();
        let mut slopes = vec![0.0; x.len()];
        if let (Some(&first), Some(&last)) = (secants.first(), secants.last()) {
            slopes[0] = first;
            slopes[x.len() - 1] = last;
        }
        for inner in 1..x.len().saturating_sub(1) {
            let (before, after) = (secants[inner - 1], secants[inner]);
            if before * after > 0.0 {
                let weight_before = 2.0 * steps[inner] + steps[inner - 1];
                let weight_after = steps[inner] + 2.0 * steps[inner - 1];
                slopes[inner] = (weight_before + weight_after) / (weight_before / before + weight_after / after);
            }
        }
        Self { x, y, slopes }
    }

    /// The value at a depth. Beyond the first or the last point it is the value of that point.
    #[must_use]
    pub fn at(&self, depth: f64) -> f64 {
        let x = depth.ln();
        let after = self.x.partition_point(|&point| point < x);
        if after == 0 || after == self.x.len() {
            return self.y[after.min(self.y.len() - 1)];
        }
        let (from, step) = (after - 1, self.x[after] - self.x[after - 1]);
        let t = (x - self.x[from]) / step;
        let (square, cube) = (t * t, t * t * t);
        self.y[from] * (2.0 * cube - 3.0 * square + 1.0)
            + self.slopes[from] * step * (cube - 2.0 * square + t)
            + self.y[after] * (3.0 * square - 2.0 * cube)
            + self.slopes[after] * step * (cube - square)
    }

    /// The values at all whole depths from 0 to `last`. The value at 0 is that at 1.
    #[must_use]
    pub fn table(&self, last: usize) -> Vec<f64> {
        (0..=last).map(|depth| self.at(depth.max(1) as f64)).collect()
    }
}
