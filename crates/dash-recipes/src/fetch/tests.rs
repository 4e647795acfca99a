//! What is fetched, recorded and compared; what is refused.

use super::*;
use crate::fetch::test_server::{Server, answer};
use dash_core::{
    error::{Classify, ErrorKind},
    event::Silent,
};
use std::time::Duration;

fn task() -> RawTask {
    crate::catalogue().unwrap().into_iter().find(|task| task.recipe == "satellite").unwrap()
}

#[test]
fn files_are_copied_once_recorded_and_compared_afterwards() {
    let place = tempfile::tempdir().unwrap();
    let (from, raw) = (place.path().join("from"), place.path().join("raw/satellite"));
    let put = |path: PathBuf, text: &str| dash_store::publish_file(&path, text.as_bytes()).unwrap();
    let run = || import(&task(), &from, &raw, &Silent);
    let refusal = || {
        let error = run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.hint().is_some());
        error.to_string()
    };
    assert!(refusal().contains("there is no such folder"));
    put(from.join("satellite_train.npy"), "train");
    let message = refusal();
    assert!(
        message.contains("there is no satellite_test.npy; the folder holds satellite_train.npy"),
        "{message}"
    );
    assert!(!raw.exists(), "nothing is copied unless everything is there");

    put(from.join("deep/satellite_test.npy"), "test");
    let fetched = run().unwrap();
    assert_eq!(
        fetched.iter().map(|f| (f.copied, f.first, f.bytes)).collect::<Vec<_>>(),
        [(true, true, 5), (true, true, 4)]
    );
    assert_eq!(fetched[1].sha256, dash_store::sha256(b"test"));
    assert_eq!(std::fs::read(raw.join("satellite_test.npy")).unwrap(), b"test");
    assert!(run().unwrap().iter().all(|file| !file.copied && !file.first));

    put(raw.join("satellite_test.npy"), "tost");
    let message = refusal();
    assert!(
        message.contains("satellite_test.npy: sha256 is") && message.contains("was recorded"),
        "{message}"
    );
    // Another edition is not taken for the one on record either.
    dash_store::remove(&raw.join("satellite_test.npy")).unwrap();
    put(from.join("deep/satellite_test.npy"), "other");
    assert!(refusal().contains("deep/satellite_test.npy: sha256 is"));
    assert!(!raw.join("satellite_test.npy").exists());
    put(from.join("deep/satellite_test.npy"), "test");
    assert_eq!(
        run().unwrap().iter().map(|f| (f.copied, f.first)).collect::<Vec<_>>(),
        [(false, false), (true, false)]
    );
    put(raw.join(HASHES_FILE), "[");
    assert!(refusal().contains("is not a record of hashes"));
}

/// A task with one file at the addresses given.
fn small(mirrors: &[String]) -> RawTask {
    let mut task = task();
    task.files.truncate(1);
    // The files of these tests have any size and kind.
    task.files[0].name = "small.bin".to_owned();
    task.files[0].bytes = 0;
    task.files[0].mirrors = mirrors.to_vec();
    task
}

fn fetch(task: &RawTask, mirrors: &Mirrors, raw: &Path) -> Result<Vec<Fetched>, Error> {
    let patience =
        Patience { pause: Duration::ZERO, bytes: Duration::from_millis(500), ..Patience::default() };
    download_with(&Client::new(patience), task, mirrors, raw, &Silent)
}

