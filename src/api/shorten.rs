//! Shortens texts of others to the length that a message or log line may have.

/// Returns the text, cut to this number of characters, the last of which is `…`.
#[must_use]
pub fn shortened(mut text: String, characters: usize) -> String {
    let last = text.char_indices().nth(characters.saturating_sub(1));
    if let Some((end, last)) = last
        && end + last.len_utf8() < text.len()
    {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_two_characters_and_only_if_it_is_too_long() {
        for (text, short) in [("", ""), ("äbc", "äbc"), ("äbcd", "äb…"), ("äöüß", "äö…")] {
            assert_eq!(shortened(text.to_owned(), 3), short);
        }
    }
}
