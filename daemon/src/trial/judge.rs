//! Whether answers are as right as their model promises.

use hearth_api::{Answer, Detection};
use hearth_models::boxes::{Truth, all_right, mean_average_precision};
use hearth_models::manifest::{Manifest, Metric, Task};

/// Holds the answers of one model to its promise.
pub(super) struct Judge<'m> {
    manifest: &'m Manifest,
    asked: usize,
    missing: usize,
    wrong: usize,
    /// Errors as a share of full scale.
    errors: Vec<f64>,
    /// Scores, and whether the truth is `anomalous`.
    scores: Vec<(f64, bool)>,
    /// Boxes that were found, and those that are there.
    boxes: Vec<(Vec<Detection>, Vec<Truth>)>,
}

/// One answer, judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    /// As right as one answer can be: the label, the verdict, a value within three times the mean error promised, or every box and
    /// no other.
    pub(super) right: bool,
}

/// All answers of a model, judged.
pub(super) struct Verdict {
    pub(super) good: bool,
    pub(super) says: String,
}

impl<'m> Judge<'m> {
    pub(super) fn of(manifest: &'m Manifest) -> Judge<'m> {
        Judge { manifest, asked: 0, missing: 0, wrong: 0, errors: Vec::new(), scores: Vec::new(), boxes: Vec::new() }
    }

    fn promised(&self) -> Option<(Metric, f64)> {
        self.manifest.accuracy.as_ref().map(|a| (a.metric, a.promised))
    }

    /// One answer against its truth.
    pub(super) fn judge(&mut self, truth: &str, answer: &Answer) -> Judged {
        self.asked += 1;
        let right = match (answer, &self.manifest.task) {
            (Answer::Labels { labels }, _) => labels.first().is_some_and(|best| best.label == truth),
            (Answer::Chat(chat), _) => chat.choices.first().is_some_and(|choice| choice.message.content.trim() == truth.trim()),
            (Answer::Anomaly { anomaly }, _) => {
                self.scores.push((anomaly.score, truth == "anomalous"));
                anomaly.verdict == truth
            }
            (Answer::Reading { reading }, Task::Regress { minimum, maximum, .. }) => {
                let error = truth.parse::<f64>().map_or(f64::INFINITY, |t| (reading.value - t).abs() / (maximum - minimum));
                self.errors.push(error);
                self.promised().is_none_or(|(_, mean)| error <= 3.0 * mean)
            }
            (Answer::Boxes { boxes, .. }, _) => Truth::read_all(truth).is_some_and(|truths| {
                let right = all_right(boxes, &truths);
                self.boxes.push((boxes.clone(), truths));
                right
            }),
            _ => false,
        };
        self.wrong += usize::from(!right);
        Judged { right }
    }

    /// An answer that did not come.
    pub(super) fn missing(&mut self) {
        self.asked += 1;
        self.missing += 1;
    }

    /// Whether the promise was kept.
    pub(super) fn verdict(&self) -> Verdict {
        let (kept, says) = match self.promised() {
            None => (true, format!("{} of {} right; no accuracy is promised", self.asked - self.missing - self.wrong, self.asked)),
            Some((Metric::Top1 | Metric::ExactMatch, share)) => {
                let allowed = (self.asked as f64 * (1.0 - share)).ceil() as usize;
                (
                    self.wrong <= allowed,
                    format!("{} of {} wrong; {allowed} allowed by the promised {:.0} %", self.wrong, self.asked, share * 100.0),
                )
            }
            Some((Metric::MeanError, share)) => {
                let mean = self.errors.iter().sum::<f64>() / self.errors.len().max(1) as f64;
                (mean <= share, format!("mean error {:.2} % of full scale; {:.2} % promised", mean * 100.0, share * 100.0))
            }
            Some((Metric::Auc, share)) => {
                let auc = auc(&self.scores);
                (
                    auc >= share,
                    format!("area under the curve {auc:.3}, {} of {} verdicts wrong; {share:.3} promised", self.wrong, self.asked),
                )
            }
            Some((Metric::Map, share)) => {
                let map = mean_average_precision(&self.boxes);
                (
                    map >= share,
                    format!(
                        "mean average precision {map:.3} at IoU 0.5, a box wrong or missing in {} of {}; {share:.2} promised",
                        self.wrong, self.asked
                    ),
                )
            }
        };
        let says = if self.missing > 0 { format!("{says}; {} MISSING", self.missing) } else { says };
        Verdict { good: kept && self.missing == 0 && self.asked > 0, says }
    }
}

impl Judged {
    /// The answer, short.
    pub(super) fn answer(self, answer: &Answer) -> String {
        match answer {
            Answer::Labels { labels } => labels.first().map_or_else(String::new, |l| format!("{} ({:.1} %)", l.label, l.score * 100.0)),
            other => hearth_ctl::answer(other),
        }
    }
}

/// A truth, short: of boxes what there is, as answers are told.
pub(super) fn told(truth: &str, answer: &Answer) -> String {
    match (answer, Truth::read_all(truth)) {
        (Answer::Boxes { .. }, Some(truths)) => hearth_ctl::counted(truths.iter().map(|truth| truth.label.as_str())),
        _ => truth.to_owned(),
    }
}

/// Share of pairs, one anomalous and one normal, that the score puts in the right order (Mann and Whitney, 1947); ties count half.
fn auc(scores: &[(f64, bool)]) -> f64 {
    let of = |anomalous: bool| scores.iter().filter(move |(_, a)| *a == anomalous).map(|(score, _)| *score);
    let (mut ordered, mut pairs) = (0.0, 0);
    for high in of(true) {
        for low in of(false) {
            pairs += 1;
            ordered += if high > low {
                1.0
            } else if high == low {
                0.5
            } else {
                0.0
            };
        }
    }
    if pairs == 0 { 0.0 } else { ordered / f64::from(pairs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_ordered_pairs() {
        assert_eq!(auc(&[(2.0, true), (1.0, false)]), 1.0);
        assert_eq!(auc(&[(1.0, true), (2.0, false)]), 0.0);
        assert_eq!(auc(&[(1.0, true), (1.0, false)]), 0.5);
    }
}
