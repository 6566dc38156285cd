//! What is printed.

use super::rounds::{Sample, median};

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// This or less, as far as the rounds can tell: it lies within or above their spread.
    NotAbove(f64),
}

impl Target {
    fn verdict(self, figure: f64, least_seen: f64) -> &'static str {
        // As far as the figure is printed.
        let figure = (figure * 100.0).round() / 100.0;
        let met = match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
            Self::NotAbove(most) => least_seen <= most,
        };
        if met { "ok" } else { "miss" }
    }
}

/// One line: the columns, as text.
pub struct Row {
    measure: String,
    against: String,
    target: Option<Target>,
    beside: Option<f64>,
}

impl Row {
    /// A line without a target: what is measured, against which baseline.
    pub fn new(measure: String, against: &str) -> Self {
        Self {
            measure,
            against: against.to_owned(),
            target: None,
            beside: None,
        }
    }

    /// Gives it a target.
    #[must_use]
    pub fn target(self, target: Target) -> Self {
        let target = Some(target);
        Self { target, ..self }
    }

    /// Shows what the baseline took beside a figure that stands for itself.
    #[must_use]
    pub fn beside(self, baseline: f64) -> Self {
        let beside = Some(baseline);
        Self { beside, ..self }
    }

    /// Two sides, round by round.
    pub fn compare(
        self,
        baseline: &[Sample],
        trellis: &[Sample],
        figure: fn(&Sample) -> f64,
        unit: &str,
    ) -> [String; COLUMNS] {
        self.figures(&figures(baseline, figure), &figures(trellis, figure), unit)
    }

    /// As [`compare`](Self::compare), of figures that are there already.
    pub fn figures(self, baseline: &[f64], trellis: &[f64], unit: &str) -> [String; COLUMNS] {
        let ratios = baseline.iter().zip(trellis).map(|(base, own)| own / base);
        let ratios: Vec<f64> = ratios.collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let ratio = median(&ratios);
        let (target, verdict) = self.judge(ratio, least, "");
        let base = format!("{:.1} {unit}", median(baseline));
        [
            self.measure,
            self.against,
            base,
            format!("{:.1} {unit}", median(trellis)),
            format!("{ratio:.2}"),
            format!("{least:.2}-{most:.2}"),
            target,
            verdict,
        ]
    }

    /// A figure that stands for itself.
    pub fn value(self, figure: f64, unit: &str) -> [String; COLUMNS] {
        let (target, verdict) = self.judge(figure, figure, unit);
        // Without a unit it is a share, or a number of times.
        let written = |figure: f64| match unit {
            "" => format!("{figure:.3}"),
            unit => format!("{figure:.1} {unit}"),
        };
        let none = String::new;
        let (against, base) = match self.beside {
            Some(baseline) => (self.against, written(baseline)),
            None => (none(), none()),
        };
        [
            self.measure,
            against,
            base,
            written(figure),
            none(),
            none(),
            target,
            verdict,
        ]
    }

    fn judge(&self, figure: f64, least_seen: f64, unit: &str) -> (String, String) {
        let text = match self.target {
            None => return (String::new(), String::new()),
            Some(Target::AtLeast(least)) => format!(">= {least:.2} {unit}"),
            Some(Target::AtMost(most)) => format!("<= {most:.2} {unit}"),
            Some(Target::NotAbove(most)) => format!("<= {most:.2} within spread"),
        };
        let verdict = self.target.map(|target| target.verdict(figure, least_seen));
        (text, verdict.unwrap_or_default().to_owned())
    }
}

fn figures(samples: &[Sample], figure: fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(figure).collect()
}

/// Columns of a line.
pub const COLUMNS: usize = 8;

const HEADS: [&str; COLUMNS] = [
    "measure", "against", "baseline", "trellis", "ratio", "spread", "target", "",
];

/// All lines.
#[derive(Default)]
pub struct Table(Vec<[String; COLUMNS]>);

impl Table {
    /// Appends a line.
    pub fn add(&mut self, row: [String; COLUMNS]) {
        self.0.push(row);
    }

    /// Prints all, in columns.
    pub fn print(&self) {
        let rows = [HEADS.map(str::to_owned)]
            .into_iter()
            .chain(self.0.iter().cloned());
        let rows: Vec<_> = rows.collect();
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: [usize; COLUMNS] = std::array::from_fn(width);
        for row in rows {
            let cells = row.iter().zip(widths).enumerate();
            let cells = cells.map(|(column, (cell, width))| {
                // Words to the left, figures to the right.
                if matches!(column, 2..=5) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            say(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

/// Prints a line.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
pub fn say(line: &str) {
    println!("{line}");
}
