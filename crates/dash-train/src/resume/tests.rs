use super::*;
use candle_core::Device;
use dash_nn::{Init, Optimizer, ParamBuilder};
use std::path::Path;

fn network() -> (Params, Sgd) {
    let mut params = ParamBuilder::new(7, 0, &Device::Cpu);
    params.weight("a", 3, Init::Constant(1.5)).unwrap();
    params.weight("b", (2, 2), Init::Constant(-2.0)).unwrap();
    let params = params.finish();
    let sgd = Sgd::new(&params, 0.9, 0.0).unwrap();
    (params, sgd)
}

fn values(tensors: &[(String, Tensor)]) -> Vec<(String, Vec<f32>)> {
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1().unwrap();
    tensors.iter().map(|(name, t)| (name.clone(), flat(t))).collect()
}

const LIMITS: Limits = Limits { epochs: 4, steps: 5, trials: None };
const TRIALS: Limits = Limits { epochs: 4, steps: 5, trials: Some(3) };

fn epoch(epoch: usize, score: Option<f64>) -> Epoch {
    Epoch { epoch, learning_rate: 0.1, train_loss: 1.0 / 3.0, score }
}

#[test]
fn everything_comes_back_bit_by_bit() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path().join(".search.checkpoint"), "print", None);
    assert!(matches!(checkpoints.open(&LIMITS), Ok(None)));
    let (params, sgd) = network();
    let progress = CheckpointState {
        position: TrainingPosition { epoch: 2, step: 5, loss: 0.1 + 0.2 },
        history: vec![epoch(0, None), epoch(1, Some(f64::INFINITY))],
        series: vec![("alpha.stem".to_owned(), vec![vec![0.1, f32::NAN], vec![0.2, 0.3]])],
        best: Some(BestModel { epoch: 1, score: f64::INFINITY, state: params.state().unwrap() }),
        scores: Vec::new(),
        recovery: Some(Recovery {
            start: Some([params.state().unwrap(), sgd.state().unwrap()]),
            used: false,
        }),
    };
    checkpoints.save(&progress, &params, &sgd).unwrap();
    let (before, momenta) = (values(&params.state().unwrap()), values(&sgd.state().unwrap()));
    params.iter().for_each(|p| p.var().set(&p.var().zeros_like().unwrap()).unwrap());

    let Ok(Some(saved)) = checkpoints.open(&LIMITS) else { panic!("not found") };
    let (other, mut other_sgd) = network();
    saved.restore(&other, &mut other_sgd).unwrap();
    assert_eq!(values(&other.state().unwrap()), before);
    assert_eq!(values(&other_sgd.state().unwrap()), momenta);
    let found = &saved.progress;
    assert_eq!(found.position, progress.position);
    assert_eq!(found.history, progress.history);
    assert_eq!(format!("{:?}", found.series), format!("{:?}", progress.series));
    let recovery = found.recovery.as_ref().unwrap();
    assert_eq!(values(&recovery.start.as_ref().unwrap()[0]), before);
    assert!(!recovery.used);
    let best = found.best.as_ref().unwrap();
    assert_eq!((best.epoch, best.score), (1, f64::INFINITY));
    let mut state = values(&best.state);
    state.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(state, before);
}

/// A checkpoint in `folder` of a stage that came to `progress`.
fn save(folder: &Path, progress: &CheckpointState) {
    let (params, sgd) = network();
    Checkpoints::new(folder.to_owned(), "one", None).save(progress, &params, &sgd).unwrap();
}

fn open(folder: &Path, limits: &Limits) -> Result<Option<LoadedCheckpoint>, Refusal> {
    Checkpoints::new(folder.to_owned(), "one", None).open(limits)
}

/// Why a checkpoint is refused as damaged.
fn damage(result: Result<Option<LoadedCheckpoint>, Refusal>) -> String {
    match result {
        Err(Refusal::Damaged(reason)) => reason,
        Err(Refusal::Newer(format)) => panic!("newer: {format}"),
        Ok(found) => panic!("{found:?}"),
    }
}

