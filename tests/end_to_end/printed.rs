//! Snapshots of printed texts: help, errors, plans, explanations, status.
//!
//! `INSTA_UPDATE=always cargo test -p dash-cli --test end_to_end printed` writes them again; the difference shows in git.

use super::{bench, tiny};
use dash_tests::Ran;

/// Replaces what differs from run to run or from machine to machine (dates, times, sizes of work space, hashes), and the
/// layout that depends on it.
fn redact(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let redacted = words.iter().enumerate().map(|(at, word)| {
            let unit = words.get(at + 1).map(|next| next.trim_end_matches([',', ')', '"']));
            let number = word.trim_start_matches('(');
            match unit {
                Some("s") if number.parse::<f64>().is_ok() => word.replace(number, "[seconds]"),
                Some("MB") if number.parse::<f64>().is_ok() => word.replace(number, "[size]"),
                _ => redact_word(word),
            }
        });
        let indent = " ".repeat(line.len() - line.trim_start_matches(' ').len());
        lines.push(indent + &redacted.collect::<Vec<_>>().join(" "));
    }
    // Rules of tables are as wide as their cells.
    lines
        .retain(|line| line.is_empty() || line.contains(|c: char| !matches!(c, '─' | '═' | '╌' | '┄' | ' ')));
    lines.join("\n")
}

/// Replaces dates and hashes in a word.
fn redact_word(word: &str) -> String {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if bare.len() >= 19 && bare.get(4..5) == Some("-") && bare.get(10..11) == Some("T") {
        return word.replace(bare, "[date]");
    }
    let parts = word.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).map(|part| {
        let bare = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let digits = bare.chars().filter(char::is_ascii_digit).count();
        if bare.len() == 14 && digits == 14 {
            part.replace(bare, "[date]")
        } else if bare.len() >= 12 && digits > 0 && bare.chars().all(|c| c.is_ascii_hexdigit()) {
            part.replace(bare, "[hash]")
        } else {
            part.to_owned()
        }
    });
    parts.collect()
}

fn show(ran: &Ran) -> String {
    let code = ran.code.map_or("signal".to_owned(), |code| code.to_string());
    let text = format!("exit code: {code}\n---- stdout\n{}\n---- stderr\n{}", ran.stdout, ran.stderr);
    redact(&text)
}

#[test]
fn help() {
    let commands: [&[&str]; 16] = [
        &[],
        &["run"],
        &["check"],
        &["status"],
        &["runs"],
        &["runs", "prune"],
        &["explain"],
        &["report"],
        &["data"],
        &["data", "ingest"],
        &["data", "list"],
        &["data", "fetch"],
        &["data", "inspect"],
        &["data", "verify"],
        &["bench"],
        &["schema"],
    ];
    for command in commands {
        let ran = bench().run(&[command, &["--help"]].concat()).well();
        let name = if command.is_empty() { "dash-nas".to_owned() } else { command.join("-") };
        // Trailing blanks are not visible in a terminal.
        let text: Vec<&str> = ran.stdout.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(format!("help-{name}"), text.join("\n"));
    }
}

#[test]
fn errors() {
    let bench = tiny();
    let fails = |name: &str, arguments: &[&str]| {
        insta::assert_snapshot!(format!("error-{name}"), show(&bench.run(arguments)));
    };
    fails("usage", &["run", "tiny.toml", "--threads", "0"]);
    fails("no-file", &["run", "missing.toml"]);
    fails("unknown-key", &["run", "tiny.toml", "--set", "search.epoch=3"]);
    fails("unknown-key-json", &["run", "tiny.toml", "--set", "search.epoch=3", "--format", "json"]);
    fails("unknown-profile", &["run", "tiny.toml", "--profile", "long"]);
    fails("unknown-stage", &["explain", "tiny.toml", "train"]);
    fails("no-stage", &["explain", "tiny.toml", "backbone-tune", "--set", "methods=[\"dash\"]"]);
    fails("no-result", &["report", "tiny.toml"]);
    fails("no-runs", &["runs", "prune", "moon"]);
    fails("no-dataset", &["data", "inspect", "tiny.toml"]);
    fails("no-gpu", &["run", "tiny.toml", "--device", "cuda:0"]);
    fails("no-raw-files", &["data", "fetch", "satellite", "--from", "."]);
}

#[test]
fn plans_explanations_and_status() {
    let bench = tiny();
    let one = ["--seeds", "0", "--set", "methods=[\"dash\"]"];
    let shows = |name: &str, arguments: &[&str]| {
        insta::assert_snapshot!(name.to_owned(), show(&bench.run(arguments).well()));
    };
    shows("check", &[&["check", "tiny.toml"], &one[..]].concat());
    shows("plan-new", &[&["run", "tiny.toml", "--dry-run"], &one[..]].concat());
    shows("status-empty", &["status"]);
    bench.run(&[&["run", "tiny.toml", "--quiet"], &one[..]].concat()).well();
    let changed = [&one[..], &["--set", "retrain.epochs=3"]].concat();
    bench.run(&[&["run", "tiny.toml", "--quiet"], &changed[..]].concat()).well();
    shows("plan-changed", &[&["run", "tiny.toml", "--dry-run"], &one[..]].concat());
    shows("explain", &[&["explain", "tiny.toml", "retrain"], &one[..]].concat());
    shows("explain-json", &[&["explain", "tiny.toml", "retrain", "--format", "json"], &one[..]].concat());
    shows("status", &["status"]);
    shows("prune", &["runs", "prune", "--dry-run", "--format", "json"]);
}
