//! What a Pod's author should know: so many lines that each may be read, and no more.

/// Kubernetes shows 4,096 characters of them in all.
const MOST: usize = 100;

/// Lines in the order in which they came, and how many more there would have been.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    lines: Vec<String>,
    more: usize,
}

impl Warnings {
    pub fn push(&mut self, line: String) {
        if self.lines.len() < MOST {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    pub fn finish(self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("{} more warnings are left out", self.more));
        self.lines.into_iter().chain(more).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted() {
        let of = |count: usize| {
            let mut warnings = Warnings::default();
            (0..count).for_each(|number| warnings.push(number.to_string()));
            warnings.finish()
        };
        assert_eq!(of(2), ["0", "1"]);
        assert_eq!(of(100).last().map(String::as_str), Some("99"));
        assert_eq!((of(130).len(), of(130)[100].as_str()), (101, "30 more warnings are left out"));
    }
}
