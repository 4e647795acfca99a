//! Another open file stands for another process: flock does not distinguish them.

use super::*;
use std::{cell::Cell, os::unix::fs::symlink, time::SystemTime};

fn holder(pid: u32, host: &str) -> Holder {
    Holder { pid, host: host.into(), since: "then".into(), own: false }
}

fn write_holder(dir: &Path, holder: &Holder) {
    crate::publish_file(&dir.join(LOCK_FILE), &serde_json::to_vec(holder).unwrap()).unwrap();
}

/// Acts as another process: takes the lock without registering it in this process.
fn locked_elsewhere(dir: &Path) -> File {
    let file = File::open(dir.join(LOCK_FILE)).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    file
}

#[test]
fn the_second_process_learns_the_holder_and_may_take_the_lock_later() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("runs/x/0");
    assert_eq!(Lock::holder(&run).unwrap(), None);
    let lock = Lock::acquire(&run).unwrap();
    assert!(matches!(Lock::acquire(&run), Err(Error::HeldHere { path }) if path == run));
    let own = Lock::holder(&run).unwrap().unwrap();
    assert_eq!((own.pid, own.own), (std::process::id(), true));
    drop(lock);
    assert_eq!(Lock::holder(&run).unwrap(), None);
    write_holder(&run, &holder(7, "elsewhere"));
    let theirs = locked_elsewhere(&run);
    let named = holder(7, "elsewhere");
    assert!(matches!(Lock::acquire(&run), Err(Error::Locked { holder, .. }) if holder == named));
    assert_eq!(Lock::holder(&run).unwrap(), Some(named));
    drop(theirs);
    Lock::acquire(&run).unwrap();
}

#[test]
fn the_text_of_a_lock_file_does_not_lock() {
    let dir = tempfile::tempdir().unwrap();
    // Another host, the parent (which lives), this process, a torn text, and rubbish.
    for (pid, host) in
        [(1, "elsewhere"), (std::os::unix::process::parent_id(), &this_host()), (std::process::id(), "x")]
    {
        write_holder(dir.path(), &holder(pid, host));
        assert_eq!(Lock::holder(dir.path()).unwrap(), None);
        Lock::acquire(dir.path()).unwrap();
    }
    for text in [&b"{\"pid\": 12"[..], b"\xff\xfe", &[b' '; 10_000]] {
        crate::publish_file(&dir.path().join(LOCK_FILE), text).unwrap();
        let lock = Lock::acquire(dir.path()).unwrap();
        assert_eq!(Lock::holder(dir.path()).unwrap().unwrap().pid, std::process::id());
        drop(lock);
    }
}

#[test]
fn an_equal_process_number_is_not_taken_for_this_process() {
    let dir = tempfile::tempdir().unwrap();
    write_holder(dir.path(), &Holder::this_process());
    let _theirs = locked_elsewhere(dir.path());
    let found = Lock::holder(dir.path()).unwrap().unwrap();
    assert_eq!((found.pid, found.own), (std::process::id(), false));
    assert!(matches!(Lock::acquire(dir.path()), Err(Error::Locked { holder, .. }) if !holder.own));
}

#[test]
fn a_holder_without_a_text_is_unknown_and_its_text_cannot_move_the_cursor() {
    let dir = tempfile::tempdir().unwrap();
    for (text, message) in [
        (&b""[..], "is in use by another process"),
        (
            br#"{"pid": 3, "host": "\u001b[2Jx", "since": "\n"}"#,
            "is in use by process 3 on \u{fffd}[2Jx since \u{fffd}",
        ),
    ] {
        crate::publish_file(&dir.path().join(LOCK_FILE), text).unwrap();
        let _theirs = locked_elsewhere(dir.path());
        let error = Lock::acquire(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with(message), "{error}");
    }
}

