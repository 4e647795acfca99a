//! Computes statistics over seeds. The only module that knows polars.

use crate::{Error, check, number};
use dash_core::{
    pipeline::{Method, Protocol},
    results::ResultRow,
};
use polars::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// Statistics over the seeds of one method in one comparison. Rows are compared if pipeline, task, protocol, metric and
/// split agree. The pipeline counts because two pipelines of one task may prepare its data differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SummaryRow {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the task.
    pub task: String,
    /// The evaluation protocol.
    pub protocol: Protocol,
    /// Name of the metric.
    pub metric: String,
    /// The split it was measured on.
    pub split: String,
    /// Whether lower values of the metric are better.
    pub lower_is_better: bool,
    /// The method.
    pub method: Method,
    /// Whether the metric is the one by which methods are compared on this task.
    pub primary: bool,
    /// Number of seeds with a value, n.
    pub seeds: usize,
    /// Seeds that were asked for and have no value.
    pub missing: usize,
    /// The number of values that are NaN or infinite.
    pub not_finite: usize,
    /// Arithmetic mean; absent if a value is not finite, since leaving failures out would be too optimistic.
    pub mean: Option<f64>,
    /// Sample standard deviation, sqrt(sum (x - mean)^2 / (n - 1)); absent for one seed and where
    /// the mean is absent.
    pub sd: Option<f64>,
    /// Smallest finite value.
    pub min: Option<f64>,
    /// Largest finite value.
    pub max: Option<f64>,
    /// Mean number of trainable parameters; absent if no seed has a value.
    pub params: Option<f64>,
    /// Mean wall time of the search in seconds, over the seeds that have one.
    pub search_seconds: Option<f64>,
    /// Mean wall time of tuning in seconds, over the seeds that have one.
    pub tune_seconds: Option<f64>,
    /// Mean wall time of retraining in seconds, over the seeds that have one.
    pub retrain_seconds: Option<f64>,
    /// Whether no other method of the comparison has a better mean; `false` if there is no other method.
    pub best: bool,
}

impl SummaryRow {
    /// The mean with its standard deviation as text; a dash if there is no mean.
    pub fn spread(&self) -> String {
        number::spread(self.mean, self.sd)
    }

    /// Whether two rows belong to the same comparison.
    pub(crate) fn comparable(&self, row: &SummaryRow) -> bool {
        fn key(r: &SummaryRow) -> (&str, &str, Protocol, &str, &str) {
            (&r.pipeline, &r.task, r.protocol, &r.metric, &r.split)
        }
        key(self) == key(row)
    }
}

/// Computes one row per comparison and method. Comparisons are in the order of their first row, methods in the order of
/// [`Method`]; the order of the seeds does not matter.
///
/// # Errors
/// If there are no rows, a row is given twice, or a metric has two directions.
pub fn summary(rows: &[ResultRow]) -> Result<Vec<SummaryRow>, Error> {
    check::rows(rows)?;
    let table = statistics(rows)?.collect()?;
    let first = table.column("first")?.u32()?;
    let count = |name: &str| -> Result<_, Error> { Ok(table.column(name)?.u32()?.clone()) };
    let real = |name: &str| -> Result<_, Error> { Ok(table.column(name)?.f64()?.clone()) };
    let (seeds, missing, not_finite) = (count("seeds")?, count("missing")?, count("not_finite")?);
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
            primary: row.primary,
            seeds: seeds.get(i)? as usize,
            missing: missing.get(i)? as usize,
            not_finite: not_finite.get(i)? as usize,
            mean: finite(&mean, i),
            sd: finite(&mean, i).and_then(|_| finite(&sd, i)),
            min: finite(&min, i),
            max: finite(&max, i),
            params: params.get(i),
            search_seconds: finite(&search, i),
            tune_seconds: finite(&tune, i),
            retrain_seconds: finite(&retrain, i),
            best: best.get(i).unwrap_or(false),
        })
    };
    Ok((0..table.height()).filter_map(summarise).collect())
}