/// In the second epoch, with the best network of the first.
fn trained() -> CheckpointState {
    let best = BestModel { epoch: 0, score: 0.5, state: network().0.state().unwrap() };
    let recovery = Recovery { start: Some([best.state.clone(), best.state.clone()]), used: false };
    CheckpointState {
        position: TrainingPosition { epoch: 1, step: 2, loss: 1.5 },
        history: vec![epoch(0, Some(0.5))],
        series: vec![("alpha.stem".to_owned(), vec![vec![0.1, 0.2]])],
        best: Some(best),
        scores: Vec::new(),
        recovery: Some(recovery),
    }
}

#[test]
fn a_tuning_comes_back_with_its_scores() {
    let dir = tempfile::tempdir().unwrap();
    let position = TrainingPosition { epoch: 4, step: 0, loss: 0.0 };
    let scores = vec![Some(1e-7), None];
    save(dir.path(), &CheckpointState { position, scores: scores.clone(), ..CheckpointState::default() });
    let Ok(Some(saved)) = open(dir.path(), &TRIALS) else { panic!("not found") };
    assert_eq!((saved.progress.position, saved.progress.scores), (position, scores));
}

#[test]
fn any_bit_of_any_file_of_a_checkpoint_is_noticed_and_the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &trained());
    let Ok(Some(_)) = open(dir.path(), &LIMITS) else { panic!("not found") };
    let mut names: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [BEST, HISTORY, MANIFEST, MOMENTA, START_MOMENTA, START, STATE]);
    for name in names {
        let path = dir.path().join(&name);
        let bytes = std::fs::read(&path).unwrap();
        // All bits of what has values of its own; of the others, whose hashes are compared, some.
        let stride = if name == MANIFEST { 1 } else { bytes.len() / 7 };
        for place in (0..bytes.len()).step_by(stride) {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[place] ^= 1 << bit;
                #[allow(clippy::disallowed_methods, reason = "damage is not published, and is quicker so")]
                std::fs::write(&path, &other).unwrap();
                let reason = damage(open(dir.path(), &LIMITS));
                assert!(reason.contains(&name), "{reason} after bit {bit} of byte {place} of {name}");
            }
        }
        dash_store::publish_file(&path, &bytes).unwrap();
    }
    assert!(matches!(open(dir.path(), &LIMITS), Ok(Some(_))));
}

#[test]
fn what_a_stage_cannot_have_come_to_is_not_resumed_from() {
    let at = |epoch, step, loss| TrainingPosition { epoch, step, loss };
    type Change = fn(&mut CheckpointState);
    let wrong: [(Change, &str); 9] = [
        (|p| p.position.epoch = 6, "stands at step 2 of epoch 7"),
        (|p| p.position.epoch = 2, "history does not hold"),
        (|p| p.position.epoch = 0, "history does not hold"),
        (|p| p.position.step = 6, "stands at step 6"),
        (|p| p.position.loss = f64::NAN, "sum of losses is NaN"),
        (|p| p.history[0].epoch = 1, "history does not hold"),
        (|p| p.series[0].1.push(Vec::new()), ""),
        (|p| p.best.as_mut().unwrap().epoch = 1, "best epoch"),
        (|p| p.scores.push(None), "scores of 1 trials"),
    ];
    for (i, (change, reason)) in wrong.into_iter().enumerate() {
        let mut progress = trained();
        change(&mut progress);
        let found = LIMITS.check(&progress).unwrap_err();
        assert!(found.contains(reason), "{i}: {found}");
    }
    LIMITS.check(&trained()).unwrap();
    assert!(TRIALS.check(&trained()).is_err());
    let trial =
        CheckpointState { position: at(4, 0, 0.0), scores: vec![None; 2], ..CheckpointState::default() };
    TRIALS.check(&trial).unwrap();
    assert!(LIMITS.check(&CheckpointState { scores: Vec::new(), ..trial.clone() }).is_err());
    assert!(TRIALS.check(&CheckpointState { scores: vec![None; 3], ..trial }).is_err());
}

