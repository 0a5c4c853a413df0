//! A value of an object with its path, so that every finding names the field.

use serde_json::Value;

/// A value and its path, such as `spec.http[0].match[1]`. An absent value is `null`.
#[derive(Clone, Debug)]
pub(crate) struct Node<'v> {
    pub value: &'v Value,
    path: String,
}

const ABSENT: &Value = &Value::Null;

impl<'v> Node<'v> {
    /// Creates a node from a value at a path.
    pub fn new(value: &'v Value, path: &str) -> Self {
        Self { value, path: path.to_owned() }
    }

    /// Returns the value of a field of an object.
    pub fn root(object: &'v Value, field: &str) -> Self {
        Self::new(object.get(field).unwrap_or(ABSENT), field)
    }

    pub fn path(&self) -> String {
        self.path.clone()
    }

    /// Returns the path of a field of this value.
    pub fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn raw(&self, name: &str) -> &'v Value {
        self.value.get(name).unwrap_or(ABSENT)
    }

    pub fn field(&self, name: &str) -> Self {
        match self.raw(name) {
            Value::Null => Self { value: ABSENT, path: String::new() },
            value => Self { value, path: self.at(name) },
        }
    }

    /// Returns a field if it is present.
    pub fn present(&self, name: &str) -> Option<Self> {
        Some(self.field(name)).filter(Self::is_present)
    }

    pub fn is_present(&self) -> bool {
        !self.value.is_null()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.raw(name).is_null()
    }

    /// Whether a field is a text or list that is not empty.
    pub fn is_filled(&self, name: &str) -> bool {
        match self.raw(name) {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(entries) => !entries.is_empty(),
            _ => false,
        }
    }

    /// Returns the text of a field; empty if there is none.
    pub fn text(&self, name: &str) -> &'v str {
        self.raw(name).as_str().unwrap_or_default()
    }

    pub fn as_text(&self) -> &'v str {
        self.value.as_str().unwrap_or_default()
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.raw(name).as_i64()
    }

    pub fn fraction(&self, name: &str) -> Option<f64> {
        self.raw(name).as_f64()
    }

    pub fn is_true(&self, name: &str) -> bool {
        self.raw(name) == &Value::Bool(true)
    }

    /// Returns the items of a list.
    pub fn items(&self) -> impl Iterator<Item = Node<'v>> + use<'v, '_> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().enumerate().map(|(index, value)| Node { value, path: format!("{}[{index}]", self.path) })
    }

    /// Returns the items of the list in a field.
    pub fn list(&self, name: &str) -> Vec<Node<'v>> {
        self.field(name).items().collect()
    }

    /// Returns the texts of a list.
    pub fn texts(&self, name: &str) -> Vec<&'v str> {
        let items = self.raw(name).as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().map(|item| item.as_str().unwrap_or_default()).collect()
    }

    pub fn strings(&self, name: &str) -> Vec<String> {
        self.texts(name).into_iter().map(str::to_owned).collect()
    }

    /// Returns the entries of a mapping, in the order of the file.
    pub fn entries(&self, name: &str) -> Vec<(&'v str, Node<'v>)> {
        let Some(entries) = self.raw(name).as_object() else { return Vec::new() };
        let path = self.at(name);
        entries.iter().map(|(key, value)| (key.as_str(), Node { value, path: format!("{path}[{key}]") })).collect()
    }

    /// Returns the values of a mapping.
    pub fn values(&self) -> impl Iterator<Item = Node<'v>> + use<'v, '_> {
        let entries = self.value.as_object().into_iter().flatten();
        entries.map(|(key, value)| Node { value, path: format!("{}[{key}]", self.path) })
    }

    /// Returns a mapping of texts.
    pub fn labels(&self, name: &str) -> std::collections::BTreeMap<String, String> {
        let entries = self.raw(name).as_object().into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }
}
