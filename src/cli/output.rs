//! Standard output of commands, and its colours.

use anyhow::{Context, Result};
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// The destination of a command's text.
pub(super) type Out = BufWriter<StdoutLock<'static>>;

/// Writes to standard output and flushes it. A full disk is an error.
pub(super) fn print(write: impl FnOnce(&mut Out) -> io::Result<()>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = write(&mut out).and_then(|()| out.flush());
    if written.is_err() {
        drop(out.into_parts()); // what could not be written is not retried
    }
    written.context("cannot write to standard output")
}

/// Colours, only on a terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// Returns the colours of standard output. The variable `NO_COLOR` disables them.
    pub fn stdout() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { on: io::stdout().is_terminal() && !no_color }
    }

    /// Returns a text in a style, which is a number of ECMA-48's "select graphic rendition".
    pub fn paint(self, style: &str, text: &str) -> String {
        if self.on { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}
