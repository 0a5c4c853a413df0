//! Whether two Sidecars of one namespace select the same Pods. Istio then uses one of them.

use super::WorkloadSelector;

/// How two Sidecars of one namespace select the same Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overlap {
    /// Both apply to the whole namespace: IST0111, `MultipleSidecarsWithoutWorkloadSelectors`.
    WithoutSelector,
    /// Every Pod of one is also selected by the other: IST0110, `ConflictingSidecarWorkloadSelectors`, as soon as there
    /// is a Pod.
    SameSelection,
    /// A Pod can have the labels of both: IST0110 if there is one.
    Possible,
}

/// Whether two Sidecars of one namespace with these selectors select the same Pods. A Sidecar without labels applies to
/// the whole namespace. Together with one with labels it does not overlap, because the latter takes precedence for its
/// Pods.
#[must_use]
pub fn overlap(one: Option<&WorkloadSelector>, other: Option<&WorkloadSelector>) -> Option<Overlap> {
    let labels =
        |selector: Option<_>| selector.map(|selector: &WorkloadSelector| &selector.labels).filter(|l| !l.is_empty());
    match (labels(one), labels(other)) {
        (None, None) => Some(Overlap::WithoutSelector),
        (Some(one), Some(other)) => {
            let (fewer, more) = if one.len() <= other.len() { (one, other) } else { (other, one) };
            let mut all_shared = true;
            for (key, value) in fewer {
                match more.get(key) {
                    Some(same) if same == value => {}
                    Some(_) => return None,
                    None => all_shared = false,
                }
            }
            Some(if all_shared { Overlap::SameSelection } else { Overlap::Possible })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_overlap_unless_a_label_contradicts() {
        type Labels = Option<&'static [(&'static str, &'static str)]>;
        let rows: [(Labels, Labels, Option<Overlap>); 10] = [
            (None, None, Some(Overlap::WithoutSelector)),
            (None, Some(&[]), Some(Overlap::WithoutSelector)),
            (Some(&[]), Some(&[]), Some(Overlap::WithoutSelector)),
            (None, Some(&[("a", "1")]), None),
            (Some(&[]), Some(&[("a", "1")]), None),
            (Some(&[("a", "1")]), Some(&[("a", "1")]), Some(Overlap::SameSelection)),
            (Some(&[("a", "1")]), Some(&[("a", "1"), ("b", "2")]), Some(Overlap::SameSelection)),
            (Some(&[("a", "1")]), Some(&[("a", "2")]), None),
            (Some(&[("a", "1"), ("c", "3")]), Some(&[("a", "1"), ("b", "2")]), Some(Overlap::Possible)),
            (Some(&[("a", "1")]), Some(&[("b", "2")]), Some(Overlap::Possible)),
        ];
        let selector = |labels: Labels| {
            let labels = labels?.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            Some(WorkloadSelector { labels: labels.collect() })
        };
        for (one, other, expected) in rows {
            let (a, b) = (selector(one), selector(other));
            assert_eq!(overlap(a.as_ref(), b.as_ref()), expected, "{one:?} {other:?}");
            assert_eq!(overlap(b.as_ref(), a.as_ref()), expected, "{other:?} {one:?}");
        }
    }
}
