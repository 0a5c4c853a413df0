//! `exportTo`: the namespaces that can see an object.

/// The namespaces that can see an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Export {
    /// All namespaces.
    #[default]
    All,
    /// These; none if empty.
    Only(Vec<String>),
}

impl Export {
    /// Reads `exportTo` of an object in this namespace. Empty means all.
    pub fn new<'a>(export_to: impl IntoIterator<Item = &'a str>, namespace: &str) -> Self {
        let mut only: Option<Vec<String>> = None;
        for entry in export_to {
            let entries = only.get_or_insert_default();
            match entry.trim() {
                "*" => return Self::All,
                "~" | "" => {}
                "." => entries.push(namespace.to_owned()),
                other => entries.push(other.to_owned()),
            }
        }
        only.map_or(Self::All, Self::Only)
    }

    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(namespaces) => namespaces.iter().any(|one| one == namespace),
        }
    }

    /// Whether a namespace can see both.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::Only(namespaces)) | (Self::Only(namespaces), Self::All) => !namespaces.is_empty(),
            (Self::All, Self::All) => true,
            (Self::Only(one), Self::Only(_)) => one.iter().any(|namespace| other.reaches(namespace)),
        }
    }

    /// Returns the named namespaces; empty for all.
    pub fn named(&self) -> &[String] {
        match self {
            Self::All => &[],
            Self::Only(namespaces) => namespaces,
        }
    }

    /// Formats it as text that [`Export::from_text`] parses.
    pub fn to_text(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::Only(namespaces) => namespaces.join(","),
        }
    }

    pub fn from_text(text: &str) -> Self {
        match text {
            "*" => Self::All,
            text => Self::Only(text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_namespaces_see_an_object_and_all_do_where_none_is_named() {
        let export = |entries: &[&str]| Export::new(entries.iter().copied(), "own");
        for (entries, own, other) in [
            (&[][..], true, true),
            (&["*"], true, true),
            (&["."], true, false),
            (&["other"], false, true),
            (&["~"], false, false),
        ] {
            let export = export(entries);
            assert_eq!((export.reaches("own"), export.reaches("other")), (own, other), "{entries:?}");
            assert_eq!(Export::from_text(&export.to_text()), export);
        }
        assert!(export(&["."]).meets(&export(&["own", "x"])) && !export(&["."]).meets(&export(&["x"])));
        assert!(export(&[]).meets(&export(&["x"])) && !export(&[]).meets(&export(&["~"])));
    }
}
