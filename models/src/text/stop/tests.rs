//! Where answers end, and what is held back until then.

use super::*;
use crate::text::Specials;
use crate::text::tokenizer::tests::byte_level_vocabulary;

fn tokenizer() -> Tokenizer {
    Tokenizer::new(byte_level_vocabulary("qwen2", &["h e"])).unwrap()
}

/// The parts in which a text comes out, one byte a token, and why it ended.
fn parts(output: &mut Output, text: &str) -> (Vec<String>, Option<Finish>) {
    let tokenizer = tokenizer();
    let mut parts = Vec::new();
    for byte in text.bytes() {
        if output.finish().is_some() {
            break;
        }
        let id = (0..256).find(|id| tokenizer.bytes_of(*id) == [byte]).unwrap();
        parts.push(output.push(&tokenizer, id));
    }
    (parts, output.finish())
}

#[test]
fn what_may_become_a_stop_string_is_held_back_and_cut_off() {
    let mut output = Output::new(vec!["END".into(), "\n\n".into()], 100).unwrap();
    let (parts, finish) = parts(&mut output, "a EENDx");
    assert_eq!(parts, ["a", " ", "", "E", "", ""]);
    assert_eq!((finish, output.tokens()), (Some(Finish::Stop), 6));
}

#[test]
fn what_did_not_become_a_stop_string_comes_out() {
    let mut output = Output::new(vec!["abab!".into()], 100).unwrap();
    assert_eq!(parts(&mut output, "ababab?").0, ["", "", "", "", "ab", "", "abab?"].map(String::from));
}

#[test]
fn the_first_of_several_stop_strings_ends_an_answer() {
    let mut output = Output::new(vec!["yz".into(), "xyz".into()], 100).unwrap();
    assert_eq!(parts(&mut output, "wxyz").0.concat(), "w");
}

#[test]
fn an_answer_of_full_length_ends_with_all_that_was_held_back() {
    let mut output = Output::new(vec!["END".into()], 3).unwrap();
    let (parts, finish) = parts(&mut output, "aENDx");
    assert_eq!((parts.concat().as_str(), finish), ("aEN", Some(Finish::Length)));
    // A character that was not completed is replaced.
    let mut output = Output::new(Vec::new(), 2).unwrap();
    assert_eq!(self::parts(&mut output, "\u{1f600}").0.concat(), "\u{fffd}");
}

#[test]
fn end_tokens_end_and_control_tokens_do_not_show() {
    let tokenizer = tokenizer();
    let id = |name: &str| tokenizer.encode(name, Specials::Parse)[0];
    let mut output = Output::new(vec!["stop".into()], 100).unwrap();
    assert_eq!(output.push(&tokenizer, id("<|im_start|>")), "");
    assert_eq!(output.push(&tokenizer, id("<think>")), "<think>");
    assert_eq!(output.push(&tokenizer, id("s")), "");
    assert_eq!((output.push(&tokenizer, id("<|im_end|>")), output.finish()), ("s".into(), Some(Finish::Stop)));
}

#[test]
fn absurd_stop_strings_are_refused() {
    assert!(Output::new(vec![String::new()], 1).unwrap_err().to_string().contains("0 bytes"));
    assert!(Output::new(vec!["a".repeat(257)], 1).unwrap_err().to_string().contains("257 bytes"));
    assert!(Output::new(vec!["a".into(); 17], 1).unwrap_err().to_string().contains("17 stop strings"));
    assert!(Output::new(Vec::new(), 0).unwrap_err().to_string().contains("0 tokens"));
}
