//! What decoder language models compute in `f32` beside their products: normalisation, rotary embedding, gates, and causal attention
//! over paged keys and values. Shaped for the families of Llama, Qwen, DeepSeek, GLM, gpt-oss, Gemma and OLMo, which differ in data.

pub mod attention;
pub mod gate;
pub mod kv;
pub mod norm;
pub mod residual;
pub mod rope;
#[cfg(test)]
mod tests;
