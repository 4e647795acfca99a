//! Builds the texts of a report that depend on names and numbers.

use dash_core::pipeline::Metric;

/// The definition of a metric of this program, by its name in results. A mean over batches has a note behind the name.
pub(crate) fn metric(name: &str) -> Option<String> {
    if let Some(spec) = Metric::of_result(name) {
        return Some(format!("{} Values are {}.", spec.description, spec.scale));
    }
    let (base, batches) = name.strip_suffix(')')?.split_once(" (mean over batches of ")?;
    let known = Metric::of_result(base).is_some() && batches.parse::<usize>().is_ok();
    known.then(|| {
        "The metric of that name, computed for each batch of test samples in order and averaged over the batches, as the \
         published experiments report it. It depends on the batches and is for comparison with published values only."
            .to_owned()
    })
}

/// The direction of a metric, in a caption.
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