#[test]
fn files_are_fetched_once_recorded_and_compared_afterwards() {
    let place = tempfile::tempdir().unwrap();
    let raw = place.path().join("raw");
    let server = Server::new(|request| match request.path.as_str() {
        "/old" => answer(200, &[], b"data"),
        "/new" => answer(200, &[], b"other data"),
        _ => answer(404, &[], b"no"),
    });
    let (gone, old, new) = (server.address("/gone"), server.address("/old"), server.address("/new"));
    let fetched = fetch(&small(&[gone.clone(), old.clone()]), &Mirrors::default(), &raw).unwrap();
    let [file] = fetched.as_slice() else { panic!("{fetched:?}") };
    assert_eq!((file.bytes, file.copied, file.first), (4, false, true));
    assert_eq!(file.address.as_deref(), Some(old.as_str()));
    assert_eq!(file.sha256, dash_store::sha256(b"data"));
    assert_eq!(std::fs::read(raw.join("small.bin")).unwrap(), b"data");
    assert!(!raw.join("small.bin.part").exists());
    assert!(!raw.join("small.bin.part.json").exists());

    // Files that are present stay, and are compared.
    let again = fetch(&small(std::slice::from_ref(&new)), &Mirrors::default(), &raw).unwrap();
    assert_eq!((again[0].address.as_deref(), again[0].first), (None, false));

    // Another file is not taken for the one on record, and leaves nothing to be continued.
    dash_store::remove(&raw.join("small.bin")).unwrap();
    let error = fetch(&small(std::slice::from_ref(&new)), &Mirrors::default(), &raw).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("small.bin: sha256 is"), "{error}");
    let left: Vec<_> = std::fs::read_dir(&raw).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == HASHES_FILE || name == ".lock"), "{left:?}");

    // Mirrors that the user names go first.
    let mirrors = Mirrors([("small.bin".to_owned(), vec![old.clone()])].into());
    let fetched = fetch(&small(&[new]), &mirrors, &raw).unwrap();
    assert_eq!((fetched[0].address.as_deref(), fetched[0].first), (Some(old.as_str()), false));
}

#[test]
fn files_without_an_address_and_unpacked_ones_are_told_about() {
    let place = tempfile::tempdir().unwrap();
    let raw = place.path().join("raw");
    let error = fetch(&small(&[]), &Mirrors::default(), &raw).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("no address is known of small.bin"), "{error}");
    assert!(!raw.exists());
    let mut unpacked = small(&[]);
    unpacked.files[0].alternatives = vec!["unpacked/".to_owned()];
    dash_store::publish_file(&raw.join("unpacked/x"), b"1").unwrap();
    assert_eq!(fetch(&unpacked, &Mirrors::default(), &raw).unwrap(), []);
}

#[test]
fn another_process_may_not_fetch_into_the_same_folder() {
    let place = tempfile::tempdir().unwrap();
    let _held = Lock::acquire(place.path()).unwrap();
    let error = fetch(&small(&["http://127.0.0.1:1/".to_owned()]), &Mirrors::default(), place.path());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Locked);
}

#[test]
fn a_numpy_file_of_unknown_size_must_be_whole() {
    let place = tempfile::tempdir().unwrap();
    let whole = crate::testing::npy_f32(&[3, 2], &[0.0; 6]);
    let cut = whole[..whole.len() - 4].to_vec();
    let server = Server::new(move |request| match request.path.as_str() {
        "/text" => answer(200, &[], b"not found!"),
        "/cut" => answer(200, &[], &cut),
        _ => answer(200, &[], &whole),
    });
    let task = |paths: &[&str]| {
        let mut task = small(&paths.iter().map(|path| server.address(path)).collect::<Vec<_>>());
        task.files[0].name = "small.npy".to_owned();
        task
    };
    for path in ["/text", "/cut"] {
        let error = fetch(&task(&[path]), &Mirrors::default(), place.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains("small.npy: "), "{error}");
        assert!(!place.path().join(HASHES_FILE).exists());
    }
    let fetched = fetch(&task(&["/text", "/cut", "/whole"]), &Mirrors::default(), place.path()).unwrap();
    assert!(fetched[0].address.as_ref().unwrap().ends_with("/whole"));
}

