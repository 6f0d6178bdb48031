//! Rows as an aligned table: text to the left, numbers to the right.

/// Columns of text; widths are kept from one call to the next, so that rows which come bit by
/// bit stay aligned.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    header_due: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    width: usize,
    right: bool,
}

/// Wider cells are not made room for.
const WIDTH_MAX: usize = 60;
const GAP: &str = "  ";

impl Table {
    /// Columns with whether they are numbers.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, bool)>) -> Table {
        let columns = columns
            .into_iter()
            .map(|(name, right)| Column {
                name: name.to_owned(),
                width: name.chars().count(),
                right,
            })
            .collect();
        Table { columns, header_due: true }
    }

    /// The lines for these rows; a header comes first, and again where columns had to widen.
    pub fn lines(&mut self, rows: &[Vec<String>]) -> String {
        for row in rows {
            for (column, cell) in self.columns.iter_mut().zip(row) {
                let width = cell.chars().count().min(WIDTH_MAX);
                if width > column.width {
                    column.width = width;
                    self.header_due = true;
                }
            }
        }
        let mut out = String::new();
        if self.header_due {
            self.header_due = false;
            let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
            self.line(&names, &mut out);
        }
        for row in rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            self.line(&cells, &mut out);
        }
        out
    }

    fn line(&self, cells: &[&str], out: &mut String) {
        let start = out.len();
        for (column, cell) in self.columns.iter().zip(cells) {
            if out.len() > start {
                out.push_str(GAP);
            }
            let padding = column.width.saturating_sub(cell.chars().count());
            if column.right {
                out.extend(std::iter::repeat_n(' ', padding));
            }
            out.push_str(cell);
            if !column.right {
                out.extend(std::iter::repeat_n(' ', padding));
            }
        }
        out.truncate(start + out[start..].trim_end().len());
        out.push('\n');
    }
}

/// `1 partition`, `2 partitions`.
pub fn plural(count: i64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn row(cells: [&str; 2]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_align_and_the_header_returns_when_they_widen() {
        let mut table = Table::new([("origin", false), ("flights", true)]);
        let mut out = table.lines(&[row(["EWR", "9"]), row(["JFK", "12"])]);
        out.push_str(&table.lines(&[row(["LGA", "7"])]));
        out.push_str(&table.lines(&[row(["somewhere", "7"])]));
        expect![[r#"
            origin  flights
            EWR           9
            JFK          12
            LGA           7
            origin     flights
            somewhere        7
        "#]]
        .assert_eq(&out);
    }
}
