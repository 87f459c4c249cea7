//! Between text and token ids, for language models: vocabularies, chat templates, sampling, stops and constraints. No graph, no I/O.

pub mod constraint;
pub mod detokenizer;
mod error;
mod merge;
mod pretokenizer;
mod random;
pub mod sampling;
pub mod stop;
pub mod template;
pub mod tokenizer;
pub mod vocabulary;

pub use constraint::{Constraint, Constraints, Mask};
pub use detokenizer::Detokenizer;
pub use error::TextError;
pub use sampling::{LogProbability, Sampled, Sampler, Sampling};
pub use stop::{Finish, Output};
pub use template::{Chat, ChatTemplate};
pub use tokenizer::{Specials, Tokenizer};
pub use vocabulary::{TokenType, Vocabulary};
