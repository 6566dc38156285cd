//! What the format writes is what it reads, and nothing else is.
