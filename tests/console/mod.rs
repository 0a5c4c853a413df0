//! The commands in the `console` blocks of a documentation page, and their shown output.

/// A command with the lines shown below it.
pub struct Example<'d> {
    /// The command as typed.
    pub command: &'d str,
    shown: Vec<&'d str>,
}

/// Returns the commands of a page. A line with `$ ` begins one.
pub fn examples(page: &str) -> Vec<Example<'_>> {
    let mut examples: Vec<Example<'_>> = Vec::new();
    let mut block: Option<usize> = None;
    for line in page.lines() {
        let text = line.trim_start();
        match block {
            None if text == "```console" => block = Some(line.len() - text.len()),
            None => {}
            Some(_) if text == "```" => block = None,
            Some(indent) => {
                let line = line.get(indent..).unwrap_or_default();
                match (line.strip_prefix("$ "), examples.last_mut()) {
                    (Some(command), _) => examples.push(Example { command, shown: Vec::new() }),
                    (None, Some(example)) => example.shown.push(line),
                    (None, None) => panic!("no command above {line:?}"),
                }
            }
        }
    }
    examples
}

impl Example<'_> {
    /// Whether the output equals what is shown, line by line. `…` stands for any number of lines. A page may show no
    /// output.
    pub fn shows(&self, printed: &str) -> bool {
        let lines: Vec<&str> = printed.trim_end().lines().collect();
        self.shown.is_empty() || is_shown(&self.shown, &lines)
    }
}

fn is_shown(shown: &[&str], printed: &[&str]) -> bool {
    match shown {
        [] => printed.is_empty(),
        ["…", rest @ ..] => (0..=printed.len()).any(|skipped| is_shown(rest, &printed[skipped..])),
        [line, rest @ ..] => printed.first() == Some(line) && is_shown(rest, &printed[1..]),
    }
}
