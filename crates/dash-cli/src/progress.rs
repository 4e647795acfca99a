//! Events -> progress on standard error, and the file of `--events`.

use crate::{
    args::Execution,
    error::Error,
    escape::{self, Json, stderr},
    log::{Failure, Log, Records},
    output::seconds,
    signals,
    tensorboard::TensorBoard,
};
use dash_core::{
    event::{Event, Listener},
    stage::Stage,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Who hears the events of a run.
pub(crate) struct Listeners {
    shown: Box<dyn Listener>,
    /// One JSON object per event.
    log: Option<Mutex<Log>>,
    board: Option<TensorBoard>,
    start: Instant,
}

/// Makes the files that events are written to.
///
/// # Errors
/// They cannot be written.
pub(crate) fn listeners(args: &Execution) -> Result<Listeners, Error> {
    let shown: Box<dyn Listener> = if args.quiet {
        Box::new(Lines { quiet: true, ..Lines::default() })
    } else if io::stderr().is_terminal() {
        Box::new(Bar::new())
    } else {
        Box::new(Lines::default())
    };
    let open = |path: &PathBuf| -> Result<_, Error> {
        Ok(Mutex::new(Log::new(path, dash_store::append(path)?, Records::Lines)))
    };
    Ok(Listeners {
        shown,
        log: args.events.as_ref().map(open).transpose()?,
        board: args.tensorboard.as_deref().map(TensorBoard::new).transpose()?,
        start: Instant::now(),
    })
}

impl Listeners {
    /// Ends the display and the files.
    ///
    /// # Errors
    /// A file lacks events.
    pub(crate) fn finish(self) -> Result<(), Error> {
        drop(self.shown);
        let log = self.log.map(|log| log.into_inner().unwrap_or_else(PoisonError::into_inner).finish());
        let board = self.board.map(TensorBoard::finish);
        Ok([log, board].into_iter().flatten().collect::<Result<(), _>>()?)
    }

    fn log(&self, event: &Event) -> Option<Failure> {
        let log = self.log.as_ref()?;
        let mut value = serde_json::to_value(event).ok()?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("elapsed".into(), self.start.elapsed().as_secs_f64().into());
        }
        let mut line = Vec::new();
        serde_json::to_writer(Json(&mut line), &value).ok()?;
        log.lock().unwrap_or_else(PoisonError::into_inner).append(line)
    }
}

impl Listener for Listeners {
    fn on(&self, event: &Event) {
        signals::hear(event);
        self.shown.on(event);
        let failures = [self.log(event), self.board.as_ref().and_then(|board| board.hear(event))];
        for failure in failures.into_iter().flatten() {
            // A full disk must not end the run; the exit code tells it in the end.
            let message = format!("{failure}; the run continues");
            self.shown.on(&Event::Warning { message });
        }
    }

    fn stopping(&self) -> bool {
        signals::stopping()
    }
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
            Event::Download { file, done, total } => {
                if self.0.prefix() != escape::line(file) {
                    self.0.reset();
                    self.0.set_prefix(escape::line(file).into_owned());
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
            Event::Download { file, done, total } => {
                let tenth = done.saturating_mul(10).checked_div(*total).unwrap_or(0);
                let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if last.0 == *file && last.1 == tenth {
                    return;
                }
                *last = (file.clone(), tenth);
                let size = |bytes: usize| crate::data::size(bytes as u64);
                match total {
                    0 => format!("{file}: {}", size(*done)),
                    total => format!("{file}: {} of {}", size(*done), size(*total)),
                }
            }
            other => describe(other),
        };
        // There is nowhere to tell that standard error is closed.
        let _ = stderr().write_all(format!("{line}\n").as_bytes());
    }
}

/// One line per stage and epoch, for logs.
#[derive(Default)]
struct Lines {
    quiet: bool,
    stage: Mutex<Option<Stage>>,
}

impl Listener for Lines {
    fn on(&self, event: &Event) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::StageStarted { stage: name, .. } = event {
            *stage = Some(*name);
        }
        let important = matches!(event, Event::Warning { .. } | Event::StageStopped { .. });
        // The epochs of tuning trials are told by the trials.
        let minor = matches!(event, Event::Step { .. } | Event::Progress { .. } | Event::Download { .. })
            || (matches!(event, Event::Epoch { .. }) && stage.is_some_and(Stage::is_tuning));
        if important || !(self.quiet || minor) {
            // There is nowhere to tell that standard error is closed.
            let _ = stderr().write_all(format!("{}\n", describe(event)).as_bytes());
        }
    }
}

/// One bar for the stage at work; finished stages scroll up.
struct Bar {
    bar: ProgressBar,
    stage: Mutex<Option<Stage>>,
    ticker: Option<Ticker>,
}

/// Redraws a bar twice per second, so that it shows the time; ends when it is dropped. Without a thread for
/// it, events alone redraw the bar.
struct Ticker {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(bar: ProgressBar) -> Option<Ticker> {
        let (end, ended) = mpsc::channel();
        let tick = move || {
            while ended.recv_timeout(Duration::from_millis(500)) == Err(mpsc::RecvTimeoutError::Timeout) {
                bar.tick();
            }
        };
        let thread = thread::Builder::new().name("progress".into()).spawn(tick).ok()?;
        Some(Ticker { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.end.take();
        // A thread that panicked has nothing to tell.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Bar {
    fn new() -> Bar {
        let bar = ProgressBar::new(1);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {wide_msg} {elapsed}")
        {
            bar.set_style(style);
        }
        let ticker = Ticker::start(bar.clone());
        Bar { bar, stage: Mutex::default(), ticker }
    }
}

impl Listener for Bar {
    fn on(&self, event: &Event) {
        let bar = &self.bar;
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let tuning = stage.is_some_and(Stage::is_tuning);
        match event {
            Event::StageStarted { run, stage: name, .. } => {
                *stage = Some(*name);
                bar.reset();
                bar.set_length(1);
                bar.set_prefix(escape::line(&format!("{run} {name}")).into_owned());
                bar.set_message("");
                bar.println(describe(event));
            }
            Event::Step { step, steps } => bar.set_message(format!("step {step}/{steps}")),
            Event::Progress { what, done, total } | Event::Download { file: what, done, total } => {
                bar.set_length(*total as u64);
                bar.set_position(*done as u64);
                bar.set_message(escape::line(what).into_owned());
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
        self.ticker.take();
        self.bar.finish_and_clear();
    }
}

/// An event in one line; of an error in several lines the others are set in, so that they cannot be taken
/// for events.
fn describe(event: &Event) -> String {
    let text = text(event);
    let lines: Vec<_> = text.lines().map(escape::line).collect();
    lines.join("\n    ")
}

fn text(event: &Event) -> String {
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
        Event::Progress { what, done, total } | Event::Download { file: what, done, total } => {
            format!("  {what} {done}/{total}")
        }
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
