//! Traversal of a SidecarSet: a place in it, the JSON at that place, and the report that collects problems.
//!
//! Containers and volumes are raw JSON, so every step may find a value of the wrong type. Reading it reports the problem and
//! continues as if the field were absent, so rules need not check types.

use super::cause::{Cause, Reason};
use serde_json::{Map, Value};
use std::cell::RefCell;

/// The maximum number of problems of one object. The author has enough to correct, and a search among more takes time.
const MOST_CAUSES: usize = 1_000;

/// Collects problems, without duplicates.
#[derive(Debug, Default)]
pub(super) struct Report(RefCell<Vec<Cause>>);

/// A place in the object.
#[derive(Clone, Debug)]
pub(super) struct FieldPlace<'a> {
    report: &'a Report,
    path: String,
    identity: String,
    /// Whether every Pod is refused because of a problem here.
    in_pods: bool,
}

/// A place and the JSON at it. A `null` field counts as absent, as in Go.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub place: FieldPlace<'a>,
    pub value: Option<&'a Value>,
}

/// A container or volume: a place and the fields of the object at it.
#[derive(Clone, Debug)]
pub(super) struct Body<'a> {
    pub place: FieldPlace<'a>,
    pub fields: &'a Map<String, Value>,
}

impl<'a> Body<'a> {
    /// Returns a field.
    pub fn get(&self, name: &str) -> Node<'a> {
        Node::new(self.place.field(name), self.fields.get(name))
    }
}

impl Report {
    pub fn into_causes(self) -> Vec<Cause> {
        self.0.into_inner()
    }

    /// The field `name` of the object itself.
    pub fn root(&self, name: &str) -> FieldPlace<'_> {
        FieldPlace { report: self, path: name.to_owned(), identity: name.to_owned(), in_pods: false }
    }

    /// Reports a field of the wrong type found elsewhere, unless a problem of this place was reported already.
    pub fn add_type_error(&self, field: &str, problem: &str) {
        if self.0.borrow().len() >= MOST_CAUSES {
            return;
        }
        let plain = |path: &str| path.replace('[', ".").replace(']', "");
        if !self.0.borrow().iter().any(|cause| plain(&cause.field) == plain(field)) {
            self.root(field).of_pods().add(Reason::TypeInvalid, Value::Null, problem);
        }
    }
}

impl FieldPlace<'_> {
    fn extended(&self, path: &str, identity: &str) -> Self {
        let mut place = self.clone();
        place.path.push_str(path);
        place.identity.push_str(identity);
        place
    }

    /// The same place and everything in it as a part of Pods: every Pod is refused because of a problem here.
    pub fn of_pods(&self) -> Self {
        Self { in_pods: true, ..self.clone() }
    }

    /// The same place and everything in it as a part of the set only: Pods work despite a problem here.
    pub fn of_set(&self) -> Self {
        Self { in_pods: false, ..self.clone() }
    }

    /// A field of the object here.
    pub fn field(&self, name: &str) -> Self {
        let step = format!(".{name}");
        self.extended(&step, &step)
    }

    /// An entry of the map here.
    pub fn entry(&self, key: &str) -> Self {
        let step = format!("[{key}]");
        self.extended(&step, &step)
    }

    /// An item of the list here, identified by `name`, or by its index if the name is empty.
    pub fn item(&self, index: usize, name: &str) -> Self {
        let step = format!("[{index}]");
        if name.is_empty() { self.extended(&step, &step) } else { self.extended(&step, &format!("[={name}]")) }
    }

    fn add(&self, reason: Reason, value: Value, detail: &str) {
        if self.report.0.borrow().len() >= MOST_CAUSES {
            return;
        }
        let message = reason.message(&value, detail);
        let (field, identity) = (self.path.clone(), self.identity.clone());
        let cause = Cause { field, reason, message, refuses_pods: self.in_pods, identity, value };
        let mut causes = self.report.0.borrow_mut();
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }

    pub fn required(&self, detail: &str) {
        self.add(Reason::Required, Value::Null, detail);
    }

    pub fn invalid(&self, value: impl Into<Value>, detail: &str) {
        self.add(Reason::Invalid, value.into(), detail);
    }

    pub fn duplicate(&self, value: impl Into<Value>, detail: &str) {
        self.add(Reason::Duplicate, value.into(), detail);
    }

    pub fn not_found(&self, value: &str, detail: &str) {
        self.add(Reason::NotFound, value.into(), detail);
    }

    pub fn not_supported(&self, value: &str, supported: &[&str]) {
        let supported: Vec<_> = supported.iter().map(|value| format!("{value:?}")).collect();
        self.add(Reason::NotSupported, value.into(), &format!("supported values: {}", supported.join(", ")));
    }

    pub fn forbidden(&self, value: Option<&Value>, detail: &str) {
        self.add(Reason::Forbidden, value.cloned().unwrap_or_default(), detail);
    }

    pub fn too_long(&self, detail: &str) {
        self.add(Reason::TooLong, Value::Null, detail);
    }

    /// Reports `text` if it violates a rule of [`super::syntax`].
    pub fn syntax(&self, text: &str, rule: impl Fn(&str) -> Result<(), &'static str>) {
        if let Err(problem) = rule(text) {
            self.invalid(text, problem);
        }
    }
}

