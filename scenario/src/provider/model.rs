//! What the provider says: embeddings and answers that follow from the text alone, and their tokens.

use crate::random::hash;
use crate::wire::AnswerRequest;

/// Numbers in an embedding.
pub const DIMENSIONS: usize = 256;

/// How many chunks an answer quotes.
const QUOTED: usize = 2;

/// Words of a chunk that are quoted.
const QUOTED_WORDS: usize = 35;

/// Tokens of a text: four bytes each, the usual rule of thumb.
pub fn tokens(text: &str) -> u64 {
    text.len().div_ceil(4) as u64
}

/// Words and their trigrams, hashed into a vector of length 1. Texts with common words are near.
pub fn embed(text: &str) -> Vec<f32> {
    let mut sums = vec![0.0_f32; DIMENSIONS];
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    for word in words.filter(|word| !word.is_empty()) {
        let word = word.to_lowercase();
        // A long word says more than a short one, and most of it says its stem.
        add(&mut sums, word.as_bytes(), word.len().min(8));
        for gram in word.as_bytes().windows(3) {
            add(&mut sums, gram, 1);
        }
    }
    let length = sums.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        for sum in &mut sums {
            *sum /= length;
        }
    }
    sums
}

fn add(sums: &mut [f32], feature: &[u8], weight: usize) {
    let hash = hash(feature);
    let at = usize::try_from(hash % DIMENSIONS as u64).unwrap_or_default();
    let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
    let weight = u8::try_from(weight).unwrap_or(u8::MAX);
    sums[at] += sign * f32::from(weight);
}

/// An answer made of the chunks that it was given.
pub fn answer(request: &AnswerRequest) -> String {
    let mut text = format!("To \"{}\" the documents say:", request.question);
    for chunk in request.chunks.iter().take(QUOTED) {
        let words: Vec<_> = chunk.split_whitespace().take(QUOTED_WORDS).collect();
        text.push_str(" … ");
        text.push_str(&words.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(left: &str, right: &str) -> f32 {
        let (left, right) = (embed(left), embed(right));
        left.iter().zip(&right).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_about_the_same_are_near() {
        let about = "A reservation that was abandoned keeps its charge.";
        let near = cosine("What happens to abandoned reservations?", about);
        let far = cosine("Which port serves metrics?", about);
        assert!(near > far + 0.2, "{near} {far}");
        assert!((cosine(about, about) - 1.0).abs() < 1e-5);
        assert_eq!(embed(""), vec![0.0; DIMENSIONS]);
    }

    #[test]
    fn an_answer_follows_from_its_chunks() {
        let request = AnswerRequest {
            question: "Why?".into(),
            chunks: vec!["because it is so".into()],
        };
        let text = answer(&request);
        assert!(text.ends_with("because it is so"));
        assert_eq!(tokens(&text), text.len().div_ceil(4) as u64);
    }
}
