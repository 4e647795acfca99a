//! Statistics over seeds. The only module that knows polars.

use crate::{Error, check, number};
use dash_core::{
    pipeline::{Method, Protocol},
    results::ResultRow,
};
use polars::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// The seeds of one method on one comparison. Rows are comparable if pipeline, task, protocol,
/// metric and split agree; the pipeline counts because two pipelines of one task may prepare its
/// data differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SummaryRow {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the task.
    pub task: String,
    /// Which data selection was allowed to see.
    pub protocol: Protocol,
    /// Name of the metric.
    pub metric: String,
    /// The split it was measured on.
    pub split: String,
    /// Direction of the metric.
    pub lower_is_better: bool,
    /// How the networks were obtained.
    pub method: Method,
    /// Number of seeds, n.
    pub seeds: usize,
    /// How many of the n values are NaN or infinite.
    pub not_finite: usize,
    /// Arithmetic mean; absent if a value is not finite, for leaving out failures would flatter.
    pub mean: Option<f64>,
    /// Sample standard deviation, sqrt(sum (x - mean)^2 / (n - 1)); absent for one seed and where
    /// the mean is absent.
    pub sd: Option<f64>,
    /// Smallest finite value.
    pub min: Option<f64>,
    /// Largest finite value.
    pub max: Option<f64>,
    /// Mean number of trainable parameters.
    pub params: f64,
    /// Mean wall time of the search in seconds, over the seeds that have one.
    pub search_seconds: Option<f64>,
    /// Mean wall time of tuning in seconds, over the seeds that have one.
    pub tune_seconds: Option<f64>,
    /// Mean wall time of retraining in seconds, over the seeds that have one.
    pub retrain_seconds: Option<f64>,
    /// Whether no comparable method has a better mean; never set where there is no other method.
    pub best: bool,
}

impl SummaryRow {
    /// The mean with its spread as text, a dash where there is none.
    pub fn spread(&self) -> String {
        number::spread(self.mean, self.sd)
    }

    /// Whether two rows may stand in one column.
    pub(crate) fn comparable(&self, row: &SummaryRow) -> bool {
        fn key(r: &SummaryRow) -> (&str, &str, Protocol, &str, &str) {
            (&r.pipeline, &r.task, r.protocol, &r.metric, &r.split)
        }
        key(self) == key(row)
    }
}

/// One row per comparison and method. Comparisons keep the order of their first row, methods the
/// order of [`Method`]; the order of the seeds does not matter.
///
/// # Errors
/// No rows, a row given twice, or a metric with two directions.
pub fn summary(rows: &[ResultRow]) -> Result<Vec<SummaryRow>, Error> {
    check::rows(rows)?;
    let table = statistics(rows)?.collect()?;
    let first = table.column("first")?.u32()?;
    let count = |name: &str| -> Result<_, Error> { Ok(table.column(name)?.u32()?.clone()) };
    let real = |name: &str| -> Result<_, Error> { Ok(table.column(name)?.f64()?.clone()) };
    let (seeds, not_finite) = (count("seeds")?, count("not_finite")?);
    let (mean, sd, min, max, params) =
        (real("mean")?, real("sd")?, real("min")?, real("max")?, real("params")?);
    let (search, tune, retrain) = (real("search")?, real("tune")?, real("retrain")?);
    let best = table.column("best")?.bool()?;

    // Sums of huge finite values may overflow; such a statistic is absent like any other.
    let finite = |column: &Float64Chunked, i| column.get(i).filter(|v: &f64| v.is_finite());
    let summarise = |i| {
        let row = rows.get(first.get(i)? as usize)?;
        Some(SummaryRow {
            pipeline: row.pipeline.clone(),
            task: row.task.clone(),
            protocol: row.protocol,
            metric: row.metric.clone(),
            split: row.split.clone(),
            lower_is_better: row.lower_is_better,
            method: row.method,
            seeds: seeds.get(i)? as usize,
            not_finite: not_finite.get(i)? as usize,
            mean: finite(&mean, i),
            sd: finite(&mean, i).and_then(|_| finite(&sd, i)),
            min: finite(&min, i),
            max: finite(&max, i),
            params: params.get(i)?,
            search_seconds: finite(&search, i),
            tune_seconds: finite(&tune, i),
            retrain_seconds: finite(&retrain, i),
            best: best.get(i).unwrap_or(false),
        })
    };
    Ok((0..table.height()).filter_map(summarise).collect())
}

/// The grouped table, still to be computed; `first` is the index of a row of the group.
fn statistics(rows: &[ResultRow]) -> Result<LazyFrame, Error> {
    let mut numbers = BTreeMap::new();
    let comparison: Vec<u32> = rows
        .iter()
        .map(|r| {
            let next = numbers.len() as u32;
            *numbers.entry(check::comparison(r)).or_insert(next)
        })
        .collect();
    let frame = df!(
        "row" => (0..rows.len() as u32).collect::<Vec<_>>(),
        "comparison" => comparison,
        "method" => rows.iter().map(|r| r.method as u32).collect::<Vec<_>>(),
        "seed" => rows.iter().map(|r| r.seed).collect::<Vec<_>>(),
        "value" => rows.iter().map(|r| r.value).collect::<Vec<_>>(),
        "lower" => rows.iter().map(|r| r.lower_is_better).collect::<Vec<_>>(),
        "params" => rows.iter().map(|r| r.params as f64).collect::<Vec<_>>(),
        "search" => rows.iter().map(|r| r.stage_seconds.search).collect::<Vec<_>>(),
        "tune" => rows.iter().map(|r| r.stage_seconds.tune).collect::<Vec<_>>(),
        "retrain" => rows.iter().map(|r| r.stage_seconds.retrain).collect::<Vec<_>>(),
    )?;

    let finite = || col("value").is_finite();
    let goodness = || when(col("lower")).then(-col("mean")).otherwise(col("mean"));
    Ok(frame
        .lazy()
        // The order fixes the order of summation, hence every bit of the result.
        .sort(["comparison", "method", "seed"], SortMultipleOptions::default())
        .group_by_stable([col("comparison"), col("method")])
        .agg([
            col("row").first().alias("first"),
            col("lower").first(),
            len().cast(DataType::UInt32).alias("seeds"),
            finite().not().sum().cast(DataType::UInt32).alias("not_finite"),
            col("value").mean().alias("mean"),
            col("value").std(1).alias("sd"),
            col("value").filter(finite()).min().alias("min"),
            col("value").filter(finite()).max().alias("max"),
            col("params").mean(),
            col("search").mean(),
            col("tune").mean(),
            col("retrain").mean(),
        ])
        .with_column(
            when(col("not_finite").eq(lit(0u32)).and(col("mean").is_finite()))
                .then(col("mean"))
                .otherwise(lit(NULL))
                .alias("mean"),
        )
        .with_column(
            goodness()
                .eq(goodness().max().over([col("comparison")])?)
                .and(len().over([col("comparison")])?.gt(lit(1u32)))
                .fill_null(lit(false))
                .alias("best"),
        ))
}