#[test]
fn lock_files_that_lead_elsewhere_or_are_special_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    crate::publish_file(&at("mine"), b"precious").unwrap();
    let make: [&dyn Fn(&Path); 6] = [
        &|lock| symlink(at("mine"), lock).unwrap(),
        &|lock| symlink(at("made"), lock).unwrap(),
        &|lock| symlink("/dev/null", lock).unwrap(),
        &|lock| fs::hard_link(at("mine"), lock).unwrap(),
        &|lock| crate::plain::tests::fifo(lock),
        &|lock| fs::create_dir(lock).unwrap(),
    ];
    for (i, make) in make.into_iter().enumerate() {
        let run = at(&i.to_string());
        fs::create_dir(&run).unwrap();
        make(&run.join(LOCK_FILE));
        let error = Lock::acquire(&run).unwrap_err();
        assert!(matches!(error, Error::NotPlain { .. }), "{i}: {error}");
        assert!(i == 3 || matches!(Lock::holder(&run), Err(Error::NotPlain { .. })), "{i}");
    }
    assert_eq!(fs::read(at("mine")).unwrap(), b"precious");
    assert!(!at("made").exists());
}

#[test]
fn one_folder_under_two_names_is_locked_once() {
    let dir = tempfile::tempdir().unwrap();
    let (run, link) = (dir.path().join("scratch"), dir.path().join("0"));
    fs::create_dir(&run).unwrap();
    symlink(&run, &link).unwrap();
    let lock = Lock::acquire(&run).unwrap();
    assert!(matches!(Lock::acquire(&link), Err(Error::HeldHere { path }) if path == link));
    assert!(Lock::holder(&link).unwrap().is_some_and(|holder| holder.own));
    drop(lock);
    Lock::acquire(&link).unwrap();
}

#[test]
fn a_folder_that_is_deleted_and_created_again_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let first = Lock::acquire(&run).unwrap();
    first.still_mine().unwrap();
    crate::remove(&run).unwrap();
    assert!(matches!(first.still_mine(), Err(Error::LockLost { .. })));
    let second = Lock::acquire(&run).unwrap();
    second.still_mine().unwrap();
    assert!(matches!(first.still_mine(), Err(Error::LockLost { .. })));
    // The first to end does not take the lock of the other.
    drop(first);
    second.still_mine().unwrap();
    assert!(Lock::holder(&run).unwrap().is_some_and(|holder| holder.own));
}

#[test]
fn reading_the_holder_does_not_make_others_fail() {
    let dir = tempfile::tempdir().unwrap();
    drop(Lock::acquire(dir.path()).unwrap());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    Lock::holder(dir.path()).unwrap();
                    sleep(Duration::from_micros(50));
                }
            });
        }
        for _ in 0..200 {
            drop(Lock::acquire(dir.path()).unwrap());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn waiting_reports_the_holder_and_ends_without_signs_of_progress() {
    let dir = tempfile::tempdir().unwrap();
    write_holder(dir.path(), &holder(9, "pod"));
    let theirs = Cell::new(Some(locked_elsewhere(dir.path())));
    let calls = Cell::new(0);
    let report = |holder: &Holder, _: Duration| {
        assert_eq!(holder.to_string(), "process 9 on pod since then");
        calls.set(calls.get() + 1);
    };
    let still = || None;
    let patience = |limit, sign| Patience { limit, sign, report: &report, report_every: Duration::ZERO };
    let given_up = Lock::wait(dir.path(), &patience(Duration::ZERO, &still));
    assert!(matches!(given_up, Err(Error::Locked { holder, .. }) if holder.pid == 9));
    assert_eq!(calls.get(), 0);
    // As long as there are signs of work it waits, whatever the limit: here until the third.
    let signs = Cell::new(0);
    let working = || {
        signs.set(signs.get() + 1);
        if signs.get() == 3 {
            theirs.take();
        }
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(signs.get()))
    };
    Lock::wait(dir.path(), &patience(Duration::from_secs(3600), &working)).unwrap();
    assert!(calls.get() >= 1);
}