#[test]
fn another_stage_a_newer_format_and_loss_are_not_resumed_from() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("c");
    save(&folder, &CheckpointState::default());
    assert!(matches!(Checkpoints::new(folder.clone(), "two", None).open(&LIMITS), Ok(None)));
    for name in [STATE, MOMENTA, HISTORY] {
        save(&folder, &CheckpointState::default());
        dash_store::remove(&folder.join(name)).unwrap();
        assert!(damage(open(&folder, &LIMITS)).contains(name), "{name}");
    }
    dash_store::remove(&folder.join(MANIFEST)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.join(MANIFEST)).unwrap();
    assert_eq!(damage(open(&folder, &LIMITS)), "manifest.json is a device, not a plain file");
    let write = |value: &serde_json::Value| {
        let text = dash_store::seal(value, &folder).unwrap();
        dash_store::publish_file(&folder.join(MANIFEST), &text).unwrap();
    };
    write(&serde_json::json!({ "format": 4 }));
    assert!(matches!(open(&folder, &LIMITS), Err(Refusal::Newer(4))));
    save(&folder, &CheckpointState::default());
    let text = std::fs::read(folder.join(MANIFEST)).unwrap();
    let dash_store::Unsealed::Intact(mut manifest) = dash_store::unseal(&text) else { panic!("no seal") };
    manifest["files"]["../history.parquet"] = manifest["files"][HISTORY].clone();
    write(&manifest);
    assert!(damage(open(&folder, &LIMITS)).contains("its manifest names \"../history.parquet\""));
}

/// Hears warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl dash_core::event::Listener for Warnings {
    fn on(&self, event: &Event) {
        if let Event::Warning { message } = event {
            self.0.lock().unwrap().push(message.clone());
        }
    }
}

#[test]
fn checkpoints_of_earlier_versions_are_resumed_from_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &trained());
    let path = dir.path().join(MANIFEST);
    let text = std::fs::read(&path).unwrap();
    let dash_store::Unsealed::Intact(mut manifest) = dash_store::unseal(&text) else { panic!("no seal") };
    for format in [1, 2] {
        manifest["format"] = format.into();
        dash_store::publish_file(&path, manifest.to_string().as_bytes()).unwrap();
        let checkpoints = Checkpoints::new(dir.path().to_owned(), "one", None);
        let heard = Warnings::default();
        assert!(checkpoints.saved(&LIMITS, &heard).unwrap().is_some());
        assert!(heard.0.lock().unwrap()[0].contains("earlier version"));
        // What can be compared without a hash is.
        manifest["epoch"] = 3.into();
        dash_store::publish_file(&path, manifest.to_string().as_bytes()).unwrap();
        assert!(checkpoints.saved(&LIMITS, &heard).unwrap().is_none());
        assert!(heard.0.lock().unwrap()[1].contains("damaged and not used"));
        manifest["epoch"] = 1.into();
    }
    // A format that has a hash has lost it.
    manifest["format"] = 3.into();
    dash_store::publish_file(&path, manifest.to_string().as_bytes()).unwrap();
    assert_eq!(damage(open(dir.path(), &LIMITS)), "manifest.json has lost the hash of itself");
}

#[test]
fn checkpoints_cost_a_small_share_of_the_time() {
    let checkpoints = Checkpoints::new(PathBuf::from("nowhere"), "", None);
    assert!(!checkpoints.due());
    let at = |last: u64, cost| {
        let last = Instant::now().checked_sub(Duration::from_secs(last)).unwrap();
        *checkpoints.clock.lock().unwrap() =
            Clock { last, cost: Duration::from_secs(cost), total: CheckpointStats::default() };
        checkpoints.due()
    };
    assert!(at(61, 1) && !at(59, 1) && !at(90, 2) && at(101, 2));
    assert!(Checkpoints::new(PathBuf::new(), "", Some(Duration::ZERO)).due());
}
