//! The table of what was measured, beside the goals.

use std::fmt;
use std::time::Duration;

/// The rows, in order.
#[derive(Default)]
pub struct Table(Vec<Row>);

/// A figure.
pub struct Row {
    what: String,
    figure: f64,
    form: fn(f64) -> String,
    most: Option<f64>,
    note: String,
}

impl Table {
    pub fn add(&mut self, row: Row) {
        eprintln!("{row}");
        self.0.push(row);
    }
}

impl Row {
    fn new(what: &str, figure: f64, form: fn(f64) -> String) -> Self {
        Self { what: what.to_owned(), figure, form, most: None, note: String::new() }
    }

    pub fn time(what: &str, time: Duration) -> Self {
        Self::new(what, time.as_secs_f64(), |seconds| format!("{seconds:.2} s"))
    }

    /// Memory, given in KiB.
    pub fn memory(what: &str, kib: u64) -> Self {
        Self::new(what, crate::float(kib), |kib| format!("{:.0} MB", kib * 1024.0 / 1e6))
    }

    pub fn ratio(what: &str, ratio: f64) -> Self {
        Self::new(what, ratio, |ratio| format!("{ratio:.2}"))
    }

    pub fn number(what: &str, number: f64) -> Self {
        Self::new(what, number, |number| format!("{number:.0}"))
    }

    /// Sets the goal, in the unit of the figure: seconds, KiB, or none.
    pub fn at_most(self, most: f64) -> Self {
        Self { most: Some(most), ..self }
    }

    /// Adds what a reader needs to know beside the figure.
    pub fn note(self, note: &str) -> Self {
        Self { note: note.to_owned(), ..self }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, figure, form, most, note } = self;
        write!(f, "| {what} | {} | {note} |", form(*figure))?;
        match most {
            None => write!(f, " | |"),
            Some(most) => {
                let verdict = if figure <= most { "met" } else { "**missed**" };
                write!(f, " <= {} | {verdict} |", form(*most))
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | measured | | goal | |\n|---|---|---|---|---|")?;
        self.0.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

/// Returns memory of so many KiB as text.
pub fn megabytes(kib: u64) -> String {
    format!("{} MB", kib * 1024 / 1_000_000)
}
