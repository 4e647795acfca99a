//! Shows events as progress on standard error, and writes them to the files of `--events` and `--tensorboard`.

use crate::{
    args::Execution,
    documents::LoggedEvent,
    error::Error,
    escape::{self, Json, stderr},
    log::{Log, LogFailure, Records},
    output::{self, seconds},
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
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Receives the events of a run and passes them to the progress display and the files.
pub(crate) struct Listeners {
    display: Box<dyn Listener>,
    /// One JSON object per event.
    log: Option<Mutex<Log>>,
    board: Option<TensorBoard>,
    start: Instant,
}

/// Creates the progress display and the files that events are written to.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn listeners(args: &Execution) -> Result<Arc<Listeners>, Error> {
    let display: Box<dyn Listener> = if args.quiet {
        Box::new(Lines { quiet: true, ..Lines::default() })
    } else if io::stderr().is_terminal() {
        Box::new(Bar::new())
    } else {
        Box::new(Lines::default())
    };
    let open = |path: &PathBuf| -> Result<_, Error> {
        Ok(Mutex::new(Log::new(path, dash_store::append(path)?, Records::Lines)))
    };
    Ok(Arc::new(Listeners {
        display,
        log: args.events.as_ref().map(open).transpose()?,
        board: args.tensorboard.as_deref().map(TensorBoard::new).transpose()?,
        start: Instant::now(),
    }))
}

impl Listeners {
    /// Ends the display and the files. No engine may use the listeners any longer.
    ///
    /// # Errors
    /// If events are missing in a file.
    pub(crate) fn finish(self: Arc<Self>) -> Result<(), Error> {
        let Some(Listeners { display, log, board, .. }) = Arc::into_inner(self) else { return Ok(()) };
        drop(display);
        let log = log.map(|log| log.into_inner().unwrap_or_else(PoisonError::into_inner).finish());
        let board = board.map(TensorBoard::finish);
        Ok([log, board].into_iter().flatten().collect::<Result<(), _>>()?)
    }

    fn log(&self, event: &Event) -> Option<LogFailure> {
        let log = self.log.as_ref()?;
        let elapsed = self.start.elapsed().as_secs_f64();
        let mut line = Vec::new();
        serde_json::to_writer(Json(&mut line), &LoggedEvent { event, elapsed }).ok()?;
        log.lock().unwrap_or_else(PoisonError::into_inner).append(line)
    }
}

impl Listener for Listeners {
    fn on(&self, event: &Event) {
        signals::observe(event);
        self.display.on(event);
        let failures = [self.log(event), self.board.as_ref().and_then(|board| board.observe(event))];
        for failure in failures.into_iter().flatten() {
            // A full disk must not end the run; the exit code reports it at the end.
            let message = format!("{failure}; the run continues");
            self.display.on(&Event::Warning { message });
        }
    }

    fn stopping(&self) -> bool {
        signals::stopping()
    }
}

/// Creates a display of downloads.
pub(crate) fn downloads(quiet: bool) -> Box<dyn Listener> {
    if quiet {
        Box::new(Lines { quiet: true, ..Lines::default() })
    } else if io::stderr().is_terminal() {
        let bar = ProgressBar::new(0);
        let template = "{prefix} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Box::new(DownloadBar(bar))
    } else {
        Box::new(DownloadLines::default())
    }
}

/// One progress bar for the file that is being downloaded.
struct DownloadBar(ProgressBar);

