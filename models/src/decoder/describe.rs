//! What a decoder's operators are, what their weights take, and how long they take for one token: for `hearthctl model show --graph`.

use super::ops::Decode;
use super::{Decoder, Files, Logits, Page, Piece};
use hearth_api::graph::{Graph, Running};
use hearth_kernels::Pool;
use std::sync::Arc;

impl Decoder {
    /// The formats of its file, and the operators that run, measured with one token on one thread.
    pub(crate) fn describe(&self, files: &Files, pages: &Arc<Vec<Page>>) -> Result<Graph, String> {
        let pool = Arc::new(Pool::new(1));
        let piece = Piece { tokens: &[0], start: 0, pages, logits: Logits::Last };
        let mut runs: Vec<Running> = Vec::new();
        // The first run reads the weights in.
        self.run_nodes(std::slice::from_ref(&piece), 1, &pool, &mut |_, _| ())?;
        self.run_nodes(std::slice::from_ref(&piece), 1, &pool, &mut |op, took| {
            let Some(Decode(op)) = op.downcast_ref::<Decode>() else { return };
            let at = runs.iter().position(|run| run.name == op.name()).unwrap_or_else(|| {
                let takes = if op.name() == "Embed" { "tokens" } else { "f32" };
                runs.push(Running {
                    name: op.name().into(),
                    takes: takes.into(),
                    gives: "f32".into(),
                    count: 0,
                    weight_bytes: 0,
                    microseconds: 0.0,
                });
                runs.len() - 1
            });
            runs[at].count += 1;
            runs[at].weight_bytes += op.bytes();
            runs[at].microseconds += took.as_secs_f64() * 1e6;
        })?;
        runs.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));
        Ok(Graph { file: files.formats(), runs })
    }
}
