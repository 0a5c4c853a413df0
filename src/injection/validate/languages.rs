//! The two languages that users write in fields: expressions over resources, and RE2.

/// What checks texts of those languages. Messages name what is wrong with the text, not the field.
#[derive(Clone, Copy, Debug)]
pub struct Languages {
    /// Whether the second text is an expression over the resource that the first one names (`cpu` or `memory`), and can be
    /// computed for Pods.
    pub expression: fn(&str, &str) -> Result<(), String>,
    /// Compiles an RE2 expression, which is not anchored.
    pub regex: fn(&str) -> Result<Matcher, String>,
}

/// A compiled RE2 expression: whether a text matches it.
pub type Matcher = Box<dyn Fn(&str) -> bool>;

/// Checks nothing: every text is an expression, and every RE2 expression matches its own text only.
impl Default for Languages {
    fn default() -> Self {
        Self {
            expression: |_, _| Ok(()),
            regex: |pattern| {
                let pattern = pattern.to_owned();
                Ok(Box::new(move |text| text == pattern))
            },
        }
    }
}
