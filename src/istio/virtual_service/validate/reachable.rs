//! Routes that no request reaches, because an earlier one takes all: IST0130 and IST0131 of `istioctl analyze`.

use super::super::http::{HttpMatch, HttpRoute};
use super::Findings;
use std::collections::HashMap;

impl Findings {
    pub(super) fn reachable(&mut self, routes: &[HttpRoute]) {
        let mut takes_all = None;
        // What matched before, without the name of the match, and where.
        let mut earlier: HashMap<String, String> = HashMap::new();
        for (index, route) in routes.iter().enumerate() {
            let field = format!("http[{index}]");
            if let Some(all) = takes_all {
                self.warning(&field, format!("is never reached: http[{all}] has no match and takes every request"));
                continue;
            }
            if route.matches.is_empty() {
                takes_all = Some(index);
                continue;
            }
            for (place, matches) in route.matches.iter().enumerate() {
                let at = format!("{field}.match[{place}]");
                let nameless = HttpMatch { name: String::new(), ..matches.clone() };
                let text = serde_json::to_string(&nameless).unwrap_or_default(); // texts and numbers: this cannot fail
                match earlier.get(&text) {
                    Some(before) => self.warning(at, format!("has no effect: {before} is the same")),
                    None => drop(earlier.insert(text, at)),
                }
            }
        }
    }
}
