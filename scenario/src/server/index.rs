//! The index: this project's own documents in chunks, with their embeddings.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Bytes of a chunk, about: paragraphs are added until there are as many.
const CHUNK_BYTES: usize = 700;

/// Chunks with their embeddings, in one order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Index {
    /// What was cut from the documents.
    pub chunks: Vec<String>,
    /// Vectors of length 1.
    pub embeddings: Vec<Vec<f32>>,
}

impl Index {
    /// Numbers of the `count` chunks nearest to a vector of length 1, the nearest first.
    pub fn nearest(&self, vector: &[f32], count: usize) -> Vec<usize> {
        let cosine = |of: &Vec<f32>| of.iter().zip(vector).map(|(a, b)| a * b).sum::<f32>();
        let mut ranked: Vec<_> = self.embeddings.iter().map(cosine).enumerate().collect();
        ranked.sort_by(|(_, left), (_, right)| right.total_cmp(left));
        ranked.truncate(count);
        ranked.into_iter().map(|(chunk, _)| chunk).collect()
    }
}

/// The documents of this repository: its guides and its contract.
pub fn documents() -> Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths: Vec<_> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .map(|name| root.join(name))
        .into();
    for entry in std::fs::read_dir(root.join("proto/trellis/v1"))? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Cuts a document into chunks of whole paragraphs.
pub fn chunks(text: &str) -> Vec<String> {
    let mut chunks = Vec::new();
    let mut chunk = String::new();
    for paragraph in text.split("\n\n") {
        let paragraph = paragraph.trim();
        if !chunk.is_empty() && chunk.len() + paragraph.len() > CHUNK_BYTES {
            chunks.push(std::mem::take(&mut chunk));
        }
        for line in paragraph.lines() {
            if chunk.len() > CHUNK_BYTES {
                chunks.push(std::mem::take(&mut chunk));
            }
            chunk.push_str(line.trim());
            chunk.push('\n');
        }
    }
    if !chunk.trim().is_empty() {
        chunks.push(chunk);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_the_whole_text_and_stay_small() {
        for path in documents().unwrap() {
            let text = std::fs::read_to_string(path).unwrap();
            let chunks = chunks(&text);
            let words = |text: &str| {
                text.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            assert_eq!(words(&text), words(&chunks.concat()));
            let longest = chunks.iter().map(String::len).max().unwrap();
            assert!(longest < 2 * CHUNK_BYTES, "{longest}");
        }
    }

    #[test]
    fn the_nearest_come_first() {
        let index = Index {
            chunks: vec!["a".into(), "b".into(), "c".into()],
            embeddings: vec![vec![1.0, 0.0], vec![0.0, 1.0], vec![0.6, 0.8]],
        };
        assert_eq!(index.nearest(&[0.0, 1.0], 2), [1, 2]);
    }
}