impl Listener for DownloadBar {
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

impl Drop for DownloadBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// One line per file and tenth of it, for logs.
#[derive(Default)]
struct DownloadLines(Mutex<(String, usize)>);

impl Listener for DownloadLines {
    fn on(&self, event: &Event) {
        let line = match event {
            Event::Download { file, done, total } => {
                let tenth = done.saturating_mul(10).checked_div(*total).unwrap_or(0);
                let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if last.0 == *file && last.1 == tenth {
                    return;
                }
                *last = (file.clone(), tenth);
                let size = |bytes: usize| output::size(bytes as u64);
                match total {
                    0 => format!("{file}: {}", size(*done)),
                    total => format!("{file}: {} of {}", size(*done), size(*total)),
                }
            }
            other => describe(other),
        };
        print_line(&line);
    }
}

/// Prints a line on standard error. If it is closed, there is no other place to report that.
fn print_line(line: &str) {
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}

/// One line per stage and epoch, for logs.
#[derive(Default)]
struct Lines {
    quiet: bool,
    /// The running stage.
    stage: Mutex<Option<Stage>>,
}

impl Listener for Lines {
    fn on(&self, event: &Event) {
        let mut running = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::StageStarted { stage, .. } = event {
            *running = Some(*stage);
        }
        let is_important = matches!(event, Event::Warning { .. } | Event::StageStopped { .. });
        let is_minor = match event {
            Event::Step { .. } | Event::Progress { .. } | Event::Download { .. } => true,
            // Tuning is shown by its trials.
            Event::Epoch { .. } => running.is_some_and(Stage::is_tuning),
            _ => false,
        };
        if is_important || !(self.quiet || is_minor) {
            print_line(&describe(event));
        }
    }
}

/// One bar for the running stage; finished stages scroll up.
struct Bar {
    bar: ProgressBar,
    /// The running stage.
    stage: Mutex<Option<Stage>>,
    ticker: Option<Ticker>,
}

/// Redraws a bar twice per second, so that it shows the time, until it is dropped. If its thread cannot be started, only
/// events redraw the bar.
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
        // If the thread panicked, only the display is affected.
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
        let mut running = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let is_tuning = running.is_some_and(Stage::is_tuning);
        match event {
            Event::StageStarted { run, stage, .. } => {
                *running = Some(*stage);
                bar.reset();
                bar.set_length(1);
                bar.set_prefix(escape::line(&format!("{run} {stage}")).into_owned());
                bar.set_message("");
                bar.println(describe(event));
            }
            Event::Step { step, steps } => bar.set_message(format!("step {step}/{steps}")),
            Event::Progress { what, done, total } | Event::Download { file: what, done, total } => {
                bar.set_length(*total as u64);
                bar.set_position(*done as u64);
                bar.set_message(escape::line(what).into_owned());
            }
            Event::Epoch { .. } if is_tuning => {}
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

/// Describes an event in one line. Further lines of an error are indented, so that they cannot be mistaken for events.
fn describe(event: &Event) -> String {
    let text = text(event);
    let lines: Vec<_> = text.lines().map(escape::line).collect();
    lines.join("\n    ")
}

fn text(event: &Event) -> String {
    match event {
        Event::StageStarted { run, stage, reason } => format!("{run} {stage}: started ({reason})"),
        Event::StageReused { run, stage } => format!("{run} {stage}: reused"),
        Event::StageFinished { run, stage, seconds: s } => {
            format!("{run} {stage}: finished in {}", seconds(Some(*s)))
        }
        Event::StageFailed { run, stage, error } => format!("{run} {stage}: FAILED: {error}"),
        Event::StageStopped { run, stage } => format!("{run} {stage}: stopped at a checkpoint"),
        Event::Resumed { trial: 0, epoch, step } => {
            format!("  resuming from epoch {}, step {}", epoch + 1, step + 1)
        }
        Event::Resumed { trial, epoch, step } => {
            format!("  resuming from trial {}, epoch {}, step {}", trial + 1, epoch + 1, step + 1)
        }
        Event::Progress { what, done, total } | Event::Download { file: what, done, total } => {
            format!("  {what} {done}/{total}")
        }
        Event::Step { step, steps } => format!("  step {step}/{steps}"),
        Event::Epoch { epoch, epochs, train_loss, score, learning_rate, seconds: s } => {
            let metric = score.map_or(String::new(), |value| format!("  metric {value:.5}"));
            let (epoch, time) = (epoch + 1, seconds(Some(*s)));
            format!("  epoch {epoch}/{epochs}  loss {train_loss:.5}{metric}  lr {learning_rate:.2e}  {time}")
        }
        Event::Trial { trial, trials, score } => {
            let metric = score.map_or("diverged".to_owned(), |value| format!("metric {value:.5}"));
            format!("  trial {}/{trials}  {metric}", trial + 1)
        }
        Event::Warning { message } => format!("warning: {message}"),
    }
}
