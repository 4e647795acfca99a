//! Inputs that a reader once mishandled or that were made for that purpose: every target of `fuzz/` reads the files in
//! its folder of `tests/fixtures/fuzz`.

use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "the targets call it as a library")]
mod targets;

type Target = fn(&[u8]);

#[test]
fn no_reader_fails_on_what_fuzzing_found() {
    let all: [(&str, Target); 7] = [
        ("npy", targets::npy),
        ("npz", targets::npz),
        ("pickle", targets::pickle),
        ("matlab", targets::matlab),
        ("hdf5", targets::hdf5),
        ("packed", targets::packed),
        ("pipeline", targets::pipeline),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/fuzz");
    for (name, target) in all {
        let mut files = 0;
        for entry in std::fs::read_dir(root.join(name)).unwrap() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "{name}");
    }
}
