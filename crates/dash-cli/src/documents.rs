//! The JSON documents that this program prints besides those of `dash_pipeline::output`, and the schema of all.

use dash_bench::{StepTiming, comparison::MixingTiming};
use dash_core::{
    card::{DatasetCard, Source, Target, TensorField},
    event::Event,
};
use dash_data::{Checked, SplitSummary};
use dash_pipeline::output::{
    ErrorDocument, ExplainDocument, IngestDocument, PlanDocument, PruneDocument, RunDocument, StatusDocument,
};
use dash_recipes::{Fetched, Present, RawTask};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The schema of everything that the program prints as JSON, as pretty-printed text.
pub(crate) fn schema() -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(Document))?;
    text.push('\n');
    Ok(text)
}

/// A JSON document of `dash-nas --format json`: one per command, one line per timing of `bench`, one line per event of
/// `--events`, or an error on standard error.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum Document<'a> {
    Run(RunDocument<'a>),
    Plan(PlanDocument<'a>),
    Explain(ExplainDocument<'a>),
    Status(StatusDocument<'a>),
    Prune(PruneDocument<'a>),
    Ingest(IngestDocument<'a>),
    DataList(DataListDocument<'a>),
    Fetch(FetchDocument<'a>),
    Inspect(InspectDocument<'a>),
    Verify(VerifyDocument<'a>),
    Timing(StepTiming),
    Comparison(MixingTiming),
    Event(LoggedEvent<'a>),
    Error(ErrorDocument),
}

/// An event as a line of the file of `--events`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LoggedEvent<'a> {
    #[serde(flatten)]
    pub(crate) event: &'a Event,
    /// Seconds since the start of the program.
    pub(crate) elapsed: f64,
}

/// `dash-nas data list`: the benchmark's raw files.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DataListDocument<'a> {
    /// The tasks.
    pub(crate) tasks: Vec<ListedTask<'a>>,
}

/// A task of the benchmark and its raw files.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ListedTask<'a> {
    /// The recipe that reads the files.
    recipe: &'a str,
    /// A short description.
    title: &'a str,
    /// The folder of the raw files.
    folder: PathBuf,
    /// The licence of the data.
    licence: &'a str,
    /// The page that says where the files are.
    page: &'a str,
    /// Whether this version has the recipe.
    readable: bool,
    /// The raw files.
    pub(crate) files: Vec<ListedFile<'a>>,
}

/// A raw file.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ListedFile<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its published size in bytes, rounded unless there is a hash; 0 if unknown.
    pub(crate) bytes: u64,
    /// Files or folders that can take its place. The name of a folder ends with `/`.
    or: &'a [String],
    /// Where it, or what takes its place, was found.
    pub(crate) present: Option<Present>,
    /// Addresses that it can be downloaded from.
    mirrors: &'a [String],
    /// Its published SHA-256, if any.
    sha256: Option<&'a str>,
}

impl<'a> ListedTask<'a> {
    /// Looks for the raw files of `task` below `raw`. `readable` says that this version has the recipe.
    pub(crate) fn find(task: &'a RawTask, raw: &Path, readable: bool) -> ListedTask<'a> {
        let folder = raw.join(&task.folder);
        let files = task.files.iter().map(|file| ListedFile {
            name: &file.name,
            bytes: file.bytes,
            or: &file.alternatives,
            present: file.find(&folder),
            mirrors: &file.mirrors,
            sha256: file.sha256.as_deref(),
        });
        ListedTask {
            recipe: &task.recipe,
            title: &task.title,
            licence: &task.licence,
            page: &task.page,
            readable,
            files: files.collect(),
            folder,
        }
    }

    /// The recipe for people.
    pub(crate) fn name(&self) -> String {
        if self.readable { self.recipe.to_owned() } else { format!("{} (no recipe yet)", self.recipe) }
    }

    /// The licence of the data.
    pub(crate) fn licence(&self) -> &'a str {
        self.licence
    }
}

/// `dash-nas data fetch`: raw files that are in their place.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FetchDocument<'a> {
    /// The licence of the data.
    pub(crate) licence: &'a str,
    /// The files.
    pub(crate) files: &'a [Fetched],
}

/// `dash-nas data inspect`: what a dataset holds.
#[derive(Serialize, JsonSchema)]
pub(crate) struct InspectDocument<'a> {
    /// Folder of the dataset.
    folder: &'a Path,
    /// The recipe that made it.
    recipe: &'a str,
    /// The input tensor of a sample.
    input: &'a TensorField,
    /// What networks predict.
    target: &'a Target,
    /// The raw files that the dataset was made from; empty if it was simulated.
    sources: &'a [Source],
    /// The licence of the data.
    licence: &'a str,
    /// Further facts.
    notes: &'a BTreeMap<String, Value>,
    /// Statistics of the splits.
    splits: &'a [SplitSummary],
}

impl<'a> InspectDocument<'a> {
    pub(crate) fn new(folder: &'a Path, card: &'a DatasetCard, splits: &'a [SplitSummary]) -> Self {
        InspectDocument {
            folder,
            recipe: &card.recipe,
            input: &card.input,
            target: &card.target,
            sources: &card.sources,
            licence: &card.licence,
            notes: &card.notes,
            splits,
        }
    }
}

/// `dash-nas data verify`: files that were compared with their recorded hashes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct VerifyDocument<'a> {
    /// The files.
    pub(crate) files: &'a [Checked],
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_schema_is_that_of_the_code() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/output.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == super::schema().unwrap(), "run: cargo xtask gen");
    }
}
