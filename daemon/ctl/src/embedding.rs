//! Vectors for a person: how long, how they begin, and how alike they are.

use hearth_api::Embeddings;

/// How many values of a vector are shown.
const SHOWN: usize = 4;

/// One vector, in a line.
pub(crate) fn one(embedding: &[f32], tokens: Option<u32>, truncated: Option<bool>) -> String {
    let first: Vec<String> = embedding.iter().take(SHOWN).map(|x| format!("{x:.4}")).collect();
    let more = if embedding.len() > SHOWN { ", ..." } else { "" };
    let text = tokens.map_or_else(String::new, |n| format!(" of {n} token{}", if n == 1 { "" } else { "s" }));
    let cut = if truncated == Some(true) { "; the text was cut: the model takes no more" } else { "" };
    format!("{} values{text}, length {:.3}: {}{more}{cut}", embedding.len(), dot(embedding, embedding).sqrt(), first.join(", "))
}

/// Several, a line each, and the cosine similarity of each to the first.
pub(crate) fn list(list: &Embeddings) -> String {
    let line = |(index, embedding): (usize, &Vec<f32>)| {
        let tokens = list.tokens.as_ref().and_then(|tokens| tokens.get(index)).copied();
        let truncated = list.truncated.as_ref().and_then(|truncated| truncated.get(index)).copied();
        let likeness = match list.embeddings.first() {
            Some(first) if index > 0 => format!("; {:.3} like the first", cosine(first, embedding)),
            _ => String::new(),
        };
        one(embedding, tokens, truncated) + &likeness
    };
    list.embeddings.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_a_line() {
        assert_eq!(one(&[3.0, 4.0], None, None), "2 values, length 5.000: 3.0000, 4.0000");
        let long = one(&[0.5; 5], Some(7), Some(true));
        assert_eq!(
            long,
            "5 values of 7 tokens, length 1.118: 0.5000, 0.5000, 0.5000, 0.5000, ...; the text was cut: the model takes no more"
        );
    }

    #[test]
    fn a_list_tells_how_alike_its_vectors_are() {
        let vectors = [vec![1.0, 0.0], vec![1.0, 1.0], vec![0.0, 0.0]];
        let text = list(&Embeddings { embeddings: vectors.into(), tokens: Some(vec![3, 4, 1]), truncated: Some(vec![false; 3]) });
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("1.0000, 0.0000") && lines[1].ends_with("; 0.707 like the first"), "{text}");
        assert!(lines[2].starts_with("2 values of 1 token,") && lines[2].ends_with("; 0.000 like the first"), "{text}");
    }
}