#[cfg(unix)]
#[test]
fn nothing_is_fetched_through_links_or_over_special_files() {
    let place = tempfile::tempdir().unwrap();
    let (raw, precious) = (place.path().join("raw"), place.path().join("precious"));
    dash_store::publish_file(&precious, b"precious").unwrap();
    dash_store::publish_file(&raw.join("other"), b"").unwrap();
    let server = Server::new(|_| answer(200, &[], b"data"));
    for (name, to) in [
        ("small.bin.part", precious.as_path()),
        ("small.bin.part", Path::new("/dev/full")),
        ("small.bin", Path::new("/dev/null")),
        ("small.bin", Path::new("nowhere")),
        (HASHES_FILE, Path::new("/dev/zero")),
    ] {
        let link = raw.join(name);
        std::os::unix::fs::symlink(to, &link).unwrap();
        let error = fetch(&small(&[server.address("/")]), &Mirrors::default(), &raw).unwrap_err();
        assert!(error.to_string().contains(name) && error.to_string().contains("remove it"), "{error}");
        assert!(link.is_symlink());
        dash_store::remove(&link).unwrap();
    }
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
    assert_eq!(server.seen().len(), 0);
}

#[test]
fn a_published_hash_decides_and_not_what_came_first() {
    let place = tempfile::tempdir().unwrap();
    let raw = place.path().join("raw");
    let server = Server::new(|request| match request.path.as_str() {
        "/bad" => answer(200, &[], b"dada"),
        _ => answer(200, &[("ETag", "\"a\"")], b"data"),
    });
    let published = |mirrors: &[&str]| {
        let mut task = small(&mirrors.iter().map(|path| server.address(path)).collect::<Vec<_>>());
        task.files[0].sha256 = Some(dash_store::sha256(b"data"));
        task.files[0].bytes = 4;
        task
    };
    // Nothing wrong is recorded, and the second mirror is asked.
    let error = fetch(&published(&["/bad"]), &Mirrors::default(), &raw).unwrap_err();
    assert!(error.to_string().contains("small.bin: sha256 is"), "{error}");
    assert!(matches!(error, Error::Unpublished { .. }) && !raw.join(HASHES_FILE).exists());
    let fetched = fetch(&published(&["/bad", "/good"]), &Mirrors::default(), &raw).unwrap();
    assert!(fetched[0].published && fetched[0].address.as_ref().unwrap().ends_with("/good"));

    // A wrong hash on record gives way, and so does a part that somebody has changed.
    dash_store::remove(&raw.join("small.bin")).unwrap();
    let wrong = Known { bytes: 4, sha256: dash_store::sha256(b"dada") };
    write(&raw, &[("small.bin".to_owned(), wrong)].into()).unwrap();
    dash_store::publish_file(&raw.join("small.bin.part"), b"dax").unwrap();
    fetch(&published(&["/good"]), &Mirrors::default(), &raw).unwrap();
    assert_eq!(std::fs::read(raw.join("small.bin")).unwrap(), b"data");
    assert_eq!(read(&raw).unwrap()["small.bin"].sha256, dash_store::sha256(b"data"));
    // Files that are present are compared, too.
    dash_store::publish_file(&raw.join("small.bin"), b"dada").unwrap();
    let error = fetch(&published(&["/good"]), &Mirrors::default(), &raw).unwrap_err();
    assert!(error.hint().unwrap().contains("remove it and run"), "{error}");
}

#[test]
fn files_of_mirrors_are_checked() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("mirrors.toml");
    let read = |text: &str| {
        dash_store::publish_file(&path, text.as_bytes()).unwrap();
        Mirrors::read(&path)
    };
    let mirrors = read("\"challenge2017.pkl\" = [\"https://a/b\"]").unwrap();
    assert_eq!(mirrors.0["challenge2017.pkl"], ["https://a/b"]);
    for (text, message) in [
        ("\"challenge.pkl\" = []", "no task has a raw file called `challenge.pkl`"),
        ("\"challenge2017.pkl\" = \"https://a/b\"", "a list of addresses per file is expected"),
        ("[", "a list of addresses per file is expected"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(message), "{error}");
    }
    assert_eq!(Mirrors::read(place.path()).unwrap_err().kind(), ErrorKind::Data);
}
