//! Warnings for a Pod's author, limited to a number that can still be read.

/// Kubernetes shows at most 4,096 characters of warnings in total.
const MOST: usize = 100;

/// Lines in order, and the number of further lines.
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
        let more = (self.more > 0).then(|| format!("{} more warnings are not shown", self.more));
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
        assert_eq!((of(130).len(), of(130)[100].as_str()), (101, "30 more warnings are not shown"));
    }
}
