//! Builds the text of pipeline files.

use std::fmt::{Display, Write};

/// The text of a pipeline file, built key by key.
///
/// ```
/// let text = dash_tests::pipeline("own")
///     .dataset("npz")
///     .task("cross-entropy", "zero-one-error")
///     .set("retrain.epochs", 2)
///     .smallest()
///     .to_string();
/// assert!(text.starts_with("name = \"own\"\n[dataset]\nrecipe = \"npz\"\nraw = \"raw\"\n"));
/// assert!(text.contains("epochs = 2\n"));
/// ```
pub struct PipelineText {
    /// Keys outside of any table.
    head: Vec<(String, String)>,
    /// Tables and their keys.
    tables: Vec<(String, Vec<(String, String)>)>,
}

/// A pipeline with this name.
pub fn pipeline(name: &str) -> PipelineText {
    PipelineText { head: Vec::new(), tables: Vec::new() }.set("name", format!("{name:?}"))
}

impl PipelineText {
    /// Reads the dataset by this recipe from the folder `raw`.
    pub fn dataset(self, recipe: &str) -> PipelineText {
        self.set("dataset.recipe", format!("{recipe:?}")).set("dataset.raw", "\"raw\"")
    }

    /// Trains with this loss and evaluates this metric.
    pub fn task(self, loss: &str, metric: &str) -> PipelineText {
        let kind = |kind: &str| format!("{{ kind = {kind:?} }}");
        self.set("task.loss", kind(loss)).set("task.metric", kind(metric))
    }

    /// Compares only the method `dash`.
    pub fn dash_only(self) -> PipelineText {
        self.set("methods", "[\"dash\"]")
    }

    /// Sets `key`, or `table.key`, to a TOML value. An earlier value is replaced.
    pub fn set(mut self, key: &str, value: impl Display) -> PipelineText {
        let (entries, key) = self.entries(key);
        let value = value.to_string();
        match entries.iter_mut().find(|(other, _)| other == key) {
            Some((_, old)) => *old = value,
            None => entries.push((key.to_owned(), value)),
        }
        self
    }

    /// Uses batches of this size in all stages.
    pub fn batch_size(self, size: usize) -> PipelineText {
        let keys = ["search.batch_size", "tune.batch_size", "retrain.batch_size"];
        keys.into_iter().fold(self, |text, key| text.set(key, size))
    }

    /// Sets what is not set yet to the smallest values: a network of depth 10, one candidate size, one epoch, and one
    /// trial.
    pub fn smallest(self) -> PipelineText {
        let wrn = "{ kind = \"wrn\", depth = 10 }";
        let defaults = [
            ("search.backbone", wrn),
            ("search.kernel_sizes", "[3]"),
            ("search.dilations", "[1, 2]"),
            ("search.epochs", "1"),
            ("search.batch_size", "4"),
            ("tune.epochs", "1"),
            ("tune.batch_size", "4"),
            ("tune.learning_rates", "[0.1]"),
            ("tune.dropouts", "[0.0]"),
            ("tune.weight_decays", "[5e-4]"),
            ("tune.momenta", "[0.9]"),
            ("retrain.backbone", wrn),
            ("retrain.epochs", "4"),
            ("retrain.batch_size", "4"),
        ];
        defaults.into_iter().fold(self, |mut text, (key, value)| {
            let (entries, name) = text.entries(key);
            if entries.iter().any(|(other, _)| other == name) { text } else { text.set(key, value) }
        })
    }

    /// The keys of the table of `key`, and the name of `key` in it.
    fn entries<'a>(&mut self, key: &'a str) -> (&mut Vec<(String, String)>, &'a str) {
        let Some((table, key)) = key.split_once('.') else { return (&mut self.head, key) };
        let at = self.tables.iter().position(|(name, _)| name == table).unwrap_or_else(|| {
            self.tables.push((table.to_owned(), Vec::new()));
            self.tables.len() - 1
        });
        (&mut self.tables[at].1, key)
    }
}

impl Display for PipelineText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        let lines = |text: &mut String, entries: &[(String, String)]| {
            entries.iter().try_for_each(|(key, value)| writeln!(text, "{key} = {value}"))
        };
        lines(&mut text, &self.head)?;
        for (table, entries) in &self.tables {
            writeln!(text, "[{table}]")?;
            lines(&mut text, entries)?;
        }
        f.write_str(&text)
    }
}
