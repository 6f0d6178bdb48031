//! A table: a row for each figure, a column for each broker, and the ratio of two.

use crate::served::Served;

#[derive(Default)]
pub struct Figures {
    brokers: usize,
    rounds: usize,
}

/// What one broker was measured at.
#[derive(Default)]
pub struct Measured {
    figures: Vec<Figure>,
}

struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    is_more_better: bool,
}

impl Measured {
    /// A figure that is better the greater it is.
    pub fn more(&mut self, what: &str, value: f64, unit: &'static str) {
        self.figures.push(Figure { what: what.to_owned(), value, unit, is_more_better: true });
    }

    /// A figure that is better the less it is.
    pub fn less(&mut self, what: &str, value: f64, unit: &'static str) {
        self.figures.push(Figure { what: what.to_owned(), value, unit, is_more_better: false });
    }
}

impl Figures {
    pub fn head(&mut self, brokers: &[Served]) {
        self.brokers = brokers.len();
        let names: Vec<&str> = brokers.iter().map(|broker| broker.name).collect();
        let ratio = if self.brokers > 1 { " better by |" } else { "" };
        println!("| what | {} |{ratio}", names.join(" | "));
        println!("|---|{}", "---|".repeat(self.brokers + usize::from(self.brokers > 1)));
    }

    /// Measures one broker after the other, and prints a row for each figure. Whoever was last
    /// begins the next time: what one has left of the machine, the other finds.
    pub fn of_each(
        &mut self,
        brokers: &mut [Served],
        mut measure: impl FnMut(&mut Served, &mut Measured),
    ) {
        let mut all: Vec<Measured> = brokers.iter().map(|_| Measured::default()).collect();
        let mut turns: Vec<_> = brokers.iter_mut().zip(&mut all).collect();
        if self.rounds % 2 == 1 {
            turns.reverse();
        }
        self.rounds += 1;
        for (broker, measured) in turns {
            measure(broker, measured);
        }
        let columns: Vec<Vec<Figure>> = all.into_iter().map(|one| one.figures).collect();
        for (at, figure) in columns[0].iter().enumerate() {
            let cells: Vec<String> = columns.iter().map(|column| column[at].in_words()).collect();
            let ratio = columns.get(1).map(|other| match figure.is_more_better {
                true => figure.value / other[at].value,
                false => other[at].value / figure.value,
            });
            let ratio = ratio.map_or(String::new(), |ratio| format!(" {ratio:.1} |"));
            println!("| {} | {} |{ratio}", figure.what, cells.join(" | "));
        }
    }
}

impl Figure {
    /// Three digits, or all before the point.
    fn in_words(&self) -> String {
        let digits = match self.value {
            value if value >= 100.0 => 0,
            value if value >= 10.0 => 1,
            _ => 2,
        };
        format!("{:.digits$} {}", self.value, self.unit)
    }
}
