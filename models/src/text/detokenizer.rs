//! The bytes of tokens to text, as they come: what may still become a character is held back.

/// One text that is coming. Tokens may end within a character, so the bytes of one are not always text.
#[derive(Debug, Clone, Default)]
pub struct Detokenizer {
    /// The beginning of a character, at most 3 bytes.
    held: Vec<u8>,
}

impl Detokenizer {
    /// Takes the bytes of a token, and gives the text that is complete. Bytes that are no UTF-8 become U+FFFD, as in
    /// [`String::from_utf8_lossy`].
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            rest += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() || (rest + invalid.len() == self.held.len() && is_beginning(invalid)) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            rest += invalid.len();
        }
        self.held.drain(..rest);
        text
    }

    /// What is left when no more bytes come: U+FFFD for a character that never was completed.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// Whether more bytes could make these a character.
fn is_beginning(bytes: &[u8]) -> bool {
    // An error without a length is one that only the end of the input made.
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_in_parts_comes_out_whole() {
        let mut text = Detokenizer::default();
        let emoji = "a\u{1f600}b".as_bytes();
        let parts: Vec<String> = emoji.iter().map(|byte| text.push(&[*byte])).collect();
        assert_eq!(parts, ["a", "", "", "", "\u{1f600}", "b"]);
        assert_eq!(text.finish(), "");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_hold_nothing_up() {
        let mut text = Detokenizer::default();
        assert_eq!(text.push(b"\xffa\xe2\x82"), "\u{fffd}a");
        assert_eq!(text.push(b"b"), "\u{fffd}b");
        assert_eq!(text.push(b"\xf0\x9f"), "");
        assert_eq!(text.finish(), "\u{fffd}");
        assert_eq!(text.push(b"c"), "c");
    }
}
