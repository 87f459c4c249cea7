//! Decoder language models: what one is made of, the graph that is made of that, and the sequences that run through it.

mod families;
mod spec;
