//! What the column `sharing` is to reach, and whether it does.

use crate::figures::{Figures, ratio};
use crate::stage::Column;

/// One target: what it says, and what was measured, in its words.
#[derive(Debug)]
pub struct Target {
    pub says: &'static str,
    pub measured: String,
    pub met: bool,
}

/// The targets, from the means over the seeds. None without a run of `alone` and one of `sharing`.
pub fn targets(all: &[(Column, Figures)]) -> Vec<Target> {
    let mean = |column: Column, figure: fn(&Figures) -> f64| {
        let of = all.iter().filter(|(of, _)| *of == column);
        let values: Vec<f64> = of.map(|(_, figures)| figure(figures)).collect();
        values.iter().sum::<f64>() / ratio(values.len() as u64, 1)
    };
    let ran = |column: Column| all.iter().any(|(of, _)| *of == column);
    if !ran(Column::Alone) || !ran(Column::Sharing) {
        return Vec::new();
    }
    let sharing = |figure| mean(Column::Sharing, figure);
    let below =
        |figure: fn(&Figures) -> f64| 100.0 - 100.0 * sharing(figure) / mean(Column::Alone, figure);
    let violations = sharing(Figures::violations);
    let calls = sharing(|of| of.per_minute(of.answers.calls));
    let hits = sharing(|of| 100.0 * of.answers_from.share_saved());
    let (faster, cheaper) = (
        below(Figures::mean_ms),
        below(Figures::answer_dollars_a_day),
    );
    vec![
        Target {
            says: "no rate-limit violation",
            measured: format!("{violations:.1} a minute"),
            met: violations == 0.0,
        },
        Target {
            says: "at most 150 answer calls a minute",
            measured: format!("{calls:.1}"),
            met: calls <= 150.0,
        },
        Target {
            says: "at least 85 % of answers without a call",
            measured: format!("{hits:.1} %"),
            met: hits >= 85.0,
        },
        Target {
            says: "mean response at least 28 % below alone",
            measured: format!("{faster:.1} %"),
            met: faster >= 28.0,
        },
        Target {
            says: "answers cost at least 83 % less than alone",
            measured: format!("{cheaper:.1} %"),
            met: cheaper >= 83.0,
        },
    ]
}
