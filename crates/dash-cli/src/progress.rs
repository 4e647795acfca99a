//! Events -> progress on standard error, and the file of `--events`.

use crate::{args::Execution, error::Error, output::seconds, signals, tensorboard::TensorBoard};
use dash_core::event::{Event, Listener};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Who hears the events of a run.
pub(crate) fn listener(args: &Execution) -> Result<Box<dyn Listener>, Error> {
    let shown: Box<dyn Listener> = if args.quiet {
        Box::new(Lines { quiet: true, ..Lines::default() })
    } else if io::stderr().is_terminal() {
        Box::new(Bar::new())
    } else {
        Box::new(Lines::default())
    };
    let mut all = vec![shown];
    if let Some(path) = &args.events {
        all.push(Box::new(Log { file: Mutex::new(dash_store::append(path)?), start: Instant::now() }));
    }
    if let Some(folder) = &args.tensorboard {
        all.push(Box::new(TensorBoard::new(folder)?));
    }
    Ok(Box::new(All(all)))
}

/// Who hears how many bytes of a file have come.
pub(crate) fn bytes(quiet: bool) -> Box<dyn Listener> {
    if quiet {
        Box::new(Lines { quiet: true, ..Lines::default() })
    } else if io::stderr().is_terminal() {
        let bar = ProgressBar::new(0);
        let template = "{prefix} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Box::new(BytesBar(bar))
    } else {
        Box::new(BytesLines::default())
    }
}

struct BytesBar(ProgressBar);

impl Listener for BytesBar {
    fn on(&self, event: &Event) {
        match event {
            Event::Progress { what, done, total } => {
                if self.0.prefix() != *what {
                    self.0.reset();
                    self.0.set_prefix(what.clone());
                }
                self.0.set_length((*total).max(*done) as u64);
                self.0.set_position(*done as u64);
            }
            other => self.0.println(describe(other)),
        }
    }
}

impl Drop for BytesBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A line per file and tenth of it, for logs.
#[derive(Default)]
struct BytesLines(Mutex<(String, usize)>);

impl Listener for BytesLines {
    fn on(&self, event: &Event) {
        let line = match event {
            Event::Progress { what, done, total } => {
                let tenth = done.saturating_mul(10).checked_div(*total).unwrap_or(0);
                let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if last.0 == *what && last.1 == tenth {
                    return;
                }
                *last = (what.clone(), tenth);
                let size = |bytes: usize| crate::data::size(bytes as u64);
                match total {
                    0 => format!("{what}: {}", size(*done)),
                    total => format!("{what}: {} of {}", size(*done), size(*total)),
                }
            }
            other => describe(other),
        };
        // There is nowhere to tell that standard error is closed.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

struct All(Vec<Box<dyn Listener>>);

impl Listener for All {
    fn on(&self, event: &Event) {
        signals::hear(event);
        self.0.iter().for_each(|listener| listener.on(event));
    }

    fn stopping(&self) -> bool {
        signals::stopping()
    }
}

/// One JSON object per event, with the seconds since the start of the program.
struct Log {
    file: Mutex<File>,
    start: Instant,
}

impl Listener for Log {
    fn on(&self, event: &Event) {
        let Ok(mut value) = serde_json::to_value(event) else { return };
        if let Some(fields) = value.as_object_mut() {
            fields.insert("elapsed".into(), self.start.elapsed().as_secs_f64().into());
        }
        // One write per line: lines of a process never mix. A full disk must not end the run.
        let _ = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(format!("{value}\n").as_bytes());
    }
}

/// One line per stage and epoch, for logs.
#[derive(Default)]
struct Lines {
    quiet: bool,
    stage: Mutex<String>,
}

impl Listener for Lines {
    fn on(&self, event: &Event) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::StageStarted { stage: name, .. } = event {
            stage.clone_from(name);
        }
        let important = matches!(event, Event::Warning { .. } | Event::StageStopped { .. });
        // The epochs of tuning trials are told by the trials.
        let minor = matches!(event, Event::Step { .. } | Event::Progress { .. })
            || (matches!(event, Event::Epoch { .. }) && stage.ends_with("tune"));
        if important || !(self.quiet || minor) {
            // There is nowhere to tell that standard error is closed.
            let _ = writeln!(io::stderr(), "{}", describe(event));
        }
    }
}

/// One bar for the stage at work; finished stages scroll up.
struct Bar {
    bar: ProgressBar,
    stage: Mutex<String>,
}

impl Bar {
    fn new() -> Bar {
        let bar = ProgressBar::new(1);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {wide_msg} {elapsed}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        Bar { bar, stage: Mutex::default() }
    }
}

impl Listener for Bar {
    fn on(&self, event: &Event) {
        let bar = &self.bar;
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let tuning = stage.ends_with("tune");
        match event {
            Event::StageStarted { run, stage: name, .. } => {
                stage.clone_from(name);
                bar.reset();
                bar.set_length(1);
                bar.set_prefix(format!("{run} {name}"));
                bar.set_message("");
                bar.println(describe(event));
            }
            Event::Step { step, steps } => bar.set_message(format!("step {step}/{steps}")),
            Event::Progress { what, done, total } => {
                bar.set_length(*total as u64);
                bar.set_position(*done as u64);
                bar.set_message(what.clone());
            }
            Event::Epoch { .. } if tuning => {}
            Event::Epoch { epoch, epochs, .. } => {
                bar.set_length(*epochs as u64);
                bar.set_position(*epoch as u64 + 1);
                bar.set_message(describe(event));
            }
            Event::Trial { trial, trials, .. } => {
                bar.set_length(*trials as u64);
                bar.set_position(*trial as u64 + 1);
                bar.set_message(describe(event));
            }
            _ => bar.println(describe(event)),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn describe(event: &Event) -> String {
    let score = |score: &Option<f64>| score.map_or(String::new(), |s| format!("  score {s:.5}"));
    match event {
        Event::StageStarted { run, stage, reason } => format!("{run} {stage}: started ({reason})"),
        Event::StageReused { run, stage } => format!("{run} {stage}: reused"),
        Event::StageFinished { run, stage, seconds: s } => {
            format!("{run} {stage}: finished in {}", seconds(Some(*s)))
        }
        Event::StageFailed { run, stage, error } => format!("{run} {stage}: FAILED: {error}"),
        Event::StageStopped { run, stage } => format!("{run} {stage}: stopped at a checkpoint"),
        Event::Resumed { trial: 0, epoch, step } => {
            format!("  going on from epoch {}, step {}", epoch + 1, step + 1)
        }
        Event::Resumed { trial, epoch, step } => {
            format!("  going on from trial {}, epoch {}, step {}", trial + 1, epoch + 1, step + 1)
        }
        Event::Progress { what, done, total } => format!("  {what} {done}/{total}"),
        Event::Step { step, steps } => format!("  step {step}/{steps}"),
        Event::Epoch { epoch, epochs, train_loss, score: s, learning_rate, seconds: t } => format!(
            "  epoch {}/{epochs}  loss {train_loss:.5}{}  lr {learning_rate:.2e}  {}",
            epoch + 1,
            score(s),
            seconds(Some(*t))
        ),
        Event::Trial { trial, trials, score: Some(s) } => {
            format!("  trial {}/{trials}  score {s:.5}", trial + 1)
        }
        Event::Trial { trial, trials, score: None } => format!("  trial {}/{trials}  diverged", trial + 1),
        Event::Warning { message } => format!("warning: {message}"),
    }
}