impl<'a> Node<'a> {
    pub fn new(place: FieldPlace<'a>, value: Option<&'a Value>) -> Self {
        Self { place, value: value.filter(|value| !value.is_null()) }
    }

    /// The same place as [`FieldPlace::of_set`].
    pub fn of_set(&self) -> Self {
        Self { place: self.place.of_set(), value: self.value }
    }

    pub fn is_set(&self) -> bool {
        self.value.is_some()
    }

    fn wrong_type(&self, expected: &str) {
        let value = self.value.cloned().unwrap_or_default();
        self.place.add(Reason::TypeInvalid, value, &format!("expected {expected}"));
    }

    /// Returns the value that `read` accepts, and reports any other.
    fn read<T>(&self, expected: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.value?;
        let found = read(value);
        if found.is_none() {
            self.wrong_type(expected);
        }
        found
    }

    fn object(&self) -> Option<&'a Map<String, Value>> {
        self.read("an object", Value::as_object)
    }

    /// A field of the object here.
    pub fn get(&self, name: &str) -> Self {
        Self::new(self.place.field(name), self.object().and_then(|object| object.get(name)))
    }

    /// Returns names and values of the object's fields that are set.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, Self)> {
        let place = self.place.clone();
        self.object().into_iter().flatten().filter(|(_, value)| !value.is_null()).map(move |(name, value)| {
            let node = Self::new(place.field(name), Some(value));
            (name.as_str(), node)
        })
    }

    /// Returns the fields of which only one may be set: those of `known`, and whether there are others besides
    /// `settings`, which are newer than this program.
    pub fn alternatives(&self, known: &[&str], settings: &[&str]) -> (Vec<(&'a str, Self)>, bool) {
        let fields = self.fields().filter(|(name, _)| !settings.contains(name));
        let (known, unknown): (Vec<_>, Vec<_>) = fields.partition(|(name, _)| known.contains(name));
        (known, !unknown.is_empty())
    }

    /// Returns keys and values of the map here.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> {
        let place = self.place.clone();
        self.object().into_iter().flatten().map(move |(key, value)| {
            let node = Self::new(place.entry(key), Some(value));
            (key.as_str(), node)
        })
    }

    /// Returns the items of the list here, identified by their field `key`.
    pub fn items(&self, key: &str) -> impl Iterator<Item = Self> {
        let (place, key) = (self.place.clone(), key.to_owned());
        let list = self.read("a list", Value::as_array).into_iter().flatten();
        list.enumerate().map(move |(index, value)| {
            let name = value.get(&key).map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned));
            Self::new(place.item(index, &name.unwrap_or_default()), Some(value))
        })
    }

    pub fn text(&self) -> Option<&'a str> {
        self.read("a string", Value::as_str)
    }

    /// Returns the text; empty if there is none.
    pub fn text_or_empty(&self) -> &'a str {
        self.text().unwrap_or_default()
    }

    pub fn bool(&self) -> Option<bool> {
        self.read("true or false", Value::as_bool)
    }

    pub fn is_true(&self) -> bool {
        self.bool() == Some(true)
    }

    pub fn integer(&self) -> Option<i64> {
        self.read("an integer", Value::as_i64)
    }

    /// Returns the text, and reports it if it is absent or empty.
    pub fn required_text(&self) -> Option<&'a str> {
        let text = self.text();
        let empty = text.is_none_or(str::is_empty);
        if empty && (text.is_some() || !self.is_set()) {
            self.place.required("");
        }
        text.filter(|text| !text.is_empty())
    }

    /// Reports a text that violates a rule.
    pub fn syntax(&self, rule: impl Fn(&str) -> Result<(), &'static str>) {
        if let Some(text) = self.text().filter(|text| !text.is_empty()) {
            self.place.syntax(text, rule);
        }
    }

    /// Reports a text that is not one of the supported values.
    pub fn one_of(&self, supported: &[&str]) {
        if let Some(text) = self.text()
            && !supported.contains(&text)
        {
            self.place.not_supported(text, supported);
        }
    }

    /// Reports a number that is out of range.
    pub fn in_range(&self, range: std::ops::RangeInclusive<i64>) {
        if let Some(number) = self.integer()
            && !range.contains(&number)
        {
            let (least, most) = (range.start(), range.end());
            let detail = if *most == i64::MAX {
                format!("must be at least {least}")
            } else {
                format!("must be between {least} and {most}")
            };
            self.place.invalid(number, &detail);
        }
    }

    pub fn forbidden(&self, detail: &str) {
        self.place.forbidden(self.value, detail);
    }
}
