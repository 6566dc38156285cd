//! What a limit promises, checked by arithmetic over a whole history.

use trellis_core::limits::LimitSpec;

/// Units admitted at a time of the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Admission {
    /// When it was decided.
    pub at: u64,
    /// Units.
    pub units: i64,
}

/// A limit's promise.
#[derive(Clone, Debug)]
pub struct Promise(pub LimitSpec);

impl Promise {
    /// Where the admissions break the promise: the admission that is too much, and by how much.
    ///
    /// Rate: in any time `t` at most `burst + amount * t / period`, which is what a bucket of units times
    /// `period` never going below empty says. Window: in any half-open interval of one period at most `amount`.
    #[must_use]
    pub fn broken(&self, mut admissions: Vec<Admission>) -> Option<(Admission, i64)> {
        admissions.sort_unstable();
        match &self.0 {
            LimitSpec::Rate(spec) => {
                let period = i128::from(spec.period().0);
                let full = i128::from(spec.burst()) * period;
                let (mut level, mut last) = (full, 0);
                for one in admissions {
                    let gained = i128::from(spec.amount()) * i128::from(one.at - last);
                    level = (level + gained).min(full) - i128::from(one.units) * period;
                    last = one.at;
                    if level < 0 {
                        let over = (-level + period - 1) / period;
                        return Some((one, i64::try_from(over).unwrap_or(i64::MAX)));
                    }
                }
                None
            }
            LimitSpec::Window(spec) => {
                let (mut first, mut used) = (0, 0);
                for (index, one) in admissions.iter().enumerate() {
                    used += one.units;
                    while admissions[first].at + spec.period().0 <= one.at {
                        used -= admissions[first].units;
                        first += 1;
                    }
                    debug_assert!(first <= index);
                    if used > spec.amount() {
                        return Some((*one, used - spec.amount()));
                    }
                }
                None
            }
            LimitSpec::Calendar(_) | LimitSpec::Concurrency(_) => None,
        }
    }
}