/// Starts the threads with which [`summary`] computes, so that a system that has none to spare says so before
/// there is anything to lose.
///
/// # Errors
/// None that a caller could cause; the library of tables panics if a thread is refused.
pub fn start() -> Result<(), Error> {
    let frame = df!("key" => [0u32], "value" => [0.0f64])?;
    frame.lazy().group_by_stable([col("key")]).agg([col("value").mean()]).collect()?;
    Ok(())
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
        "params" => rows.iter().map(|r| r.params.map(|n| n as f64)).collect::<Vec<_>>(),
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
            col("value").count().cast(DataType::UInt32).alias("seeds"),
            col("value").null_count().cast(DataType::UInt32).alias("missing"),
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
                .and(col("seeds").gt(lit(0u32)).sum().over([col("comparison")])?.gt(lit(1u32)))
                .fill_null(lit(false))
                .alias("best"),
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_core::results::{StageSeconds, Status};
    use proptest::prelude::*;

    fn row(method: Method, seed: u64, value: f64) -> ResultRow {
        ResultRow {
            pipeline: "p".to_owned(),
            task: "t".to_owned(),
            method,
            seed,
            protocol: Protocol::Strict,
            metric: "relative-l2".to_owned(),
            value: Some(value),
            lower_is_better: true,
            split: "test".to_owned(),
            primary: true,
            status: Status::Done,
            reason: None,
            params: Some(10),
            stage_seconds: StageSeconds::default(),
            run: format!("p/{seed}"),
            dataset: None,
            fingerprint: None,
            provenance: None,
        }
    }

    #[test]
    fn statistics_are_those_of_numpy() {
        // x = numpy.array([0.0405, 0.0388, 0.0421]); x.mean(), x.std(ddof=1)
        let values = [0.0405, 0.0388, 0.0421];
        let mut rows: Vec<ResultRow> =
            values.iter().enumerate().map(|(i, v)| row(Method::Dash, i as u64, *v)).collect();
        rows[1].params = Some(13);
        rows[0].stage_seconds.search = Some(10.0);
        rows[2].stage_seconds.search = Some(20.0);
        let summary = summary(&rows).unwrap();
        let [only] = summary.as_slice() else { panic!("{summary:?}") };
        assert!((only.mean.unwrap() - 0.040_466_666_666_666_67).abs() < 1e-16);
        assert!((only.sd.unwrap() - 0.001_650_252_505_931_541_7).abs() < 1e-16);
        assert_eq!((only.seeds, only.min, only.max), (3, Some(0.0388), Some(0.0421)));
        assert_eq!(only.params, Some(11.0));
        // A mean over the seeds that have the stage; a stage that none has is absent, not 0.
        assert_eq!((only.search_seconds, only.tune_seconds), (Some(15.0), None));
        assert!(!only.best, "nothing to be better than");
    }

    #[test]
    fn one_seed_has_no_spread() {
        let summary = summary(&[row(Method::Dash, 0, 0.5)]).unwrap();
        assert_eq!((summary[0].mean, summary[0].sd), (Some(0.5), None));
    }

    #[test]
    fn the_direction_decides_what_is_best() {
        let mut rows = vec![row(Method::Dash, 0, 0.04), row(Method::Backbone, 0, 0.05)];
        let best = |rows: &[ResultRow]| -> Vec<Method> {
            summary(rows).unwrap().iter().filter(|r| r.best).map(|r| r.method).collect()
        };
        assert_eq!(best(&rows), [Method::Dash]);
        rows.iter_mut().for_each(|r| r.lower_is_better = false);
        assert_eq!(best(&rows), [Method::Backbone]);
        rows[0].value = Some(0.05);
        assert_eq!(best(&rows), [Method::Dash, Method::Backbone], "equal means are equally good");
    }

    #[test]
    fn values_of_different_kinds_are_never_compared() {
        let changes: [fn(&mut ResultRow); 5] = [
            |r| r.pipeline = "q".to_owned(),
            |r| r.task = "u".to_owned(),
            |r| r.protocol = Protocol::Paper,
            |r| r.metric = "macro-f1".to_owned(),
            |r| r.split = "validation".to_owned(),
        ];
        for change in changes {
            let mut other = row(Method::Backbone, 0, 0.05);
            change(&mut other);
            let summary = summary(&[row(Method::Dash, 0, 0.04), other]).unwrap();
            assert_eq!(summary.len(), 2);
            assert!(summary.iter().all(|r| !r.best && r.seeds == 1));
        }
    }

    #[test]
    fn a_failed_seed_is_counted_and_not_averaged_away() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let rows =
                [row(Method::Dash, 0, 0.04), row(Method::Dash, 1, bad), row(Method::Backbone, 0, 0.05)];
            let summary = summary(&rows).unwrap();
            let dash = &summary[0];
            assert_eq!((dash.seeds, dash.not_finite, dash.mean, dash.sd), (2, 1, None, None));
            assert_eq!((dash.min, dash.max, dash.best), (Some(0.04), Some(0.04), false));
            assert!(summary[1].best);
        }
        let all = summary(&[row(Method::Dash, 0, f64::NAN)]).unwrap();
        assert_eq!((all[0].mean, all[0].min, all[0].max), (None, None, None));
        let huge = summary(&[row(Method::Dash, 0, f64::MAX), row(Method::Dash, 1, f64::MAX)]).unwrap();
        assert_eq!((huge[0].mean, huge[0].sd), (None, None), "the sum overflows");
    }

    #[test]
    fn missing_values_are_counted_and_a_method_without_values_is_no_rival() {
        let none = |mut row: ResultRow| {
            (row.value, row.params, row.status) = (None, None, Status::Missing);
            row
        };
        let rows = [
            row(Method::Dash, 0, 0.04),
            none(row(Method::Dash, 1, 0.0)),
            none(row(Method::Backbone, 0, 0.0)),
            none(row(Method::Backbone, 1, 0.0)),
        ];
        let summary = summary(&rows).unwrap();
        let [dash, backbone] = summary.as_slice() else { panic!("{summary:?}") };
        assert_eq!((dash.seeds, dash.missing, dash.mean, dash.params), (1, 1, Some(0.04), Some(10.0)));
        assert_eq!((backbone.seeds, backbone.missing, backbone.mean, backbone.params), (0, 2, None, None));
        assert!(!dash.best && !backbone.best && backbone.not_finite == 0);
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(matches!(summary(&[]), Err(Error::Empty)));
        let twice = [row(Method::Dash, 0, 0.1), row(Method::Dash, 0, 0.2)];
        let error = summary(&twice).unwrap_err();
        assert!(matches!(error, Error::DuplicateRow { .. }));
        for part in ["\"p\"", "\"t\"", "dash", "seed 0", "strict", "relative-l2"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let mut rows = [row(Method::Dash, 0, 0.1), row(Method::Backbone, 0, 0.2)];
        rows[1].lower_is_better = false;
        assert!(matches!(summary(&rows), Err(Error::Direction { .. })));
    }

    /// Two passes in double precision over the values in order of their seeds.
    fn oracle(values: &[f64]) -> (f64, Option<f64>) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        (mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn statistics_equal_the_oracle(values in prop::collection::vec(-1e3f64..1e3, 1..40)) {
            let rows: Vec<ResultRow> =
                values.iter().enumerate().map(|(i, v)| row(Method::Dash, i as u64, *v)).collect();
            let (mean, sd) = oracle(&values);
            let summary = summary(&rows).unwrap();
            prop_assert!((summary[0].mean.unwrap() - mean).abs() <= 1e-12 * (1.0 + mean.abs()));
            prop_assert_eq!(summary[0].sd.is_some(), sd.is_some());
            if let (Some(a), Some(b)) = (summary[0].sd, sd) {
                prop_assert!((a - b).abs() <= 1e-9 * (1.0 + b), "{} {}", a, b);
            }
        }

        #[test]
        fn the_order_of_seeds_changes_no_bit(
            order in Just((0..1500u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            // More rows than polars needs to think of threads.
            let rows = |seeds: &[u64]| -> Vec<ResultRow> {
                seeds.iter().map(|&s| row(Method::Dash, s, (s as f64).sin())).collect()
            };
            let sorted: Vec<u64> = (0..1500).collect();
            prop_assert_eq!(summary(&rows(&sorted)).unwrap(), summary(&rows(&order)).unwrap());
        }
    }
}
