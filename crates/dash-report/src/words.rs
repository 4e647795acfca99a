//! What names mean, in sentences for the reader of a report.

use dash_core::pipeline::{Method, Protocol};

/// What a protocol lets selection see.
pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Strict => {
            "The data is divided into training, validation and test samples once. Hyperparameters and the reported \
             epoch are selected on validation data; test data is used for the reported value only."
        }
        Protocol::Paper => {
            "As in the published experiments: the final network is trained on training and validation data and the \
             last epoch is reported. A value named best-on-test was selected on test data and is optimistic."
        }
    }
}

/// How a method obtains its network.
pub(crate) fn method(method: Method) -> &'static str {
    match method {
        Method::Dash => {
            "DASH: an architecture search chooses kernel size and dilation of every convolution; the found network \
             is tuned and trained from new weights."
        }
        Method::Backbone => {
            "The same backbone with its own kernels, without a search, tuned and trained in the same way."
        }
    }
}

/// The definition of a metric, if it is one of this program's.
pub(crate) fn metric(name: &str) -> Option<&'static str> {
    Some(match name {
        "relative-l2" => "Mean over samples of ‖prediction − target‖₂ / ‖target‖₂.",
        "zero-one-error" => "Share of samples with a wrong class, in percent.",
        "false-negative-rate" => {
            "Share of the positions that are in the masks of all samples, ignored ones left out, which the network \
             does not predict: their probability is at most one half."
        }
        "masked-binary-cross-entropy" => {
            "Mean over samples and positions of the negative log-probability (natural logarithm, at most 100) of \
             what the mask says, ignored positions counting as certain."
        }
        "mae8" => {
            "Mean over samples of the mean absolute error of predicted distances, in the unit of the target (ångström), over the \
             pairs of positions that are 24 or more apart in the sequence and at a true distance of at most 8. Predictions are symmetrised and at least 0.01; samples without such pairs are left out."
        }
        "1-macro-f1" => {
            "1 − F1, where F1 is the mean over classes of the harmonic mean of precision and recall; classes that \
             are neither target nor prediction are left out."
        }
        "1-auroc" => {
            "1 − AUROC, where AUROC is the mean over labels of the area under the ROC curve of all samples; labels \
             that all samples have, or none, are left out."
        }
        "1-map" => {
            "1 − mAP, where mAP is the mean over labels of the average precision over all samples (precision at each \
             threshold times the gain in recall, without interpolation); labels that no sample has are left out."
        }
        _ => {
            let (base, batches) = name.strip_suffix(')')?.split_once(" (mean over batches of ")?;
            let known = metric(base).is_some() && batches.parse::<usize>().is_ok();
            return known.then_some(
                "The metric of that name, computed batch by batch over the test samples in their order and averaged: \
                 how the published experiments report it. For comparison with them only; the value depends on the \
                 batches.",
            );
        }
    })
}

/// The direction of a metric.
pub(crate) fn direction(lower_is_better: bool) -> &'static str {
    if lower_is_better { "↓ lower is better" } else { "↑ higher is better" }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let mut items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    match (items.pop(), items.is_empty()) {
        (Some(last), false) => format!("{} and {last}", items.join(", ")),
        (Some(only), true) => only,
        (None, _) => String::new(),
    }
}

/// `1 run`, `2 runs`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
