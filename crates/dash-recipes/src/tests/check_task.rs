//! Data on which a loss or a metric has no value is told before anything is trained.

use super::*;
use dash_core::pipeline::Task;

/// An archive of own data: 12 samples of 3 numbers, and targets.
fn put(place: &Place, target: &[u8]) {
    let input: Vec<u8> = (0..36).flat_map(|at| (at as f32).to_le_bytes()).collect();
    let input = npy("<f4", false, &[12, 3], &input);
    let members = [("input.npy", &input[..]), ("target.npy", target)];
    let members = members.map(|(name, bytes)| Member { name, bytes, deflated: false });
    place.put("own.npz", &zip(&members));
}

fn own(place: &Place, kind: &str, more: serde_json::Value) -> Dataset {
    let mut value = serde_json::json!({
        "recipe": "npz", "raw": place.raw(), "file": "own.npz", "target_kind": kind,
        "validation_fraction": 0.25, "test_fraction": 0.25
    });
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

fn task(loss: &str, metric: &str) -> Task {
    serde_json::from_value(serde_json::json!({"loss": {"kind": loss}, "metric": {"kind": metric}})).unwrap()
}

fn fields(values: impl Fn(usize) -> f32) -> Vec<u8> {
    let values: Vec<u8> = (0..36).flat_map(|at| values(at).to_le_bytes()).collect();
    npy("<f4", false, &[12, 3], &values)
}

#[test]
fn a_constant_target_is_not_standardised() {
    let place = Place::new();
    put(&place, &fields(|_| 0.1));
    let standardised = serde_json::json!({"standardise_target": true});
    let message = place.refusal(&own(&place, "field", standardised.clone()));
    assert!(message.contains("own.npz: field `target`: is the same in all training samples"), "{message}");
    // Without it a constant can be learned.
    place.ingest(&own(&place, "field", serde_json::json!({})), Protocol::Strict).unwrap();
    let folder = DatasetFolder::open(&place.target()).unwrap();
    folder.check_task(&task("relative-l2", "relative-l2")).unwrap();
    // What training samples say nothing about may be out of reach.
    dash_store::remove(&place.target()).unwrap();
    put(&place, &fields(|at| if at / 3 % 2 == 0 { 1e-30 } else { 2e-30 }));
    place.ingest(&own(&place, "field", standardised), Protocol::Strict).unwrap();
}

#[test]
fn a_field_of_zeros_has_no_relative_error() {
    let place = Place::new();
    let zero_at = |row: usize| fields(move |at| if at / 3 == row { 0.0 } else { 1.0 });
    for row in 0..12 {
        put(&place, &zero_at(row));
        place.ingest(&own(&place, "field", serde_json::json!({})), Protocol::Strict).unwrap();
        let folder = DatasetFolder::open(&place.target()).unwrap();
        let error = folder.check_task(&task("relative-l2", "relative-l2")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        let message = error.to_string();
        assert!(message.contains(".parquet: row ") && message.contains("divides by its norm"), "{message}");
        assert!(!error.hint().unwrap().contains("learning rate"));
    }
}

#[test]
fn labels_that_tell_no_samples_apart_have_no_score() {
    let place = Place::new();
    let ingest = |labels: &dyn Fn(usize) -> u8| {
        let bytes: Vec<u8> = (0..24).map(labels).collect();
        put(&place, &npy("|u1", false, &[12, 2], &bytes));
        place.ingest(&own(&place, "labels", serde_json::json!({})), Protocol::Strict).unwrap();
        DatasetFolder::open(&place.target()).unwrap()
    };
    let (auroc, precision) =
        (task("binary-cross-entropy", "auroc"), task("binary-cross-entropy", "average-precision"));
    // The first label is that of all samples, the second of none.
    let folder = ingest(&|at| u8::from(at % 2 == 0));
    let error = folder.check_task(&auroc).unwrap_err();
    assert!(
        error.to_string().contains("val.parquet: each label is that of all samples or of none"),
        "{error}"
    );
    folder.check_task(&precision).unwrap();
    let error = ingest(&|_| 0).check_task(&precision).unwrap_err();
    assert!(error.to_string().contains("val.parquet: no sample has any label"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Data);
}
