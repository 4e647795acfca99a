//! Custom data that a recipe made before.

use crate::testing::*;

#[test]
fn a_dataset_of_this_program_is_custom_data_again() {
    let place = Place::new();
    let rows = || {
        let folder = DatasetFolder::open(&place.target()).unwrap();
        folder.split(Split::Validation).unwrap().gather(&[1, 0]).unwrap()
    };
    place.ingest(&simulated(), Protocol::Strict).unwrap();
    let expected = rows();
    for name in ["train.parquet", "val.parquet", "test.parquet"] {
        place.put(name, &std::fs::read(place.target().join(name)).unwrap());
    }
    let files = json!({
        "train_file": "train.parquet", "validation_file": "val.parquet", "test_file": "test.parquet",
        "target_kind": "field",
    });
    let card = place.ingest(&dataset(&place, "parquet", files), Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [3, 9, 9]);
    assert_eq!(rows(), expected);
}
