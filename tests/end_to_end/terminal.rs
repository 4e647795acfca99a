//! Limits of the system, signals, event files, errors for programs, and hostile text in files.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

use super::{bench, stages, tiny};
use dash_tests::{Bench, Ran, TINY};
use serde_json::Value;
use std::{
    fs,
    io::Read,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const BINARY: &str = env!("CARGO_BIN_EXE_dash-nas");
const ONE: [&str; 6] = ["run", "tiny.toml", "--seeds", "0", "--set", "methods=[\"dash\"]"];

/// Runs a bash script in the folder of a bench, with the program as `$0`. Kills it if it hangs.
fn shell(bench: &Bench, script: &str) -> Ran {
    let mut child = Command::new("bash")
        .args(["-c", script, BINARY])
        .current_dir(bench.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = vec![];
            from.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = read(Box::new(child.stdout.take().unwrap()));
    let err = read(Box::new(child.stderr.take().unwrap()));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > Duration::from_secs(120) => {
                child.kill().unwrap();
                panic!("{script} hangs");
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    Ran { code: status.code(), stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(120), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Starts a run that would train for hours, and waits until it trains.
fn training(bench: &Bench, script: &str, arguments: &str) -> Child {
    let child = Command::new("sh")
        .args([
            "-c",
            &format!("{script} run tiny.toml --seeds 0 --quiet --set retrain.epochs=100000 {arguments}"),
            BINARY,
        ])
        .current_dir(bench.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let progress = bench.path("runs/tiny/0/tune/stage.json");
    wait_for("the end of tuning", || progress.exists());
    wait_for("the retraining", || {
        let seen: Value =
            serde_json::from_str(&bench.run(&["status", "--format", "json"]).well().stdout).unwrap();
        seen["runs"].as_array().unwrap().iter().any(|run| run["progress"]["stage"] == "retrain")
    });
    child
}

#[test]
#[cfg(unix)]
fn a_hangup_stops_a_run_at_a_checkpoint_unless_it_is_ignored() {
    let bench = tiny();
    let mut run = training(&bench, "exec \"$0\"", "");
    signal(&run, "HUP");
    assert_eq!(run.wait().unwrap().code(), Some(75));
    assert!(bench.path("runs/tiny/0/.retrain.checkpoint/manifest.json").exists());
    // `nohup` starts it like this.
    let mut run = training(&bench, "trap '' HUP; exec \"$0\"", "");
    signal(&run, "HUP");
    std::thread::sleep(Duration::from_millis(500));
    assert!(run.try_wait().unwrap().is_none(), "an ignored signal ended the run");
    signal(&run, "TERM");
    assert_eq!(run.wait().unwrap().code(), Some(75));
}

#[test]
#[cfg(unix)]
fn a_second_signal_ends_a_run_at_once() {
    let bench = tiny();
    let mut run = training(&bench, "exec \"$0\"", "");
    // A stopped process cannot reach a checkpoint between the two signals.
    for name in ["STOP", "HUP", "INT", "CONT"] {
        signal(&run, name);
    }
    assert_eq!(run.wait().unwrap().code(), Some(130));
}

/// The prefix of a command that applies process limits to it: root has none.
fn as_a_user(bench: &Bench) -> Option<&'static str> {
    let id = Command::new("id").arg("-u").output().ok()?;
    if id.stdout != b"0\n" {
        return Some("");
    }
    // A user without processes, which may not be able to read the build folder.
    fs::copy(BINARY, bench.path("dash-nas")).ok()?;
    let user = "setpriv --reuid 54321 --regid 54321 --clear-groups";
    (shell(bench, &format!("chmod 777 . && {user} test -x ./dash-nas -a -w .")).code == Some(0))
        .then_some(user)
}

#[test]
#[cfg(target_os = "linux")]
fn refused_threads_are_an_error_before_anything_is_trained() {
    let bench = bench();
    bench.write("tiny.toml", TINY.replace("\"dash\", \"backbone\"", "\"dash\"").as_bytes());
    let Some(user) = as_a_user(&bench) else { return };
    let program = if user.is_empty() { BINARY.to_owned() } else { "./dash-nas".to_owned() };
    let mut codes = vec![];
    for most in 1..=12 {
        let limited = |arguments: &str| {
            let ran =
                shell(&bench, &format!("{user} bash -c 'ulimit -u {most}; exec {program} {arguments}'"));
            assert!(!ran.stderr.contains("panicked"), "{most} {arguments}: {ran:#?}");
            ran
        };
        let _ = fs::remove_dir_all(bench.path("runs"));
        let ran = limited("run tiny.toml --seeds 0 --threads 2 --set retrain.epochs=1");
        if ran.code != Some(0) {
            ran.failed(6, &["more threads", "ulimit -u", "--threads"]);
            assert!(!bench.path("runs").exists(), "{most}: a run was started");
        }
        codes.push(ran.code);
        // Commands that compute little work without threads, or report an error.
        for arguments in
            ["status", "run tiny.toml --dry-run", "explain tiny.toml search", "report tiny.toml --seeds 0"]
        {
            let ran = limited(arguments);
            assert!(matches!(ran.code, Some(0 | 4 | 6)), "{most} {arguments}: {ran:#?}");
        }
    }
    println!("{codes:?}");
    assert_eq!(codes[0], Some(6));
    // More threads never fail where fewer succeed.
    assert!(codes.is_sorted_by(|a, b| a >= b), "{codes:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn every_pool_of_threads_is_bounded() {
    let bench = tiny();
    let environment =
        "POLARS_MAX_THREADS=40 POLARS_ASYNC_THREAD_COUNT=many RAYON_NUM_THREADS=40 CANDLE_NUM_THREADS=40";
    for (arguments, workers) in
        [("", std::thread::available_parallelism().unwrap().get()), ("--threads 1", 1)]
    {
        let mut run = training(&bench, &format!("{environment} exec \"$0\""), arguments);
        let threads = fs::read_dir(format!("/proc/{}/task", run.id())).unwrap().count();
        signal(&run, "TERM");
        run.wait().unwrap();
        // The first thread, the workers, and two of polars.
        assert_eq!(threads, 1 + workers + 2, "{arguments}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_limit_of_the_size_of_files_is_an_error_with_the_file() {
    let bench = tiny();
    // The dataset is smaller, a checkpoint is larger.
    let ran = shell(&bench, "ulimit -f 300; exec \"$0\" run tiny.toml --seeds 0 --quiet");
    assert_eq!(ran.code, Some(6), "{ran:#?}");
    assert!(ran.stderr.contains("runs/tiny/") && ran.stderr.contains("File too large"), "{ran:#?}");
    assert!(ran.stderr.contains("hint: ") && ran.stderr.contains("ulimit -f"), "{ran:#?}");
    bench.run(&ONE).well();
}

#[test]
fn events_of_a_killed_run_and_of_two_at_once_stay_apart() {
    let bench = tiny();
    bench.write("events", b"{\"event\":\"st");
    let all = [&ONE[..], &["--events", "events", "--quiet"]].concat();
    let other = TINY.replace("name = \"tiny\"", "name = \"other\"");
    bench.write("other.toml", other.as_bytes());
    let mut second = bench.start(&[
        "run",
        "other.toml",
        "--seeds",
        "0",
        "--events",
        "events",
        "--quiet",
        "--set",
        "retrain.epochs=1",
    ]);
    bench.run(&all).well();
    assert_eq!(second.wait().unwrap().code(), Some(0));
    let text = fs::read_to_string(bench.path("events")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("{\"event\":\"st"));
    let events: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let finished = |run: &str| {
        events.iter().filter(|event| event["event"] == "stage-finished" && event["run"] == run).count()
    };
    assert_eq!((finished("tiny/0"), finished("other/0")), (3, 5));
}

#[test]
#[cfg(target_os = "linux")]
fn events_that_cannot_be_written_are_reported_once_and_by_the_exit_code() {
    let bench = tiny();
    // Space for a few letters of the first event.
    let mut before = vec![b' '; (8 << 20) - 10];
    before.push(b'\n');
    bench.write("events", &before);
    let run = "run tiny.toml --seeds 0 --set 'methods=[\"dash\"]' --events events --quiet";
    let ran = shell(&bench, &format!("ulimit -f 8192; exec \"$0\" {run}"));
    ran.failed(6, &["warning: cannot write events: File too large", "the run continues"]);
    assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{}", ran.stderr);
    // The run itself succeeded.
    assert!(ran.stdout.contains("report: reports/tiny/index.html"), "{ran:#?}");
    assert!(stages(&bench.run(&ONE).well(), "started").is_empty());
    // With space again, the next run does not continue the partial line.
    bench.run(&[&ONE[..], &["--events", "events"]].concat()).well();
    let text = fs::read_to_string(bench.path("events")).unwrap();
    let mut lines = text.lines().skip(1);
    assert_eq!(lines.next().unwrap().len(), 9);
    assert!(lines.clone().count() > 0);
    assert!(lines.all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
fn more_threads_than_any_machine_has_are_refused_at_once() {
    let bench = tiny();
    for number in ["0", "4097", "1000000", "99999999999999999999"] {
        bench.run(&["run", "tiny.toml", "--threads", number]).failed(2, &["--threads"]);
    }
}

#[test]
fn errors_are_one_json_object_for_programs() {
    let bench = tiny();
    let fails = |arguments: &[&str], code: i32| -> Value {
        let ran = bench.run(&[arguments, &["--format", "json"]].concat());
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
        serde_json::from_str(&ran.stderr).unwrap()
    };
    let error = fails(&["run", "tiny.toml", "--set", "search.epoch=3"], 3);
    assert_eq!((&error["code"], &error["kind"]), (&3.into(), &"configuration".into()));
    assert_eq!(error["where"], "--set search.epoch=3");
    assert!(error["message"].as_str().unwrap().ends_with("did you mean `epochs`?"));
    assert!(error["hint"].as_str().unwrap().contains("dash-nas schema"));
    let error = fails(&["report", "nothing.toml"], 3);
    assert_eq!(error["where"], "nothing.toml");
}

#[test]
fn the_version_names_the_build() {
    let bench = bench();
    let short = bench.run(&["-V"]).well().stdout;
    assert!(short.starts_with("dash-nas 0.") && short.trim_end().ends_with(')'), "{short}");
    let long = bench.run(&["--version"]).well().stdout;
    for word in [short.trim_end(), "\ncommit: ", "\nrustc: rustc 1.", "\ntarget: ", "\nprofile: "] {
        assert!(long.contains(word), "{word:?} is missing in {long}");
    }
}

/// Text that clears a screen, sets a title, reverses the writing direction, starts a line, and is a formula.
const HOSTILE: &str = "=cmd|' /C calc'!A0\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{7f}\nerror: x";

fn hostile(value: &mut Value, path: &str, spared: &[&str]) {
    match value {
        Value::String(text) if !spared.contains(&path) => *text = HOSTILE.to_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| hostile(item, path, spared)),
        Value::Object(fields) => fields.iter_mut().for_each(|(key, field)| hostile(field, key, spared)),
        _ => {}
    }
}

#[test]
fn hostile_text_in_files_is_escaped_for_terminals_and_spreadsheets() {
    let bench = tiny();
    bench.run(&ONE).well();
    let commands: [&[&str]; 6] = [
        &["status"],
        &["report", "tiny.toml", "--seeds", "0"],
        &["run", "tiny.toml", "--seeds", "0", "--dry-run"],
        &["explain", "tiny.toml", "retrain", "--seeds", "0"],
        &["explain", "tiny.toml", "dataset", "--seeds", "0"],
        &["data", "inspect", "runs/tiny/dataset"],
    ];
    for file in [
        "runs/tiny/0/.lock",
        "runs/tiny/.lock",
        "runs/tiny/dataset/stage.json",
        "runs/tiny/0/search/stage.json",
        "runs/tiny/0/retrain/stage.json",
        "runs/tiny/0/search/architecture.json",
        "runs/tiny/0/tune/hyperparameters.json",
        "runs/tiny/0/retrain/metrics.json",
        "runs/tiny/dataset/dataset.json",
    ] {
        let path = bench.path(file);
        let Ok(original) = fs::read(&path) else { continue };
        for spared in
            [&[][..], &["stage", "name", "file", "path", "recipe", "kind", "split", "protocol", "method"]]
        {
            let bytes = match serde_json::from_slice::<Value>(&original) {
                Ok(mut value) => {
                    hostile(&mut value, "", spared);
                    serde_json::to_vec(&value).unwrap()
                }
                Err(_) => HOSTILE.as_bytes().to_vec(),
            };
            fs::write(&path, bytes).unwrap();
            for arguments in commands {
                for format in [&[][..], &["--format", "json"]] {
                    let ran = bench.run(&[arguments, format].concat());
                    for text in [&ran.stdout, &ran.stderr] {
                        let bad = text.chars().find(|c| {
                            (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c)
                        });
                        assert_eq!(bad, None, "{file} {arguments:?}: {text:?}");
                        assert!(
                            !text.lines().any(|line| line == "error: x"),
                            "{file} {arguments:?}: {text:?}"
                        );
                    }
                    assert!(ran.code.is_some_and(|code| code != 101), "{file} {arguments:?}: {ran:#?}");
                    if let Ok(text) = fs::read_to_string(bench.path("reports/tiny/results.csv")) {
                        let cells = text.lines().flat_map(|line| line.split(','));
                        let formula = cells.map(|cell| cell.trim_matches('"')).find(|cell| {
                            cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err()
                        });
                        assert_eq!(formula, None, "{file} {arguments:?}");
                    }
                }
            }
        }
        fs::write(&path, original).unwrap();
    }
}
